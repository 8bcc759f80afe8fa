package ghl_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// TestNewVerifierRejectsKeysForWhichAnyoneCanSign tries every encoding of the eight points of small order that libraries accept, as
// listed in "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko, 2020), table 6.
func TestNewVerifierRejectsKeysForWhichAnyoneCanSign(t *testing.T) {
	t.Parallel()
	zeros, effs := strings.Repeat("00", 30), strings.Repeat("ff", 30)
	for name, key := range map[string]string{
		"the neutral point":                      "01" + zeros + "00",
		"the neutral point, with a sign":         "01" + zeros + "80",
		"the neutral point, not reduced":         "ee" + effs + "7f",
		"the neutral point, not reduced, signed": "ee" + effs + "ff",
		"order two":                              "ec" + effs + "7f",
		"order two, with a sign":                 "ec" + effs + "ff",
		"order four":                             "00" + zeros + "00",
		"order four, the other":                  "00" + zeros + "80",
		"order four, not reduced":                "ed" + effs + "7f",
		"order four, the other, not reduced":     "ed" + effs + "ff",
		"order eight, the first":                 "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"order eight, the second":                "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"order eight, the third":                 "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"order eight, the fourth":                "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ghl.NewVerifier(ghl.AuthConfig{PublicKeys: []string{key}})
			require.ErrorContains(t, err, "public key 1 of 1: an Ed25519 key of small order")
		})
	}

	_, err := ghl.NewVerifier(ghl.AuthConfig{PublicKeys: []string{strings.Repeat("02", 32)}})
	require.ErrorContains(t, err, "not an Ed25519 public key", "32 bytes that are no point of the curve")
}

// TestOneSignatureFitsAnyBodyOfASmallOrderKey shows why such keys are rejected.
func TestOneSignatureFitsAnyBodyOfASmallOrderKey(t *testing.T) {
	t.Parallel()
	neutral, err := hex.DecodeString("01" + strings.Repeat("00", 31))
	require.NoError(t, err)
	signature := append(neutral, make([]byte, 32)...)
	assert.True(t, ed25519.Verify(neutral, []byte("any"), signature))
	assert.True(t, ed25519.Verify(neutral, []byte("other"), signature))
}

// TestARequestWithTwoSignaturesIsRejected: a proxy may check one and the receiver another.
func TestARequestWithTwoSignaturesIsRejected(t *testing.T) {
	t.Parallel()
	private, public := key(t)
	right := signed(private, "{}").Get(ghl.HeaderSignature)
	wrong := base64.StdEncoding.EncodeToString(make([]byte, ed25519.SignatureSize))
	v := verifier(t, ghl.AuthConfig{PublicKeys: []string{public}, Secrets: []string{"a secret"}, AllowUnauthenticated: true})
	for name, values := range map[string][]string{
		"the same one twice":      {right, right},
		"the right one first":     {right, wrong},
		"the right one last":      {wrong, right},
		"N/A and the right one":   {"N/A", right},
		"an empty one and N/A":    {"", "N/A"},
		"both in one, by a comma": {right + ", " + wrong},
	} {
		h := http.Header{http.CanonicalHeaderKey(ghl.HeaderSignature): values, http.CanonicalHeaderKey(ghl.HeaderSecret): {"a secret"}}
		_, err := v.Authenticate(h, nil, []byte("{}"))
		require.ErrorIs(t, err, ghl.ErrUnauthenticated, name)
	}
}

// TestIDsHaveNoInvisibleCharacters: Normalise removes characters that reorder or hide text in a terminal from ids.
func TestIDsHaveNoInvisibleCharacters(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]string{
		"a right-to-left override":  "\u202eapt\u202c1",
		"isolates":                  "\u2066apt1\u2069",
		"a right-to-left mark":      "apt\u200f1",
		"an Arabic letter mark":     "\u061capt1",
		"zero-width space":          "apt\u200b1\u200b",
		"a byte-order mark":         "\ufeffapt1",
		"a soft hyphen":             "apt\u00ad1",
		"a word joiner":             "apt\u20601",
		"line separators":           "apt1\u2028\u2029",
		"tags":                      "apt1\U000e0041\U000e007f",
		"a variation selector":      "apt\ufe0f1",
		"white space between marks": "\u200e apt1 \u200e",
	} {
		body, err := ghl.Decode(jsonType, []byte(`{"type":"AppointmentCreate","locationId":"`+id+`","appointment":{"id":"`+id+`","contactId":"`+id+`"}}`))
		require.NoError(t, err)
		e := ghl.Normalise(body, received)
		for _, got := range []string{e.EntityID, e.LocationID, e.ContactID} {
			assert.Equal(t, "apt1", got, name)
		}
	}
	body, err := ghl.Decode(jsonType, []byte("{\"type\":\"ContactUpdate\",\"id\":\"c1\",\"firstName\":\"\u0645\u06cc\u200c\u0631\"}"))
	require.NoError(t, err)
	assert.Equal(t, "\u0645\u06cc\u200c\u0631", ghl.PersonOf(body, "contact").FirstName, "names are written with such characters")
}
