package verity_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/verity"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	veritysim "github.com/dfmiddleware/verity-sync/test/sim/verity"
)

const (
	secret = "s3cret"
	// body has what decoding and encoding would change: key order, a repeated key, white space, an escape, a large number.
	body = "{ \"b\":1,\t\"a\":2, \"a\":3, \"n\":12345678901234567890.10, \"s\":\"\\u00e9<&>\" }\r\n"
)

var request = verity.Request{IdempotencyKey: "01990000-0000-7000-8000-000000000001", Body: []byte(body)}

// environment is a simulated Verity and a forwarder to it.
type environment struct {
	sim       *veritysim.Server
	client    *http.Client
	forwarder *verity.Forwarder
	// opened counts the connections that Verity accepted.
	opened atomic.Int32
}

func newEnvironment(t *testing.T, faults ...fault.Fault) *environment {
	t.Helper()
	h := &environment{sim: veritysim.New(), client: destination.NewClient("test")}
	h.sim.Secret = secret
	server := httptest.NewUnstartedServer(h.sim)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			h.opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(h.sim.Faults.Clear)
	require.NoError(t, h.sim.Faults.Add(faults...))
	h.forwarder = newForwarder(t, server.URL, h.client)
	return h
}

func newForwarder(t *testing.T, base string, client *http.Client) *verity.Forwarder {
	t.Helper()
	f, err := verity.NewForwarder(verity.ForwarderConfig{BaseURL: base, Secret: secret, Client: client})
	require.NoError(t, err)
	return f
}

func TestForwardSendsTheWebhookByteForByte(t *testing.T) {
	t.Parallel()
	h := newEnvironment(t)
	err := h.forwarder.Forward(t.Context(), verity.Request{
		IdempotencyKey: "key.2", Body: []byte(body), ContentType: "application/json; charset=utf-8", Signature: "c2lnbmVk",
	})
	require.NoError(t, err)

	requests := h.sim.Requests.Requests(http.MethodPost, "/api/integrations/ghl/webhook")
	require.Len(t, requests, 1)
	assert.Equal(t, body, requests[0].Body)
	header := requests[0].Header
	assert.Equal(t, "application/json; charset=utf-8", header.Get("Content-Type"))
	assert.Equal(t, "key.2", header.Get("Idempotency-Key"))
	assert.Equal(t, "c2lnbmVk", header.Get("X-GHL-Signature"))
	assert.Equal(t, "true", header.Get("X-Middleware-Forwarded"))
	assert.Equal(t, secret, header.Get("X-Middleware-Secret"))
	assert.Equal(t, "verity-sync/test", header.Get("User-Agent"))
}

func TestForwardOmitsMissingHeaders(t *testing.T) {
	t.Parallel()
	h := newEnvironment(t)
	h.sim.Secret = ""
	server := httptest.NewServer(h.sim)
	t.Cleanup(server.Close)
	f, err := verity.NewForwarder(verity.ForwarderConfig{BaseURL: server.URL, Client: h.client})
	require.NoError(t, err)
	err = f.Forward(t.Context(), request)
	require.NoError(t, err)

	header := h.sim.Requests.Requests("", "")[0].Header
	assert.NotContains(t, header, "X-Ghl-Signature")
	assert.NotContains(t, header, "X-Middleware-Secret")
	assert.Equal(t, "application/json", header.Get("Content-Type"))
}

func TestForwardFindsTheEndpointUnderTheBaseURL(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ suffix, prefix string }{
		"without a trailing slash": {"", ""},
		"with a trailing slash":    {"/", ""},
		"with two slashes":         {"//", ""},
		"with a path":              {"/verity", "/verity"},
		"with a path and a slash":  {"/verity/", "/verity"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := veritysim.New()
			sim.Secret = secret
			server := httptest.NewServer(http.StripPrefix(tt.prefix, sim))
			t.Cleanup(server.Close)
			err := newForwarder(t, server.URL+tt.suffix, destination.NewClient("test")).Forward(t.Context(), request)
			require.NoError(t, err)
			assert.Len(t, sim.Deliveries(), 1)
		})
	}
}

