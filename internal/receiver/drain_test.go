package receiver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

func TestDraining(t *testing.T) {
	t.Parallel()
	const ready = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
	tenSeconds := func(f *environment) { f.config.DrainDelay = 10 * time.Second }

	t.Run("turns readiness off, and nothing else, for the drain delay", func(t *testing.T) {
		t.Parallel()
		inBubble(t, tenSeconds, func(t *testing.T, b *bubble) {
			keptAlive := b.open(t, webhook)
			require.Empty(t, keptAlive.answer(t).header.Get("Connection"))
			b.stop()
			for range 9 {
				synctest.Wait()
				got := b.open(t, ready).answer(t)
				assert.Equal(t, 503, got.code)
				assert.Equal(t, `{"error":"draining"}`, got.body)
				assert.Equal(t, 200, b.open(t, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").answer(t).code)

				got = b.deliver(t)
				assert.Equal(t, 200, got.code)
				assert.Equal(t, "close", got.header.Get("Connection"), "the next webhook goes to another replica")
				time.Sleep(time.Second)
			}
			_, err := keptAlive.Write([]byte(webhook))
			require.NoError(t, err)
			assert.Equal(t, "close", keptAlive.answer(t).header.Get("Connection"))

			require.NoError(t, <-b.served)
			_, err = b.dial()
			assert.Error(t, err)
		})
	})

	for what, sent := range map[string]int{"no byte": 0, "half its header": 20, "half its body": len(webhook) - 1, "all of it": len(webhook)} {
		t.Run("answers a webhook of which "+what+" had arrived when the listener closed", func(t *testing.T) {
			t.Parallel()
			slow := func(f *environment) {
				f.recorder.before = func(context.Context) error {
					time.Sleep(2 * time.Second)
					return nil
				}
			}
			inBubble(t, slow, func(t *testing.T, b *bubble) {
				conn := b.open(t, webhook[:sent])
				synctest.Wait()
				b.stop()
				<-b.closed
				time.Sleep(time.Second)
				_, err := io.WriteString(conn, webhook[sent:])
				require.NoError(t, err)
				assert.Equal(t, 200, conn.answer(t).code)
				require.NoError(t, <-b.served)
			})
		})
	}

	t.Run("gives up on what does not finish in time", func(t *testing.T) {
		t.Parallel()
		var release chan struct{}
		stuck := func(f *environment) {
			release = make(chan struct{})
			f.recorder.before = func(context.Context) error {
				<-release
				return nil
			}
		}
		inBubble(t, stuck, func(t *testing.T, b *bubble) {
			conn := b.open(t, webhook)
			synctest.Wait()
			b.stop()
			started := time.Now()
			assert.ErrorIs(t, <-b.served, context.DeadlineExceeded)
			assert.Equal(t, 20*time.Second, time.Since(started))
			conn.assertClosed(t)
			close(release)
		})
	})

	t.Run("is not waited for where the listener fails", func(t *testing.T) {
		t.Parallel()
		inBubble(t, tenSeconds, func(t *testing.T, b *bubble) {
			require.NoError(t, b.Close())
			assert.ErrorIs(t, <-b.served, net.ErrClosed)
		})
	})
}

// TestNoWebhookFailsWhileDraining sends webhooks like load balancers that have not noticed the drain: some keep their connections until an
// answer closes them, others open new ones until the listener closes.
func TestNoWebhookFailsWhileDraining(t *testing.T) {
	t.Parallel()
	given := func(f *environment) {
		f.config.DrainDelay = 5 * time.Second
		f.recorder.before = func(context.Context) error {
			time.Sleep(70 * time.Millisecond)
			return nil
		}
	}
	inBubble(t, given, func(t *testing.T, b *bubble) {
		started := time.Now()
		var answered atomic.Int64
		var sending sync.WaitGroup
		for i := range 8 {
			keepAlive := i%2 == 0
			transport := &http.Transport{
				DisableKeepAlives: !keepAlive,
				DialContext:       func(context.Context, string, string) (net.Conn, error) { return b.dial() },
			}
			sending.Go(func() {
				defer transport.CloseIdleConnections()
				for {
					closes, err := deliverOver(t, transport)
					if errors.Is(err, errRefused) && !keepAlive {
						return
					}
					if !assert.NoError(t, err, "keepalive %v at %s", keepAlive, time.Since(started)) {
						return
					}
					answered.Add(1)
					if closes && keepAlive {
						return
					}
					time.Sleep(time.Duration(i+1) * time.Millisecond)
				}
			})
		}
		time.Sleep(time.Second)
		b.stop()
		sending.Wait()
		require.NoError(t, <-b.served)
		assert.Greater(t, answered.Load(), int64(100))
		assert.Len(t, b.recorder.stored(), int(answered.Load()), "what was answered 200 was stored, and nothing else")
	})
}

// deliverOver sends a webhook and returns whether the answer closes the connection.
func deliverOver(t *testing.T, transport http.RoundTripper) (closes bool, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://receiver"+ghl.Path, strings.NewReader(workflow))
	if err != nil {
		return false, err
	}
	req.Header = secret.Clone()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK {
		return false, errors.New(resp.Status)
	}
	return resp.Close, nil
}

// TestTheDrainLastsUntilLoadBalancersHaveNoticed sends webhooks on new connections after the drain began.
func TestTheDrainLastsUntilLoadBalancersHaveNoticed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		// every is the interval of the webhooks, which end after noticed.
		every, noticed time.Duration
		want           time.Duration
		// probes requests a probe every second, which is not a webhook.
		probes bool
	}{
		"no webhook":                         {want: 5 * time.Second},
		"no webhook, but probes":             {want: 5 * time.Second, probes: true},
		"a load balancer notices after 20 s": {every: 2 * time.Second, noticed: 20 * time.Second, want: 25 * time.Second, probes: true},
		"few webhooks until a load balancer notices after 16 s": {every: 4 * time.Second, noticed: 16 * time.Second, want: 21 * time.Second},
		"a load balancer that never notices is bounded":         {every: time.Second, noticed: time.Hour, want: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given := func(f *environment) { f.config.DrainDelay, f.config.DrainTimeout = 5*time.Second, 30*time.Second }
			inBubble(t, given, func(t *testing.T, b *bubble) {
				synctest.Wait()
				started := time.Now()
				b.stop()
				var others sync.WaitGroup
				repeat := func(every, until time.Duration, request string, code int) {
					others.Go(func() {
						for every > 0 {
							time.Sleep(every)
							if time.Since(started) > until {
								return
							}
							conn, err := b.dial()
							if err != nil {
								assert.GreaterOrEqual(t, time.Since(started), test.want, "a connection is refused")
								return
							}
							_, err = io.WriteString(conn, request)
							assert.NoError(t, err)
							assert.Equal(t, code, client{conn}.answer(t).code)
							assert.NoError(t, conn.Close())
						}
					})
				}
				repeat(test.every, test.noticed, webhook, 200)
				if test.probes {
					repeat(time.Second, time.Hour, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", 503)
				}
				require.NoError(t, <-b.served)
				assert.Equal(t, test.want, time.Since(started))
				others.Wait()
			})
		})
	}
}
