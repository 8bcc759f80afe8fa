package verity_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/verity"
)

const (
	webhook   = `{"type":"ContactCreate","phone":"(205) 555-0142","email":"Ada@example.com"}`
	wantHash  = "1f85acc4f334887928497bb558311b2b41c4e337f28d6caf17ef583f5360f873"
	otherBody = `{"type":"ContactDelete"}`
	jsonType  = "application/json"
	formType  = "application/x-www-form-urlencoded"
)

// serve starts the simulator and returns it with its URL.
func serve(t *testing.T, s *verity.Server) string {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(s.Faults.Clear)
	return server.URL
}

// forward returns a request as verity-sync makes it.
func forward(t *testing.T, url, key, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+verity.WebhookPath, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	r.Header.Set("X-Middleware-Forwarded", "true")
	r.Header.Set("X-Middleware-Secret", "s3cret")
	return r
}

func send(t *testing.T, r *http.Request) (code int, body string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, string(data)
}

func control(t *testing.T, method, url, body string) (code int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	return send(t, r)
}

func TestTheEndpointIsStrict(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spoil func(*http.Request)
		body  string
		code  int
	}{
		"a webhook is accepted":     {func(*http.Request) {}, webhook, 200},
		"a form is accepted":        {func(r *http.Request) { r.Header.Set("Content-Type", formType) }, "a=b", 200},
		"another path":              {func(r *http.Request) { r.URL.Path = "/webhook" }, webhook, 404},
		"another method":            {func(r *http.Request) { r.Method = http.MethodPut }, webhook, 405},
		"no secret":                 {func(r *http.Request) { r.Header.Del("X-Middleware-Secret") }, webhook, 401},
		"another secret":            {func(r *http.Request) { r.Header.Set("X-Middleware-Secret", "guess") }, webhook, 401},
		"not marked as forwarded":   {func(r *http.Request) { r.Header.Del("X-Middleware-Forwarded") }, webhook, 400},
		"no idempotency key":        {func(r *http.Request) { r.Header.Del("Idempotency-Key") }, webhook, 400},
		"no content type":           {func(r *http.Request) { r.Header.Del("Content-Type") }, webhook, 415},
		"another content type":      {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, webhook, 415},
		"no body":                   {func(*http.Request) {}, "", 400},
		"a body that is cut":        {func(*http.Request) {}, webhook[:20], 400},
		"a body that is no object":  {func(*http.Request) {}, `["an array"]`, 400},
		"a body that is null":       {func(*http.Request) {}, `null`, 400},
		"a form that is none":       {func(r *http.Request) { r.Header.Set("Content-Type", formType) }, "%zz", 400},
		"a body that is over 2 MiB": {func(*http.Request) {}, strings.Repeat(" ", 2<<20) + webhook, 413},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := verity.New()
			s.Secret = "s3cret"
			r := forward(t, serve(t, s), "key", tt.body)
			tt.spoil(r)
			code, _ := send(t, r)
			assert.Equal(t, tt.code, code)
			assert.Equal(t, tt.code == 200, len(s.Deliveries()) == 1, "only what is accepted is a delivery")
			assert.Equal(t, 1, s.Requests.Total(), "everything is recorded")
		})
	}
}

func TestADeliveryIsKnownByItsKey(t *testing.T) {
	t.Parallel()
	s := verity.New()
	url := serve(t, s)

	code, body := send(t, forward(t, url, "one", webhook))
	assert.Equal(t, 200, code)
	assert.JSONEq(t, `{"status":"accepted"}`, body)
	code, body = send(t, forward(t, url, "two", webhook))
	assert.Equal(t, 200, code)
	assert.JSONEq(t, `{"status":"accepted"}`, body)
	code, body = send(t, forward(t, url, "one", webhook))
	assert.Equal(t, 200, code)
	assert.JSONEq(t, `{"status":"duplicate"}`, body)
	code, _ = send(t, forward(t, url, "one", otherBody))
	assert.Equal(t, 422, code, "a key stands for one body")

	deliveries := s.Deliveries()
	require.Len(t, deliveries, 2)
	assert.Equal(t, "one", deliveries[0].Key)
	assert.Equal(t, wantHash, deliveries[0].SHA256)
	assert.Len(t, deliveries[0].Times, 2)
	assert.Len(t, deliveries[1].Times, 1)

	requests := s.Requests.Requests(http.MethodPost, verity.WebhookPath)
	var bodies, keys []string
	for _, r := range requests {
		bodies, keys = append(bodies, r.Body), append(keys, r.Header.Get("Idempotency-Key"))
	}
	assert.Equal(t, []string{webhook, webhook, webhook, otherBody}, bodies, "byte for byte")
	assert.Equal(t, []string{"one", "two", "one", "one"}, keys)
}

