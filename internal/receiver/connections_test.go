package receiver_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/receiver"
)

// few gives a receiver the smallest limit of connections, which is 32.
func few(f *environment) { f.config.MemoryLimit = 1 }

const fewest = 32

func TestAConnectionBeyondTheLimitIsAnswered429(t *testing.T) {
	t.Parallel()
	large := requestText("POST", ghl.Path, secret, padded(1<<20))
	for name, request := range map[string]string{
		"a webhook":       webhook,
		"a large webhook": large,
		"one in chunks":   requestText("POST", ghl.Path, with(secret, "Transfer-Encoding", "chunked"), chunked(padded(1<<20), 1<<16)),
		"a probe":         "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		"half a header":   webhook[:20],
		"HTTP/1.0":        strings.Replace(webhook, "HTTP/1.1", "HTTP/1.0", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newEnvironment(t)
			few(f)
			addr := f.serve(t)
			hold(t, addr, fewest)
			for range 3 {
				got := send(t, addr, request) // Whole, and only then is the answer read.
				assert.Equal(t, http.StatusTooManyRequests, got.code)
				assert.Equal(t, notNow, got.body)
				assert.Equal(t, "30", got.header.Get("Retry-After"))
				assert.Equal(t, "application/json", got.header.Get("Content-Type"))
				assert.Equal(t, "close", got.header.Get("Connection"))
				_, err := http.ParseTime(got.header.Get("Date"))
				require.NoError(t, err)
			}
			assert.Equal(t, 3, f.counted(t, "verity_sync_refused_connections_total", ""))
		})
	}
}

// hold opens connections that stay active: each has half a request.
func hold(t *testing.T, addr string, count int) (held []net.Conn) {
	t.Helper()
	for range count {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = io.WriteString(conn, webhook[:len(webhook)-1])
		require.NoError(t, err)
		held = append(held, conn)
	}
	return held
}

func TestAConnectionBeyondTheLimit(t *testing.T) {
	t.Parallel()
	t.Run("replaces the one that has been idle longest", func(t *testing.T) {
		t.Parallel()
		inBubble(t, few, func(t *testing.T, b *bubble) {
			var kept []client
			for range fewest {
				conn := b.open(t, webhook)
				got := conn.answer(t)
				require.Equal(t, 200, got.code)
				require.Empty(t, got.header.Get("Connection"), "it is kept")
				kept = append(kept, conn)
				time.Sleep(time.Second)
			}
			// The first two have a request again, so that the third is the one.
			for _, conn := range kept[:2] {
				_, err := io.WriteString(conn, webhook)
				require.NoError(t, err)
				require.Equal(t, 200, conn.answer(t).code)
			}
			assert.Equal(t, 200, b.deliver(t).code)
			kept[2].assertClosed(t)
			for n, conn := range kept {
				if n != 2 {
					_, err := io.WriteString(conn, webhook)
					require.NoError(t, err)
					assert.Equal(t, 200, conn.answer(t).code, "connection %d", n)
				}
			}
			assert.Zero(t, b.counted(t, "verity_sync_refused_connections_total", ""))
		})
	})

	t.Run("does not replace one that was used a moment ago", func(t *testing.T) {
		t.Parallel()
		inBubble(t, few, func(t *testing.T, b *bubble) {
			var kept []client
			for range fewest {
				conn := b.open(t, webhook)
				require.Equal(t, 200, conn.answer(t).code)
				kept = append(kept, conn)
			}
			synctest.Wait()
			time.Sleep(999 * time.Millisecond)
			refused, err := b.dial()
			require.NoError(t, err)
			defer refused.Close()
			synctest.Wait()
			for _, conn := range kept {
				_, err := io.WriteString(conn, webhook)
				require.NoError(t, err)
				assert.Equal(t, 200, conn.answer(t).code)
			}
			assert.Equal(t, 1, b.counted(t, "verity_sync_refused_connections_total", ""))
		})
	})

	t.Run("is accepted again when a request has ended", func(t *testing.T) {
		t.Parallel()
		f := newEnvironment(t)
		few(f)
		addr := f.serve(t)
		held := hold(t, addr, fewest)
		require.Equal(t, http.StatusTooManyRequests, send(t, addr, webhook).code)
		_, err := io.WriteString(held[0], webhook[len(webhook)-1:])
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, read(t, held[0], webhook).code)
		require.NoError(t, held[0].Close())
		require.Eventually(t, func() bool { return send(t, addr, webhook).code == http.StatusOK }, eventually, tick)
	})

	t.Run("that sends nothing is closed after two seconds", func(t *testing.T) {
		t.Parallel()
		inBubble(t, few, func(t *testing.T, b *bubble) {
			for range fewest {
				b.open(t, webhook[:len(webhook)-1])
			}
			synctest.Wait()
			started := time.Now()
			b.open(t, "").assertClosed(t)
			assert.Equal(t, 2*time.Second, time.Since(started))
		})
	})

	t.Run("does not delay the probes on their own listener", func(t *testing.T) {
		t.Parallel()
		f := newEnvironment(t)
		few(f)
		addr, probes := f.serveWithProbes(t)
		hold(t, addr, fewest)
		require.Equal(t, http.StatusTooManyRequests, send(t, addr, webhook).code)
		for _, path := range []string{receiver.LivePath, receiver.ReadyPath, receiver.RootPath} {
			assert.Equal(t, http.StatusOK, get(t, "http://"+probes+path), path)
		}
		for _, path := range []string{ghl.Path, receiver.JobsPath} {
			assert.Equal(t, http.StatusNotFound, send(t, probes, requestText("POST", path, secret, workflow)).code, path)
		}
	})
}

