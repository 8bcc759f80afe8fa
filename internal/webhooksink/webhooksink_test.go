package webhooksink_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/webhooksink"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	sim "github.com/dfmiddleware/verity-sync/test/sim/webhooksink"
)

var occurred = time.Date(2026, time.November, 2, 9, 30, 0, 123e6, time.UTC)

// attempt returns an attempt of an event with this payload, stored as JSON.
func attempt(payload string) *store.Attempt {
	return &store.Attempt{
		ID: uuid.Must(uuid.NewV7()), Payload: []byte(payload),
		Event: event.Event{Type: "contact.updated", EntityType: event.EntityContact, OccurredAt: occurred},
	}
}

// start starts a simulator and returns it with a sink that sends to it.
func start(t *testing.T, faults ...fault.Fault) (*sim.Server, *webhooksink.Sink) {
	t.Helper()
	server := sim.New()
	require.NoError(t, server.Faults.Add(faults...))
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	t.Cleanup(server.Faults.Clear)
	return server, newSink(t, webhooksink.Options{URL: listener.URL + "/hook", Secret: server.Secret, AllowPrivate: true})
}

func newSink(t *testing.T, o webhooksink.Options) *webhooksink.Sink {
	t.Helper()
	o.Product = "test"
	o.Breaker = destination.NewBreaker(webhooksink.Destination, destination.BreakerOptions{Failures: 1 << 30})
	sink, err := webhooksink.New(o)
	require.NoError(t, err)
	return sink
}

