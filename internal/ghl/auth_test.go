package ghl_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// vectors are signatures that testdata/signatures/generate.mjs created with Node.
type vectors struct {
	PublicKey  map[string]string
	SeedBase64 string
	Signed     []struct{ Name, BodyBase64, Signature string }
}

func readVectors(tb testing.TB) vectors {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "signatures", "vectors.json"))
	require.NoError(tb, err)
	var v vectors
	require.NoError(tb, json.Unmarshal(text, &v))
	require.NotEmpty(tb, v.Signed)
	return v
}

func fromBase64(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	require.NoError(tb, err)
	return b
}

// key returns a key pair, with the public key as in the configuration.
func key(tb testing.TB) (private ed25519.PrivateKey, public string) {
	tb.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(tb, err)
	return private, base64.StdEncoding.EncodeToString(pub)
}

func signed(private ed25519.PrivateKey, raw string) http.Header {
	signature := base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(raw)))
	return http.Header{http.CanonicalHeaderKey(ghl.HeaderSignature): {signature}}
}

func verifier(tb testing.TB, cfg ghl.AuthConfig) *ghl.Verifier {
	tb.Helper()
	v, err := ghl.NewVerifier(cfg)
	require.NoError(tb, err)
	return v
}

func TestSignaturesOfAnotherImplementation(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	forms := map[string]string{
		"PEM without its line breaks":   strings.ReplaceAll(v.PublicKey["pem"], "\n", " "),
		"PEM with line breaks as \\n":   strings.ReplaceAll(v.PublicKey["pem"], "\n", `\n`),
		"hexadecimal in capitals":       strings.ToUpper(v.PublicKey["rawHex"]),
		"base64 with white space in it": " " + v.PublicKey["spkiBase64"][:20] + "\n" + v.PublicKey["spkiBase64"][20:] + " ",
	}
	maps.Copy(forms, v.PublicKey)
	for form, public := range forms {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			verifier := verifier(t, ghl.AuthConfig{PublicKeys: []string{public}})
			for _, s := range v.Signed {
				raw := fromBase64(t, s.BodyBase64)
				header := http.Header{}
				header.Set(ghl.HeaderSignature, s.Signature)
				proof, err := verifier.Authenticate(header, nil, raw)
				require.NoError(t, err, s.Name)
				assert.Equal(t, ghl.ProofOwnKey, proof)

				_, err = verifier.Authenticate(header, nil, append([]byte(" "), raw...))
				require.ErrorIs(t, err, ghl.ErrUnauthenticated, "%s, with a space before it", s.Name)
				if len(raw) > 0 {
					raw[len(raw)-1] ^= 1
					_, err = verifier.Authenticate(header, nil, raw)
					require.ErrorIs(t, err, ghl.ErrUnauthenticated, "%s, with a bit flipped", s.Name)
				}
			}
		})
	}
}