func TestNewForwarderRejects(t *testing.T) {
	t.Parallel()
	client := http.DefaultClient
	tests := map[string]verity.ForwarderConfig{
		"no URL":                     {BaseURL: "", Client: client},
		"no scheme":                  {BaseURL: "verity.example.com", Client: client},
		"another scheme":             {BaseURL: "ftp://verity.example.com", Client: client},
		"no host":                    {BaseURL: "https:///hooks", Client: client},
		"a port without a host":      {BaseURL: "https://:8443", Client: client},
		"an invalid URL":             {BaseURL: "https://s3cret:%zz@verity.example.com", Client: client},
		"credentials":                {BaseURL: "https://ada:s3cret@verity.example.com", Client: client},
		"a query":                    {BaseURL: "https://verity.example.com/?token=s3cret", Client: client},
		"a fragment":                 {BaseURL: "https://verity.example.com/#s3cret", Client: client},
		"a secret with a line break": {BaseURL: "https://verity.example.com", Secret: "s3cret\n", Client: client},
		"no client":                  {BaseURL: "https://verity.example.com"},
	}
	for name, cfg := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := verity.NewForwarder(cfg)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "s3cret")
		})
	}
}

func TestForwardClassifiesErrors(t *testing.T) {
	t.Parallel()
	answer := func(code int, header ...string) fault.Fault {
		f := fault.Status(code)
		for i := 0; i < len(header); i += 2 {
			f.Header.Set(header[i], header[i+1])
		}
		f.Body = `{"error":"ada@example.com is unknown"}`
		return f
	}
	tests := map[string]struct {
		fault fault.Fault
		class destination.Class
		code  int
		after time.Duration
	}{
		"400 is about the event":            {answer(400), destination.Permanent, 400, 0},
		"409 is about the event":            {answer(409), destination.Permanent, 409, 0},
		"410 is about the event":            {answer(410), destination.Permanent, 410, 0},
		"413 is about the event":            {answer(413), destination.Permanent, 413, 0},
		"422 is about the event":            {answer(422), destination.Permanent, 422, 0},
		"401 is about all events":           {answer(401), destination.Unavailable, 401, 0},
		"403 is about all events":           {answer(403), destination.Unavailable, 403, 0},
		"404 is about all events":           {answer(404), destination.Unavailable, 404, 0},
		"405 is about all events":           {answer(405), destination.Unavailable, 405, 0},
		"408 is transient":                  {answer(408), destination.Transient, 408, 0},
		"425 is transient":                  {answer(425), destination.Transient, 425, 0},
		"500 is transient":                  {answer(500), destination.Transient, 500, 0},
		"503 is transient, for its time":    {answer(503, "Retry-After", "30"), destination.Transient, 503, 30 * time.Second},
		"429 is a pause":                    {answer(429, "Retry-After", "7"), destination.Limited, 429, 7 * time.Second},
		"429 without a time is a pause":     {answer(429), destination.Limited, 429, 0},
		"a redirect is not followed":        {fault.Redirect("https://example.com/?token=s3cret"), destination.Unavailable, 307, 0},
		"a web page is not Verity's answer": {fault.HTML(), destination.Unavailable, 200, 0},
		"a web page without a type": {
			fault.Fault{Kind: fault.Answer, Header: http.Header{"Content-Type": nil}, Body: "<!DOCTYPE html><p>hi"},
			destination.Unavailable, 200, 0,
		},
		"a web page with a broken type": {
			fault.Fault{Kind: fault.Answer, Header: http.Header{"Content-Type": {"text/html; charset"}}, Body: "<p>"},
			destination.Unavailable, 200, 0,
		},
		"a web page that hangs": {
			fault.Fault{Kind: fault.HangAfterHeaders, Header: http.Header{"Content-Type": {"text/html"}}},
			destination.Unavailable, 200, 0,
		},
		"an error whose body hangs": {
			fault.Fault{Kind: fault.HangAfterHeaders, Status: 422}, destination.Permanent, 422, 0,
		},
		"an error whose body does not end": {
			fault.Fault{Kind: fault.Endless, Status: 502}, destination.Transient, 502, 0,
		},
		"a reset before it was handled": {fault.Fault{Kind: fault.Reset}, destination.Transient, 0, 0},
		"a reset after it was handled":  {fault.Fault{Kind: fault.ResetAfterHandling}, destination.Transient, 0, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newEnvironment(t, tt.fault)
			err := h.forwarder.Forward(t.Context(), request)
			var failure *destination.Error
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, verity.HTTPDestination, failure.Destination)
			assert.Equal(t, tt.class, failure.Class, "%v", err)
			assert.Equal(t, tt.code, failure.Code)
			assert.Equal(t, tt.after, failure.RetryAfter)
			assert.NotContains(t, err.Error(), "ada@example.com")
			assert.NotContains(t, err.Error(), secret)
			assert.Equal(t, 1, h.sim.Requests.Total(), "a call is one request")
		})
	}
}

