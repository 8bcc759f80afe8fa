package ghl_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

func TestASecretInTheURLNeedNotBeEscaped(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{
		"plain", "a+b", "a&b", "a%b", "50%zz", "a%2Bb", "&", "a&b=c&d", "a+b&c%d+", "a;b", "a=b==", "p%26q", "übung", "token=x",
	} {
		v := verifier(t, ghl.AuthConfig{Secrets: []string{secret}})
		for form, query := range map[string]string{
			"as it is":           "token=" + secret,
			"encoded":            "token=" + url.QueryEscape(secret),
			"encoded for a path": "token=" + strings.ReplaceAll(url.PathEscape(secret), "&", "%26"),
			"behind another":     "a=b&token=" + secret,
			"before another":     "token=" + secret + "&a=b",
			"between others":     "x=%zz&token=" + secret + "&a=b&c=d",
		} {
			proof, err := v.Authenticate(http.Header{}, ghl.QueryOf(query), []byte("{}"))
			require.NoError(t, err, "%s %s", secret, form)
			assert.Equal(t, ghl.ProofSecret, proof)
		}
		for _, query := range []string{
			"token=", "token", "token=" + secret + "x", "token=x" + secret, "Token=" + secret, "xtoken=" + secret, "a=" + secret, "",
			"token=" + strings.Repeat("&", 1000),
		} {
			if secret == "&" && strings.Contains(query, "&") {
				continue // The secret is there, between others.
			}
			if secret == "token=x" && strings.HasPrefix(query, "token=token=x") {
				continue
			}
			_, err := v.Authenticate(http.Header{}, ghl.QueryOf(query), []byte("{}"))
			require.ErrorIs(t, err, ghl.ErrUnauthenticated, "%s in %s", secret, query)
		}
	}
}

func TestASecretInAnyHeader(t *testing.T) {
	t.Parallel()
	const secret = "s3:cr+t&%"
	v := verifier(t, ghl.AuthConfig{Secrets: []string{"other", secret}})
	basic := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	for name, header := range map[string][2]string{
		"X-API-Key":             {"X-API-Key", secret},
		"Api-Key":               {"api-key", secret},
		"a chosen name":         {"X-Our-Crm", " " + secret + " "},
		"Basic, as password":    {"Authorization", basic("ghl:" + secret)},
		"Basic, without a user": {"Authorization", basic(":" + secret)},
		"Basic, as a whole":     {"Authorization", basic(secret)},
		"Basic, as the user":    {"Authorization", "bAsIc " + base64.StdEncoding.EncodeToString([]byte("other:"))},
		"Bearer":                {"Authorization", "Bearer " + secret},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			h.Set(header[0], header[1])
			proof, err := v.Authenticate(h, nil, []byte("{}"))
			require.NoError(t, err)
			assert.Equal(t, ghl.ProofSecret, proof)
		})
	}
	for name, header := range map[string][2]string{
		"a header that is kept":       {"User-Agent", secret},
		"an id of the request":        {"X-Request-Id", secret},
		"a type of content":           {"Content-Type", secret},
		"a signature":                 {"X-GHL-Signature", secret},
		"the name of a header":        {secret, "x"},
		"Basic that is not base64":    {"Authorization", "Basic " + secret + "x"},
		"Basic with another password": {"Authorization", basic("ghl:" + secret + "x")},
		"Basic with nothing":          {"Authorization", basic(":")},
		"another scheme":              {"Authorization", "Digest " + secret},
		"a part of the value":         {"X-API-Key", secret + ", other"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := v.Authenticate(http.Header{http.CanonicalHeaderKey(header[0]): {header[1]}}, nil, []byte("{}"))
			require.ErrorIs(t, err, ghl.ErrUnauthenticated)
		})
	}
}