func TestGoSignsAsTheOtherImplementationDoes(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	private := ed25519.NewKeyFromSeed(fromBase64(t, v.SeedBase64))
	assert.Equal(t, v.PublicKey["rawHex"], hex.EncodeToString(private.Public().(ed25519.PublicKey)))
	for _, s := range v.Signed {
		assert.Equal(t, fromBase64(t, s.Signature), ed25519.Sign(private, fromBase64(t, s.BodyBase64)), s.Name)
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	const raw = `{"type":"ContactUpdate"}`
	private, public := key(t)
	second, secondPublic := key(t)
	stranger, _ := key(t)
	keys := ghl.AuthConfig{PublicKeys: []string{public, secondPublic}}
	secrets := ghl.AuthConfig{Secrets: []string{"first secret", "second secret"}}
	both := ghl.AuthConfig{PublicKeys: keys.PublicKeys, Secrets: secrets.Secrets}
	locations := ghl.AuthConfig{LocationIDs: []string{"loc"}}
	anyone := ghl.AuthConfig{AllowUnauthenticated: true}
	header := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Add(pairs[i], pairs[i+1])
		}
		return h
	}
	with := func(h http.Header, pairs ...string) http.Header {
		maps.Copy(h, header(pairs...))
		return h
	}
	const refused = ghl.Proof(255)

	for name, test := range map[string]struct {
		cfg    ghl.AuthConfig
		header http.Header
		query  string
		want   ghl.Proof
	}{
		"a signature by the first key":        {keys, signed(private, raw), "", ghl.ProofOwnKey},
		"a signature by the second key":       {keys, signed(second, raw), "", ghl.ProofOwnKey},
		"a signature with white space around": {keys, header("x-ghl-signature", " "+signed(private, raw).Get("X-GHL-Signature")+"\t"), "", ghl.ProofOwnKey},
		"a signature without its padding":     {keys, header("x-ghl-signature", strings.TrimRight(signed(private, raw).Get("X-GHL-Signature"), "=")), "", ghl.ProofOwnKey},
		"a signature by a stranger":           {keys, signed(stranger, raw), "", refused},
		"a signature of another body":         {keys, signed(private, raw+" "), "", refused},
		"a signature that is not base64":      {keys, header("X-GHL-Signature", "%%%"), "", refused},
		"a signature that is too short":       {keys, header("X-GHL-Signature", "AAAA"), "", refused},
		"an HMAC in hexadecimal":              {keys, header("X-GHL-Signature", strings.Repeat("ab", 32)), "", refused},
		"the retired signature alone":         {keys, header("X-WH-Signature", signed(private, raw).Get("X-GHL-Signature")), "", refused},
		"nothing if keys are configured":      {keys, header(), "", refused},
		"N/A if keys are configured":          {keys, header("X-GHL-Signature", "N/A"), "", refused},

		"the first secret in its header":    {secrets, header("X-Webhook-Secret", "first secret"), "", ghl.ProofSecret},
		"the second secret in its header":   {secrets, header("X-Webhook-Secret", "second secret"), "", ghl.ProofSecret},
		"a secret as bearer":                {secrets, header("Authorization", "Bearer first secret"), "", ghl.ProofSecret},
		"a secret as lower-case bearer":     {secrets, header("Authorization", "bearer  second secret "), "", ghl.ProofSecret},
		"a secret as token":                 {secrets, header(), "token=second+secret", ghl.ProofSecret},
		"one right secret of several":       {secrets, header("X-Webhook-Secret", "wrong", "Authorization", "Bearer wrong"), "token=wrong&token=first+secret", ghl.ProofSecret},
		"a wrong secret everywhere":         {secrets, header("X-Webhook-Secret", "wrong", "Authorization", "Bearer wrong"), "token=wrong", refused},
		"a prefix of a secret":              {secrets, header("X-Webhook-Secret", "first secre"), "", refused},
		"a secret in another case":          {secrets, header("X-Webhook-Secret", "First Secret"), "", refused},
		"both secrets in one":               {secrets, header("X-Webhook-Secret", "first secret,second secret"), "", refused},
		"an empty secret":                   {secrets, header("X-Webhook-Secret", ""), "token=", refused},
		"a secret as basic":                 {secrets, header("Authorization", "Basic first secret"), "", refused},
		"a secret as authorization alone":   {secrets, header("Authorization", "first secret"), "", refused},
		"a secret in another parameter":     {secrets, header(), "secret=first+secret", refused},
		"a secret if only keys count":       {keys, header("X-Webhook-Secret", "first secret"), "", refused},
		"a signature if only secrets count": {secrets, signed(private, raw), "", refused},

		"a secret beside N/A":                        {both, header("X-GHL-Signature", "N/A", "X-Webhook-Secret", "first secret"), "", ghl.ProofSecret},
		"a secret beside n/a and white space":        {both, header("X-GHL-Signature", " n/a ", "X-Webhook-Secret", "first secret"), "", ghl.ProofSecret},
		"a secret beside an empty signature":         {both, header("X-GHL-Signature", " ", "X-Webhook-Secret", "first secret"), "", ghl.ProofSecret},
		"a signature beside a wrong secret":          {both, with(signed(private, raw), "X-Webhook-Secret", "wrong"), "", ghl.ProofOwnKey},
		"a wrong signature beside a secret":          {both, with(signed(stranger, raw), "X-Webhook-Secret", "first secret"), "", refused},
		"a wrong signature beside a secret, no keys": {secrets, with(signed(stranger, raw), "X-Webhook-Secret", "first secret"), "", refused},

		"a wrong signature by GHL":                    {locations, signed(private, raw), "", refused},
		"nothing if GHL's signature counts":           {locations, header(), "", refused},
		"nothing if anyone may send":                  {anyone, header(), "", ghl.ProofNone},
		"N/A if anyone may send":                      {anyone, header("X-GHL-Signature", "N/A"), "", ghl.ProofNone},
		"a wrong secret if anyone may send":           {anyone, header("X-Webhook-Secret", "wrong"), "", ghl.ProofNone},
		"a wrong signature if anyone may send":        {anyone, signed(stranger, raw), "", refused},
		"a broken signature if anyone may send":       {anyone, header("X-GHL-Signature", "broken"), "", refused},
		"a secret if anyone may send":                 {ghl.AuthConfig{AllowUnauthenticated: true, Secrets: secrets.Secrets}, header("X-Webhook-Secret", "first secret"), "", ghl.ProofSecret},
		"a signature by a key if anyone may send":     {ghl.AuthConfig{AllowUnauthenticated: true, PublicKeys: keys.PublicKeys}, signed(private, raw), "", ghl.ProofOwnKey},
		"a wrong one beside keys, if anyone may send": {ghl.AuthConfig{AllowUnauthenticated: true, PublicKeys: keys.PublicKeys}, signed(stranger, raw), "", refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			query, err := url.ParseQuery(test.query)
			require.NoError(t, err)
			proof, err := verifier(t, test.cfg).Authenticate(test.header, query, []byte(raw))
			if test.want == refused {
				require.ErrorIs(t, err, ghl.ErrUnauthenticated)
				assert.Equal(t, ghl.ProofNone, proof)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, proof)
		})
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	apps := ghl.AuthConfig{AppIDs: []string{"app-1", " app-2 "}}
	locations := ghl.AuthConfig{LocationIDs: []string{"loc-1", "loc-2"}}
	both := ghl.AuthConfig{AppIDs: apps.AppIDs, LocationIDs: locations.LocationIDs}
	open := ghl.AuthConfig{Secrets: []string{"s"}}

	for name, test := range map[string]struct {
		cfg   ghl.AuthConfig
		proof ghl.Proof
		body  string
		want  error
	}{
		"anything without lists":               {open, ghl.ProofOwnKey, `{"appId":"x","locationId":"x"}`, nil},
		"the first app":                        {apps, ghl.ProofPublishedKey, `{"appId":"app-1"}`, nil},
		"the second app":                       {apps, ghl.ProofOwnKey, `{"appId":"app-2","locationId":"x"}`, nil},
		"another app":                          {apps, ghl.ProofPublishedKey, `{"appId":"app-3"}`, ghl.ErrAppNotAllowed},
		"another app by an own key":            {apps, ghl.ProofOwnKey, `{"appId":"app-3"}`, ghl.ErrAppNotAllowed},
		"an app in another case":               {apps, ghl.ProofPublishedKey, `{"appId":"APP-1"}`, ghl.ErrAppNotAllowed},
		"no app":                               {apps, ghl.ProofPublishedKey, `{}`, ghl.ErrAppNotAllowed},
		"an app that is not a string":          {apps, ghl.ProofPublishedKey, `{"appId":["app-1"]}`, ghl.ErrAppNotAllowed},
		"an app in customData":                 {apps, ghl.ProofPublishedKey, `{"customData":{"appId":"app-1"}}`, ghl.ErrAppNotAllowed},
		"a workflow has no app":                {apps, ghl.ProofSecret, `{"contact_id":"c"}`, nil},
		"an app without a proof":               {apps, ghl.ProofNone, `{"appId":"app-3"}`, nil},
		"a configured location":                {locations, ghl.ProofPublishedKey, `{"locationId":"loc-2"}`, nil},
		"a configured location of a workflow":  {locations, ghl.ProofSecret, `{"location":{"id":"loc-1"}}`, nil},
		"another location":                     {locations, ghl.ProofPublishedKey, `{"locationId":"loc-3"}`, ghl.ErrLocationIgnored},
		"another location of a workflow":       {locations, ghl.ProofSecret, `{"location":{"id":"loc-3"}}`, ghl.ErrLocationIgnored},
		"another location from anyone":         {locations, ghl.ProofNone, `{"locationId":"loc-3"}`, ghl.ErrLocationIgnored},
		"another location by an own key":       {locations, ghl.ProofOwnKey, `{"locationId":"loc-3"}`, ghl.ErrLocationIgnored},
		"no location of a workflow":            {locations, ghl.ProofSecret, `{"contact_id":"c"}`, nil},
		"no location from anyone":              {locations, ghl.ProofNone, `{"contact_id":"c"}`, nil},
		"no location by an own key":            {locations, ghl.ProofOwnKey, `{"type":"INSTALL","companyId":"c"}`, nil},
		"no location by GHL's key alone":       {locations, ghl.ProofPublishedKey, `{"type":"INSTALL","companyId":"c"}`, ghl.ErrLocationIgnored},
		"no location of a configured app":      {both, ghl.ProofPublishedKey, `{"type":"INSTALL","appId":"app-1"}`, nil},
		"a configured app and location":        {both, ghl.ProofPublishedKey, `{"appId":"app-1","locationId":"loc-1"}`, nil},
		"a configured app at another location": {both, ghl.ProofPublishedKey, `{"appId":"app-1","locationId":"loc-3"}`, ghl.ErrLocationIgnored},
		"another app at a configured location": {both, ghl.ProofPublishedKey, `{"appId":"app-3","locationId":"loc-1"}`, ghl.ErrAppNotAllowed},
		"a location's own event":               {locations, ghl.ProofPublishedKey, `{"type":"LocationUpdate","id":"loc-1"}`, nil},
		"another location's own event":         {locations, ghl.ProofPublishedKey, `{"type":"LocationUpdate","id":"loc-3"}`, ghl.ErrLocationIgnored},
		"a contact with the id of a location":  {locations, ghl.ProofPublishedKey, `{"type":"ContactUpdate","id":"loc-1"}`, ghl.ErrLocationIgnored},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode(jsonType, []byte(test.body))
			require.NoError(t, err)
			err = verifier(t, test.cfg).Authorize(test.proof, body, ghl.Normalise(body, received))
			require.ErrorIs(t, err, test.want)
		})
	}
}