func TestForwardSucceedsWithAnySuccessfulStatus(t *testing.T) {
	t.Parallel()
	html := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
	tests := map[string]fault.Fault{
		"an empty 200":                         {Kind: fault.Answer},
		"an empty 200 of the framework's type": {Kind: fault.Answer, Header: html},
		"201":                                  fault.JSON(201, `{"id":1}`),
		"202 in plain text":                    {Kind: fault.Answer, Status: 202, Body: "OK"},
		"204":                                  {Kind: fault.Answer, Status: 204},
		"a body that does not arrive":          {Kind: fault.HangAfterHeaders},
		"a body that arrives byte by byte":     {Kind: fault.Drip, DelayMillis: 50},
		"a body that does not end":             {Kind: fault.Endless, Body: "{}"},
		"a body that is cut":                   {Kind: fault.Truncate},
		"a slow answer":                        {Kind: fault.Delay, DelayMillis: 300},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newEnvironment(t, answer)
			started := time.Now()
			err := h.forwarder.Forward(t.Context(), request)
			require.NoError(t, err)

			assert.Less(t, time.Since(started), destination.CallTimeout/2, "the status is enough")
		})
	}
}

func TestForwardGivesUpOnASilentVerity(t *testing.T) {
	t.Parallel()

	t.Run("after the client's timeout", func(t *testing.T) {
		t.Parallel()
		h := newEnvironment(t)
		// The first call opens a connection, so that the timeout does not end while it is established.
		err := h.forwarder.Forward(t.Context(), request)
		require.NoError(t, err)
		require.NoError(t, h.sim.Faults.Add(fault.Fault{Kind: fault.Hang}))
		h.client.Timeout = 100 * time.Millisecond
		err = h.forwarder.Forward(t.Context(), request)
		require.Error(t, err)
		assert.Equal(t, destination.Transient, destination.ClassOf(err))
		assert.Contains(t, err.Error(), "timed out")
	})
	t.Run("when the caller cancels", func(t *testing.T) {
		t.Parallel()
		h := newEnvironment(t, fault.Fault{Kind: fault.Hang})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			assert.Eventually(t, func() bool { return h.sim.Requests.Total() == 1 }, time.Minute, time.Millisecond)
			cancel()
		}()
		err := h.forwarder.Forward(ctx, request)
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, destination.Transient, destination.ClassOf(err))
	})
	t.Run("at once if the connection is refused", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.NotFoundHandler())
		server.Close()
		err := newForwarder(t, server.URL, destination.NewClient("test")).Forward(t.Context(), request)
		require.Error(t, err)
		assert.Equal(t, destination.Unavailable, destination.ClassOf(err))
		assert.Contains(t, err.Error(), "connection refused")
	})
}

func TestForwardReusesConnections(t *testing.T) {
	t.Parallel()

	t.Run("after every kind of short answer", func(t *testing.T) {
		t.Parallel()
		h := newEnvironment(t, fault.Status(500), fault.HTML(), fault.Redirect("/"), fault.JSON(422, strings.Repeat("x", 60<<10)))
		for range 6 {
			_ = h.forwarder.Forward(t.Context(), request)
		}
		assert.Len(t, h.sim.Deliveries(), 1)
		assert.EqualValues(t, 1, h.opened.Load())
	})
	t.Run("and replaces a broken connection within a repeatable call", func(t *testing.T) {
		t.Parallel()
		h := newEnvironment(t)
		err := h.forwarder.Forward(t.Context(), request)
		require.NoError(t, err)
		require.NoError(t, h.sim.Faults.Add(fault.Fault{Kind: fault.Reset}))
		err = h.forwarder.Forward(t.Context(), request)
		require.NoError(t, err)

		requests := h.sim.Requests.Requests("", "")
		require.Len(t, requests, 3)
		assert.Equal(t, body, requests[2].Body, "the repetition has the whole body")
		assert.EqualValues(t, 2, h.opened.Load())
	})
}

func TestForwardOverTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(veritysim.New())
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)

	err := newForwarder(t, server.URL, server.Client()).Forward(t.Context(), request)
	require.NoError(t, err, "the client trusts the certificate")
	err = newForwarder(t, server.URL, destination.NewClient("test")).Forward(t.Context(), request)
	require.Error(t, err, "the client does not trust the certificate")
	assert.Equal(t, destination.Unavailable, destination.ClassOf(err))
}