func TestControlOverHTTP(t *testing.T) {
	t.Parallel()
	s := verity.New()
	url := serve(t, s)

	code, _ := control(t, http.MethodPost, url+"/_sim/faults", `[{"kind":"answer","status":503},{"kind":"answer","status":429}]`)
	require.Equal(t, http.StatusNoContent, code)
	for _, want := range []int{503, 429, 200} {
		code, _ := send(t, forward(t, url, "one", webhook))
		assert.Equal(t, want, code, "faults happen in their order, then all is well")
	}

	_, body := control(t, http.MethodGet, url+"/_sim/requests", "")
	var requests []json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(body), &requests))
	assert.Len(t, requests, 3, "requests that met a fault are recorded")

	for query, want := range map[string]int{"": 1, "?key=one": 1, "?key=two": 0} {
		_, body = control(t, http.MethodGet, url+"/_sim/deliveries"+query, "")
		var deliveries []verity.Delivery
		require.NoError(t, json.Unmarshal([]byte(body), &deliveries))
		assert.Len(t, deliveries, want, "deliveries%s", query)
	}
	code, _ = control(t, http.MethodDelete, url+"/_sim/deliveries", "")
	assert.Equal(t, http.StatusNoContent, code)
	assert.Empty(t, s.Deliveries())
}

func TestAFaultThatHidesAnAnswerDoesNotUndoTheDelivery(t *testing.T) {
	t.Parallel()
	s := verity.New()
	url := serve(t, s)
	require.NoError(t, s.Faults.Add(fault.Fault{Kind: fault.Reset}, fault.Fault{Kind: fault.ResetAfterHandling}))

	for i, want := range []int{0, 1} {
		// A connection of its own: net/http would send it again on one that it had used before.
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(forward(t, url, "one", webhook))
		if err == nil {
			_ = resp.Body.Close()
		}
		require.Error(t, err)
		assert.Len(t, s.Deliveries(), want, "after request %d", i)
	}
}

func TestContactsComeFromWebhooks(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ mediaType, body, want string }{
		"at the root": {jsonType, webhook, "+12055550142 Ada@example.com"},
		"under contact": {
			jsonType, `{"contact":{"phone":"+20 12 00000198","email":"b@example.com"}}`, "+201200000198 b@example.com",
		},
		"a phone number alone":  {jsonType, `{"phone":"+12055550142","email":null}`, "+12055550142 "},
		"an address alone":      {jsonType, `{"phone":"unknown","email":"b@example.com"}`, " b@example.com"},
		"in a form":             {formType, "phone=%2B12055550142&email=b@example.com", "+12055550142 b@example.com"},
		"neither":               {jsonType, otherBody, ""},
		"fields of other types": {jsonType, `{"phone":5550142,"email":{"a":1},"contact":"Ada"}`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := verity.New()
			var got []string
			s.OnContact = func(_ context.Context, phone, email string) error {
				got = append(got, phone+" "+email)
				return nil
			}
			r := forward(t, serve(t, s), "one", tt.body)
			r.Header.Set("Content-Type", tt.mediaType)
			code, _ := send(t, r)
			assert.Equal(t, 200, code)
			if tt.want == "" {
				assert.Empty(t, got)
			} else {
				assert.Equal(t, []string{tt.want}, got)
			}
		})
	}
	t.Run("one that cannot be stored is no delivery", func(t *testing.T) {
		t.Parallel()
		s := verity.New()
		s.OnContact = func(context.Context, string, string) error { return errors.New("down") }
		code, _ := send(t, forward(t, serve(t, s), "one", webhook))
		assert.Equal(t, 500, code)
		assert.Empty(t, s.Deliveries())
	})
}