// TestHTTP2IsNotServed checks an assumption of connectionCost: a connection has one request at a time.
func TestHTTP2IsNotServed(t *testing.T) {
	t.Parallel()
	f := newEnvironment(t)
	addr, probes := f.serveWithProbes(t)
	for _, address := range []string{addr, probes} {
		assert.GreaterOrEqual(t, send(t, address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").code, 400, "by prior knowledge")
		upgrade := http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2c"}, "HTTP2-Settings": {"AAMAAABkAARAAAAAAAIAAAAA"}}
		assert.Equal(t, http.StatusOK, send(t, address, requestText("GET", receiver.LivePath, upgrade, "")).code, "by an upgrade, which is ignored")
	}
}

// TestHeadersAreBounded has the first headers that are too large, and the last ones that are not.
func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		request string
		code    int
	}{
		"8 KiB of headers":  {requestText("POST", ghl.Path, with(secret, "X-Forwarded-Client-Cert", strings.Repeat("x", 8<<10)), workflow), 200},
		"13 KiB of headers": {requestText("POST", ghl.Path, with(secret, "X-Forwarded-Client-Cert", strings.Repeat("x", 13<<10)), workflow), 431},
		"80 KiB of headers": {requestText("POST", ghl.Path, with(secret, "X-Large", strings.Repeat("x", 80<<10)), workflow), 431},
		"a URL of 13 KiB":   {requestText("POST", ghl.Path+"?"+strings.Repeat("x", 13<<10), secret, workflow), 431},
		"trailers":          {requestText("POST", ghl.Path, with(secret, "Transfer-Encoding", "chunked"), strings.TrimSuffix(chunked(workflow, 10), "\r\n")+"A: b\r\n\r\n"), 200},
		"5 KiB of trailers": {requestText("POST", ghl.Path, with(secret, "Transfer-Encoding", "chunked"), strings.TrimSuffix(chunked(workflow, 10), "\r\n")+"A: "+strings.Repeat("b", 5<<10)+"\r\n\r\n"), 429},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newEnvironment(t)
			assert.Equal(t, test.code, send(t, f.serve(t), test.request).code)
			assert.Len(t, f.recorder.stored(), map[int]int{200: 1}[test.code])
		})
	}
}