func TestNewVerifierAccepts(t *testing.T) {
	t.Parallel()
	_, public := key(t)
	for name, cfg := range map[string]ghl.AuthConfig{
		"a secret":                                 {Secrets: []string{"s"}},
		"a key":                                    {PublicKeys: []string{public}},
		"app ids, for GHL's key":                   {AppIDs: []string{"a"}},
		"location ids, for GHL's key":              {LocationIDs: []string{"l"}},
		"GHL's key by name with app ids":           {PublicKeys: []string{ghl.PublishedKey, public}, AppIDs: []string{"a"}},
		"nothing, if anyone may send":              {AllowUnauthenticated: true},
		"GHL's key by name, if anyone may send":    {AllowUnauthenticated: true, PublicKeys: []string{ghl.PublishedKey}},
		"a secret twice, as rotation may leave it": {Secrets: []string{"s", "s"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ghl.NewVerifier(cfg)
			require.NoError(t, err)
		})
	}
}

func TestNewVerifierRejects(t *testing.T) {
	t.Parallel()
	_, public := key(t)
	private, _ := key(t)
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	rsaDER, err := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	require.NoError(t, err)

	for name, test := range map[string]struct {
		cfg  ghl.AuthConfig
		says []string
	}{
		"nothing": {ghl.AuthConfig{}, []string{"no sender is allowed"}},
		"GHL's key for everyone": {
			ghl.AuthConfig{PublicKeys: []string{public, ghl.PublishedKey}}, []string{"public key 2 of 2 is GoHighLevel's own"},
		},
		"GHL's key for everyone beside a secret": {
			ghl.AuthConfig{PublicKeys: []string{ghl.PublishedKey}, Secrets: []string{"s"}}, []string{"public key 1 of 1 is GoHighLevel's own"},
		},
		"all invalid settings at once": {
			ghl.AuthConfig{
				PublicKeys: []string{public, "nonsense", ""}, Secrets: []string{"s", " "}, AppIDs: []string{""}, LocationIDs: []string{"l", "\t"},
			},
			[]string{
				"public key 2 of 3", "public key 3 of 3", "webhook secret 2 of 2 is blank", "app id 1 of 1 is blank",
				"location id 2 of 2 is blank",
			},
		},
		"a private key": {
			ghl.AuthConfig{PublicKeys: []string{base64.StdEncoding.EncodeToString(privateDER)}}, []string{"public key 1 of 1: not an Ed25519"},
		},
		"a private key in PEM": {
			ghl.AuthConfig{PublicKeys: []string{string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER}))}},
			[]string{"public key 1 of 1: not an Ed25519"},
		},
		"an RSA key": {
			ghl.AuthConfig{PublicKeys: []string{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: rsaDER}))}},
			[]string{"public key 1 of 1: not an Ed25519"},
		},
		"a key that is cut": {ghl.AuthConfig{PublicKeys: []string{public[:40]}}, []string{"public key 1 of 1: not an Ed25519"}},
		"a wrong key if anyone may send": {
			ghl.AuthConfig{AllowUnauthenticated: true, PublicKeys: []string{"nonsense"}}, []string{"public key 1 of 1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ghl.NewVerifier(test.cfg)
			require.Error(t, err)
			for _, says := range test.says {
				assert.ErrorContains(t, err, says)
			}
			for _, given := range append(test.cfg.PublicKeys, test.cfg.Secrets...) {
				if len(given) > 1 {
					assert.NotContains(t, err.Error(), given, "what was configured is not repeated")
				}
			}
		})
	}
}

