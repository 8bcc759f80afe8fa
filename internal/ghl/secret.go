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

// maxTokens bounds how many readings of a query's token are compared.
const maxTokens = 64

// QueryOf reads a request's query. To what net/url finds it adds, as further values of QueryToken, the token as GHL's dialog sends it: with
// +, & and % as they were typed.
func QueryOf(raw string) url.Values {
	values, _ := url.ParseQuery(raw) // What can be read counts, though something else is broken.
	add := func(token string) {
		if token != "" && len(values[QueryToken]) < maxTokens && !slices.Contains(values[QueryToken], token) {
			values.Add(QueryToken, token)
		}
	}
	for at := 0; at < len(raw); {
		rest, found := strings.CutPrefix(raw[at:], QueryToken+"=")
		for end := 0; found && end <= len(rest); end++ {
			// The token ends at one of the &, or is all of the rest.
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

// neverSecret are the headers that clients and proxies set, and those that are kept with an event: none of them is a secret's.
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

// presentedSecrets returns everything that may be a secret: the value of any header that is not another thing's, since GHL's dialog lets
// people choose the name of the header of an API key; what stands behind Bearer in Authorization, and behind Basic the user, the password
// and both; and the tokens of the query.
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

// hasSecret compares hashes, all of them, so that the time it takes tells neither a secret nor its length.
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