func TestAMessageHasTheEvent(t *testing.T) {
	t.Parallel()
	const received = `{ "z": 1, "a": 1.10, "name": "Ann & <Bob>", "name": "twice" }`
	for name, test := range map[string]struct {
		payload, raw, data string
	}{
		"the JSON that was received":                                   {received, "", `{"z":1,"a":1.10,"name":"Ann & <Bob>","name":"twice"}`},
		"the JSON that was received, not what is stored":               {`{"name":""}`, `{"name":"\u0000"}`, `{"name":"\u0000"}`},
		"the object that was read from a form":                         {`{"a":"1"}`, "a=1", `{"a":"1"}`},
		"the object that was read from a form that is JSON, too":       {`{"1":""}`, "1", `{"1":""}`},
		"the object that is stored, if what was received is not UTF-8": {`{"a":"?"}`, "{\"a\":\"\xff\"}", `{"a":"?"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, sink := start(t)
			e := attempt(test.payload)
			if test.raw != "" {
				e.Raw = []byte(test.raw)
			}
			out := sink.Run(t.Context(), e)
			require.NoError(t, out.Err)
			assert.Equal(t, map[string]any{"webhookID": e.ID.String()}, out.Details)

			messages := server.Messages()
			require.Len(t, messages, 1)
			assert.Equal(t, e.ID.String(), messages[0].ID)
			assert.Equal(t, `{"type":"contact.updated","timestamp":"2026-11-02T09:30:00.123Z","data":`+test.data+`}`, messages[0].Body)
			request := server.Requests.Requests(http.MethodPost, "/hook")[0]
			assert.Equal(t, "verity-sync/test", request.Header.Get("User-Agent"))
			assert.NotContains(t, request.Header, "Idempotency-Key")
		})
	}
}

func TestARepeatedMessageHasTheSameIDAndBody(t *testing.T) {
	t.Parallel()
	server, sink := start(t, fault.Fault{Kind: fault.ResetAfterHandling}, fault.Status(http.StatusServiceUnavailable))
	e := attempt(`{"a":1}`)
	require.Error(t, sink.Run(t.Context(), e).Err, "the response is lost")
	require.Error(t, sink.Run(t.Context(), e).Err)
	require.NoError(t, sink.Run(t.Context(), e).Err)
	messages := server.Messages()
	require.Len(t, messages, 1)
	assert.Len(t, messages[0].Times, 2)

	e.LedgerRun = 2
	require.NoError(t, sink.Run(t.Context(), e).Err)
	messages = server.Messages()
	require.Len(t, messages, 2, "a replay from the start is a new message")
	assert.Equal(t, e.ID.String()+"-2", messages[1].ID)
	assert.NotContains(t, messages[1].ID, ".", "the specification reserves it")
}

func TestFailuresAreClassified(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault   fault.Fault
		class   destination.Class
		message string
	}{
		"a server error":             {fault.Status(500), destination.Transient, "answered 500"},
		"a timeout of the server":    {fault.Status(408), destination.Transient, "answered 408"},
		"a refusal of the message":   {fault.Status(422), destination.Permanent, "answered 422"},
		"a bad request":              {fault.Status(400), destination.Permanent, "answered 400"},
		"an endpoint that is gone":   {fault.Status(410), destination.Permanent, "answered 410"},
		"a refusal of the signature": {fault.Status(401), destination.Unavailable, "answered 401"},
		"no endpoint":                {fault.Status(404), destination.Unavailable, "answered 404"},
		"a redirect":                 {fault.Redirect("/elsewhere"), destination.Unavailable, "redirects are not followed"},
		"a pause":                    {fault.Status(429), destination.Limited, "answered 429"},
		"a reset":                    {fault.Fault{Kind: fault.Reset, Times: -1}, destination.Transient, "reset"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, sink := start(t, test.fault)
			out := sink.Run(t.Context(), attempt(`{"a":1}`))
			require.Error(t, out.Err)
			assert.Equal(t, test.class, destination.ClassOf(out.Err))
			assert.Contains(t, out.Err.Error(), test.message)
			assert.Equal(t, webhooksink.Destination, destination.NameOf(out.Err))
			assert.Empty(t, server.Messages())
			assert.Empty(t, server.Requests.Requests("", "/elsewhere"))
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	_, sink := start(t, fault.Fault{Kind: fault.Answer, Status: 429, Header: http.Header{"Retry-After": {"120"}}})
	out := sink.Run(t.Context(), attempt(`{"a":1}`))
	assert.Equal(t, 2*time.Minute, destination.RetryAfterOf(out.Err))
	assert.InDelta(t, 120, out.Wait.Seconds(), 5, "no message is sent meanwhile")
}

func TestASuccessNeedsNoBody(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]fault.Fault{
		"a body that never comes":  {Kind: fault.HangAfterHeaders},
		"a body that does not end": {Kind: fault.Endless, Body: "{}"},
		"a body that breaks off":   {Kind: fault.Truncate},
		"202":                      fault.Status(202),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, sink := start(t, answer)
			started := time.Now()
			require.NoError(t, sink.Run(t.Context(), attempt(`{"a":1}`)).Err)
			assert.Less(t, time.Since(started), destination.CallTimeout/2)
		})
	}
}

// TestMessagesGoToPublicAddressesOnly connects for real: a listener counts the requests that reach it.
func TestMessagesGoToPublicAddressesOnly(t *testing.T) {
	server := sim.New()
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	// A proxy would connect in the place of the sink, past its check.
	proxy := httptest.NewServer(server)
	t.Cleanup(proxy.Close)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	port := listener.URL[strings.LastIndex(listener.URL, ":"):]
	for name, host := range map[string]string{
		"an address":              "127.0.0.1",
		"a name":                  "localhost",
		"an address in IPv6":      "[::1]",
		"a mapped address":        "[::ffff:127.0.0.1]",
		"an unspecified address":  "0.0.0.0",
		"a cloud's metadata":      "169.254.169.254",
		"a private address":       "10.0.0.1",
		"an address behind NAT64": "[64:ff9b::7f00:1]",
	} {
		t.Run(name, func(t *testing.T) {
			sink := newSink(t, webhooksink.Options{URL: "http://" + host + port, Secret: server.Secret})
			out := sink.Run(t.Context(), attempt(`{"a":1}`))
			require.Error(t, out.Err)
			assert.Equal(t, destination.Unavailable, destination.ClassOf(out.Err))
			assert.Equal(t, "webhook-sink: the URL leads to an address that is not public; set WEBHOOK_SINK_ALLOW_PRIVATE=true if that is "+
				"intended", out.Err.Error())
			assert.Zero(t, server.Requests.Total())
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	breaker := destination.NewBreaker("test", destination.BreakerOptions{})
	for name, o := range map[string]webhooksink.Options{
		"no URL":                {Secret: secret, Breaker: breaker},
		"a URL without a host":  {URL: "https:///hook", Secret: secret, Breaker: breaker},
		"a file":                {URL: "file:///etc/passwd", Secret: secret, Breaker: breaker},
		"no secret":             {URL: "https://sink.example.com", Breaker: breaker},
		"no breaker":            {URL: "https://sink.example.com", Secret: secret},
		"a secret without type": {URL: "https://sink.example.com", Secret: secret[6:], Breaker: breaker},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := webhooksink.New(o)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "MfKQ")
		})
	}
}

func TestParseSecret(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		secret string
		length int
	}{
		"24 bytes":                   {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 24},
		"64 bytes":                   {"whsec_" + strings.Repeat("AAAA", 21) + "AA==", 64},
		"23 bytes are too few":       {"whsec_" + strings.Repeat("AAAA", 7) + "AAA=", 0},
		"65 bytes are too many":      {"whsec_" + strings.Repeat("AAAA", 21) + "AAA=", 0},
		"base64 for URLs is another": {"whsec_" + strings.Repeat("A_-A", 8), 0},
		"a key of another scheme":    {"whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 0},
		"nothing after the type":     {"whsec_", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, err := webhooksink.ParseSecret(test.secret)
			assert.Len(t, key, test.length)
			assert.Equal(t, test.length == 0, err != nil)
		})
	}
}

func TestTheOperationServesEveryEntity(t *testing.T) {
	t.Parallel()
	spec := (&webhooksink.Sink{}).Spec()
	assert.True(t, spec.Serves(event.EntityUnknown))
	assert.Empty(t, spec.After)
	assert.Empty(t, spec.Results, "a result would replace that of the sync")
}
