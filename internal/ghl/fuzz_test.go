package ghl_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// FuzzDecodeNormalise: for any input, Decode accepts exactly the JSON objects and forms, and keeps them unchanged; Normalise returns an event
// that any store can hold.
func FuzzDecodeNormalise(f *testing.F) {
	for _, dir := range []string{"samples", "odd", "reports"} {
		for _, text := range readBodies(f, dir) {
			f.Add([]byte(text), false)
		}
	}
	f.Add([]byte("customData[type]=AppointmentCreate&customData[id]=a&tags=x&tags[]=y&a[b]=1&a=2&%00=%c3%a9"), true)
	f.Add([]byte(`["{\"type\":\"AppointmentCreate\",\"appointment\":{\"id\":\"a\"}}"]`), false)
	f.Add([]byte(bom+`{"type":"contact.merged","id":12345678901234567890}`), true)

	f.Fuzz(func(t *testing.T, raw []byte, form bool) {
		contentType := jsonType
		if form {
			contentType = formType
		}
		before := bytes.Clone(raw)
		body, err := ghl.Decode(contentType, raw)
		require.Equal(t, before, raw, "what was received is not written to")
		text := bytes.TrimPrefix(raw, []byte(bom))
		var object map[string]json.RawMessage
		isObject := utf8.Valid(text) && json.Unmarshal(text, &object) == nil && object != nil
		if err != nil {
			assert.False(t, isObject && !strings.Contains(err.Error(), "nested"), "a JSON object was refused: %v", err)
			assert.True(t, utf8.ValidString(err.Error()))
			return
		}

		require.NoError(t, json.Unmarshal(body.Payload, &object), "the payload is a JSON object")
		assert.True(t, utf8.Valid(body.Payload))
		switch {
		case body.Raw == nil:
			assert.Equal(t, raw, body.Payload)
		case isObject:
			assert.Equal(t, raw, body.Raw)
			assert.Equal(t, text, body.Payload)
		default:
			assert.True(t, form || bytes.ContainsAny(bytes.TrimSpace(text)[:1], `"[`))
			assert.Equal(t, raw, body.Raw)
		}

		e := ghl.Normalise(body, received)
		checkEvent(t, e)
		again, err := ghl.Decode(contentType, raw)
		require.NoError(t, err)
		assert.Equal(t, e, ghl.Normalise(again, received), "the same bytes are the same event")
		stored, err := ghl.Decode(jsonType, body.Payload)
		require.NoError(t, err, "what is stored can be read again")
		assert.Equal(t, e, ghl.Normalise(stored, received))
	})
}

func checkEvent(t *testing.T, e event.Event) {
	t.Helper()
	assert.Equal(t, event.SourceGHL, e.Source)
	assert.NotEmpty(t, e.Type)
	assert.NotEmpty(t, e.EntityType)
	assert.LessOrEqual(t, len(e.Type), 256)
	assert.LessOrEqual(t, len(e.EntityType), 32)
	assert.Equal(t, event.OrderingKeyOf(e.EntityType, e.EntityID), e.OrderingKey)
	if e.EntityType == event.EntityUnknown {
		assert.Empty(t, e.EntityID)
	}
	if e.EntityType != event.EntityAppointment {
		assert.Empty(t, e.AppointmentStatus)
	}
	for _, id := range []string{e.EntityID, e.LocationID, e.ContactID, strings.TrimPrefix(e.DedupeKey, "ghl:"), e.AppointmentStatus} {
		assert.LessOrEqual(t, len(id), 2*ghl.MaxIDLen)
		assert.True(t, utf8.ValidString(id))
		assert.NotContains(t, id, "\x00")
		assert.Equal(t, strings.TrimSpace(id), id)
	}
	assert.False(t, e.OccurredAt.After(received))
	assert.NotContains(t, e.Type, "\x00")
}

// FuzzAuthenticate: only a signature of the body by a configured key, or a configured secret, authenticates a request.
func FuzzAuthenticate(f *testing.F) {
	v := readVectors(f)
	for _, s := range v.Signed {
		f.Add(s.Signature, "", "", "", fromBase64(f, s.BodyBase64))
	}
	f.Add("N/A", "first secret", "Bearer x", "token=y", []byte("{}"))
	f.Add(" n/a", "", "bearer second secret", "", []byte("{}"))
	f.Add("", "", "", "token=first+secret&token=x", []byte("{}"))
	f.Add("", "", "Basic dXNlcjpmaXJzdCBzZWNyZXQ=", "a=b&token=x&y", []byte("{}"))

	secrets := []string{"first secret", "second secret"}
	verifier := verifier(f, ghl.AuthConfig{PublicKeys: []string{v.PublicKey["pem"]}, Secrets: secrets})
	genuine := map[string]bool{}
	for _, s := range v.Signed {
		genuine[string(fromBase64(f, s.BodyBase64))] = true
	}

	f.Fuzz(func(t *testing.T, signature, secret, authorization, query string, raw []byte) {
		header := http.Header{}
		header.Set(ghl.HeaderSignature, signature)
		header.Set(ghl.HeaderSecret, secret)
		header.Set("Authorization", authorization)
		values := ghl.QueryOf(query)
		proof, err := verifier.Authenticate(header, values, raw)
		switch {
		case err != nil:
			require.ErrorIs(t, err, ghl.ErrUnauthenticated)
			assert.Equal(t, ghl.ProofNone, proof)
		case proof == ghl.ProofOwnKey:
			assert.True(t, genuine[string(raw)], "an unsigned body")
		case proof == ghl.ProofSecret:
			presented := strings.Join(append(values[ghl.QueryToken], secret, authorization, basicOf(authorization)), "\n")
			assert.True(t, strings.Contains(presented, secrets[0]) || strings.Contains(presented, secrets[1]))
		default:
			t.Fatalf("let in by %v", proof)
		}
	})
}

// basicOf is what Basic authentication encodes.
func basicOf(authorization string) string {
	_, token, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	pair, err := base64.StdEncoding.DecodeString(strings.TrimSpace(token))
	if err != nil {
		return ""
	}
	return string(pair)
}
