package ghl

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxTokens bounds how many interpretations of a query's token are compared.
const maxTokens = 64

// QueryOf parses a request's query. To the result of net/url it adds, as further values of QueryToken, the token as GoHighLevel's dialog
// sends it: with unescaped +, & and %.
func QueryOf(raw string) url.Values {
	values, _ := url.ParseQuery(raw) // The valid parameters count, even if others are broken.
	add := func(token string) {
		if token != "" && len(values[QueryToken]) < maxTokens && !slices.Contains(values[QueryToken], token) {
			values.Add(QueryToken, token)
		}
	}
	for at := 0; at < len(raw); {
		rest, found := strings.CutPrefix(raw[at:], QueryToken+"=")
		for end := 0; found && end <= len(rest); end++ {
			// The token ends at any &, or at the end.
			if end < len(rest) && rest[end] != '&' {
				continue
			}
			add(rest[:end])
			if plain, err := url.PathUnescape(rest[:end]); err == nil {
				add(plain)
			}
		}
		next := strings.IndexByte(raw[at:], '&')
		if next < 0 {
			break
		}
		at += next + 1
	}
	return values
}

// neverSecret are the headers that clients and proxies set, and those that are stored with an event. They never carry the secret.
var neverSecret = func() map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields(`
		Accept Accept-Charset Accept-Encoding Accept-Language Authorization Cache-Control Connection Content-Encoding Content-Length
		Content-Type Date Expect Forwarded From Host
		Keep-Alive Origin Pragma Priority Referer Te
		Trailer Transfer-Encoding Upgrade User-Agent Via
		X-Forwarded-For X-Forwarded-Host X-Forwarded-Port X-Forwarded-Proto X-Real-Ip X-Request-Id Traceparent Tracestate
	`) {
		m[http.CanonicalHeaderKey(name)] = true
	}
	m[http.CanonicalHeaderKey(HeaderSignature)] = true
	return m
}()

// presentedSecrets returns every value that may be the secret: the values of all headers that are not in neverSecret, because people choose
// the name of an API key's header in GoHighLevel's dialog; the token of Authorization: Bearer; the user, the password and both of
// Authorization: Basic; and the tokens of the query.
func presentedSecrets(h http.Header, query url.Values) []string {
	presented := slices.Clone(query[QueryToken])
	for name, values := range h {
		if !neverSecret[http.CanonicalHeaderKey(name)] {
			presented = append(presented, values...)
		}
	}
	for _, value := range h.Values("Authorization") {
		scheme, token, ok := strings.Cut(strings.TrimSpace(value), " ")
		if !ok {
			continue
		}
		token = strings.TrimSpace(token)
		switch {
		case strings.EqualFold(scheme, "Bearer"):
			presented = append(presented, token)
		case strings.EqualFold(scheme, "Basic"):
			if pair, err := base64.StdEncoding.DecodeString(token); err == nil {
				user, password, _ := strings.Cut(string(pair), ":")
				presented = append(presented, user, password, string(pair))
			}
		}
	}
	return presented
}

// hasSecret compares all hashes, so that its duration reveals neither a secret nor its length.
func (v *Verifier) hasSecret(h http.Header, query url.Values) bool {
	if len(v.secrets) == 0 {
		return false
	}
	found := 0
	for _, s := range presentedSecrets(h, query) {
		hash := sha256.Sum256([]byte(strings.TrimSpace(s)))
		for i := range v.secrets {
			found |= subtle.ConstantTimeCompare(hash[:], v.secrets[i][:])
		}
	}
	return found == 1
}