// TestPublishedKey replaces GoHighLevel's key, with which only GoHighLevel can sign.
func TestPublishedKey(t *testing.T) {
	t.Parallel()
	const raw = `{"type":"ContactUpdate"}`
	ghlKey, text := key(t)
	otherKey, other := key(t)
	published := fromBase64(t, text)
	secret := http.Header{http.CanonicalHeaderKey(ghl.HeaderSecret): {"s"}}
	secretAndSignature := signed(ghlKey, raw)
	secretAndSignature.Set(ghl.HeaderSecret, "s")

	for name, test := range map[string]struct {
		cfg    ghl.AuthConfig
		header http.Header
		want   ghl.Proof
		err    error
	}{
		"in force for app ids":        {ghl.AuthConfig{AppIDs: []string{"a"}}, signed(ghlKey, raw), ghl.ProofPublishedKey, nil},
		"in force for location ids":   {ghl.AuthConfig{LocationIDs: []string{"l"}}, signed(ghlKey, raw), ghl.ProofPublishedKey, nil},
		"in force if anyone may send": {ghl.AuthConfig{AllowUnauthenticated: true}, signed(ghlKey, raw), ghl.ProofPublishedKey, nil},
		"in force by name":            {ghl.AuthConfig{AppIDs: []string{"a"}, PublicKeys: []string{other, text}}, signed(ghlKey, raw), ghl.ProofPublishedKey, nil},
		"another key beside it":       {ghl.AuthConfig{AppIDs: []string{"a"}, PublicKeys: []string{other, text}}, signed(otherKey, raw), ghl.ProofOwnKey, nil},
		"not in force beside others":  {ghl.AuthConfig{AppIDs: []string{"a"}, PublicKeys: []string{other}}, signed(ghlKey, raw), 0, ghl.ErrUnauthenticated},
		"not in force for secrets":    {ghl.AuthConfig{Secrets: []string{"s"}}, signed(ghlKey, raw), 0, ghl.ErrUnauthenticated},
		"harmless beside a secret":    {ghl.AuthConfig{Secrets: []string{"s"}}, secretAndSignature, ghl.ProofSecret, nil},
		"not needed beside a secret":  {ghl.AuthConfig{Secrets: []string{"s"}}, secret, ghl.ProofSecret, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := ghl.NewVerifierWithPublishedKey(test.cfg, published)
			require.NoError(t, err)
			proof, err := v.Authenticate(test.header, nil, []byte(raw))
			require.ErrorIs(t, err, test.err)
			assert.Equal(t, test.want, proof)
		})
	}
}
