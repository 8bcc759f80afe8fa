package load_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/test/bench/load"
	"github.com/dfmiddleware/verity-sync/test/bench/stats"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
)

// serve returns the address of a server.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func supply(sender *ghlsender.Sender, n int) *load.Supply {
	requests := make([]load.Request, n)
	for i := range requests {
		requests[i] = load.Encode(sender, "/path", sender.Marketplace("NoteCreate", nil))
	}
	return load.NewSupply(requests)
}

func TestEachRequestIsSentOnceAndAsSigned(t *testing.T) {
	t.Parallel()
	sender := ghlsender.New(nil)
	verifier, err := ghl.NewVerifier(ghl.AuthConfig{PublicKeys: []string{sender.PublicKey()}})
	require.NoError(t, err)
	var mu sync.Mutex
	seen := map[string]int{}
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if _, err := verifier.Authenticate(r.Header, nil, body); err != nil || r.URL.Path != "/path" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		mu.Lock()
		seen[string(body)]++
		mu.Unlock()
	})

	result, err := load.Count(t.Context(), address, supply(sender, 50), 4, 40)

	require.NoError(t, err)
	assert.Equal(t, 40, result.Acknowledged)
	assert.Zero(t, result.Refused)
	assert.Len(t, result.Latencies, 40)
	assert.Len(t, seen, 40)
}

func TestWhatIsRefusedIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })
	result, err := load.Count(t.Context(), address, supply(ghlsender.New(nil), 5), 1, 5)
	require.NoError(t, err)
	assert.Equal(t, 5, result.Refused)
	assert.Zero(t, result.Acknowledged)
	assert.Zero(t, result.Rate())
}

func TestWhatIsNoAnswerIsAnError(t *testing.T) {
	t.Parallel()
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush() // So that it comes in chunks.
	})
	_, err := load.Count(t.Context(), address, supply(ghlsender.New(nil), 1), 1, 1)
	require.ErrorContains(t, err, "not an HTTP/1.1 answer with a Content-Length")
}

func TestASupplyThatRunsOutIsAnError(t *testing.T) {
	t.Parallel()
	address := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, err := load.Closed(t.Context(), address, supply(ghlsender.New(nil), 3), 1, time.Minute)
	require.ErrorContains(t, err, "the supply is too small")
}

// A server that stands still once for a while is late for everybody who was to be served in that time, not for the one
// request that a connection happened to have in flight.
func TestALatencyIsMeasuredFromWhenARequestWasToBeSent(t *testing.T) {
	t.Parallel()
	const (
		rate     = 100
		duration = time.Second
		pause    = 500 * time.Millisecond
	)
	var once sync.Once
	address := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		once.Do(func() {
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
			}
		})
	})
	sender := ghlsender.New(nil)

	result, err := load.Open(t.Context(), address, supply(sender, rate), 1, rate, duration)

	require.NoError(t, err)
	assert.Equal(t, rate, result.Acknowledged)
	assert.GreaterOrEqual(t, result.Elapsed, 900*time.Millisecond, "the rate is kept")
	// Of a hundred, the first fifty were to be sent during the pause, half of them in its first half.
	assert.GreaterOrEqual(t, stats.Percentile(result.Latencies, 80), pause/4)
	assert.GreaterOrEqual(t, stats.Percentile(result.Latencies, 99), pause*9/10)
}

func TestAnAnswerThatIsNoneEndsTheMeasurement(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	_, err = load.Count(t.Context(), listener.Addr().String(), supply(ghlsender.New(nil), 2), 1, 2)
	require.Error(t, err)
}

func TestAMeasurementThatIsInterruptedSaysSo(t *testing.T) {
	t.Parallel()
	address := serve(t, func(http.ResponseWriter, *http.Request) {})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := load.Open(ctx, address, supply(ghlsender.New(nil), 10), 1, 1, 10*time.Second)
	require.ErrorIs(t, err, context.Canceled)
}

func TestASignatureIsThatOfTheBody(t *testing.T) {
	t.Parallel()
	seed := make([]byte, ed25519.SeedSize)
	sender := ghlsender.New(ed25519.NewKeyFromSeed(seed))
	webhook := sender.Marketplace("NoteCreate", nil)
	request := load.Encode(sender, "/", webhook)
	signature := ed25519.Sign(ed25519.NewKeyFromSeed(seed), webhook.Body)
	assert.Contains(t, string(request), base64.StdEncoding.EncodeToString(signature))
}
