package destination_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// get calls url and returns the body of the response, which ReadBody closes.
func get(t *testing.T, client *http.Client, url string) io.ReadCloser {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp.Body
}

func TestClient(t *testing.T) {
	t.Parallel()

	t.Run("it sends its name and version as the User-Agent", func(t *testing.T) {
		t.Parallel()
		agents := make(chan string, 2)
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			agents <- r.UserAgent()
		}))
		t.Cleanup(server.Close)
		client := destination.NewClient("1.2.3")

		_, err := destination.ReadBody(get(t, client, server.URL), 1)
		require.NoError(t, err)
		assert.Equal(t, "verity-sync/1.2.3", <-agents)

		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
		require.NoError(t, err)
		req.Header.Set("User-Agent", "another")
		resp, err := client.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, "another", <-agents, "the caller's User-Agent is kept")
	})

	t.Run("a call takes at most ten seconds", func(t *testing.T) {
		t.Parallel()
		assert.Equal(t, "10s", destination.NewClient("test").Timeout.String())
	})

	t.Run("it follows no redirect", func(t *testing.T) {
		t.Parallel()
		var requests atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}))
		t.Cleanup(server.Close)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
		require.NoError(t, err)
		resp, err := destination.NewClient("test").Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusTemporaryRedirect, resp.StatusCode)
		assert.EqualValues(t, 1, requests.Load())
	})

	t.Run("a response with too long headers is an error", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 128<<10))
		}))
		t.Cleanup(server.Close)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
		require.NoError(t, err)
		resp, err := destination.NewClient("test").Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		require.Error(t, err)
		assert.Equal(t, destination.Transient, destination.FromTransport("test", err).Class)
	})
}

func TestClientReusesAConnection(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 4096))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	client := destination.NewClient("test")
	for range 5 {
		body, err := destination.ReadBody(get(t, client, server.URL), 4096)
		require.NoError(t, err)
		assert.Len(t, body, 4096)
	}
	assert.EqualValues(t, 1, opened.Load())
}

func TestReadBody(t *testing.T) {
	t.Parallel()

	t.Run("a body as long as the limit is returned", func(t *testing.T) {
		t.Parallel()
		body, err := destination.ReadBody(io.NopCloser(strings.NewReader("12345")), 5)
		require.NoError(t, err)
		assert.Equal(t, "12345", string(body))
	})
	t.Run("a longer body is truncated, with an error", func(t *testing.T) {
		t.Parallel()
		body, err := destination.ReadBody(io.NopCloser(strings.NewReader("123456")), 5)
		require.ErrorIs(t, err, destination.ErrBodyTooLong)
		assert.Equal(t, "12345", string(body))
	})
	t.Run("an endless body is closed", func(t *testing.T) {
		t.Parallel()
		closed := make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			defer close(closed)
			for {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 4096)); err != nil {
					return
				}
			}
		}))
		t.Cleanup(server.Close)
		_, err := destination.ReadBody(get(t, destination.NewClient("test"), server.URL), 64<<10)
		require.ErrorIs(t, err, destination.ErrBodyTooLong)
		<-closed
	})
	t.Run("an incomplete body is an error", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
		}))
		t.Cleanup(server.Close)
		body, err := destination.ReadBody(get(t, destination.NewClient("test"), server.URL), 1000)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.Equal(t, "half", string(body))
	})
}

// proxiedCallEnv has the URL that the test binary calls when TestClientUsesTheProxy starts it again.
const proxiedCallEnv = "VERITY_SYNC_TEST_PROXIED_CALL"

// TestClientUsesTheProxy makes its calls in separate processes, since net/http reads the environment once.
func TestClientUsesTheProxy(t *testing.T) {
	t.Parallel()
	if target := os.Getenv(proxiedCallEnv); target != "" {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
		require.NoError(t, err)
		resp, err := destination.NewClient("test").Do(req)
		if err != nil {
			fmt.Println(destination.FromTransport("verity-http", err))
			return
		}
		defer resp.Body.Close()
		body, err := destination.ReadBody(resp.Body, 100)
		require.NoError(t, err)
		fmt.Println(string(body))
		return
	}

	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		_, _ = io.WriteString(w, "proxied "+r.URL.Host)
	}))
	t.Cleanup(proxy.Close)

	tests := map[string]struct{ target, want string }{
		"a plain HTTP call uses the proxy": {"http://verity.example.com/", "proxied verity.example.com"},
		"the destination is unavailable if the proxy refuses a tunnel": {
			"https://verity.example.com/",
			"verity-http: verity.example.com: the HTTP proxy answered 407 Proxy Authentication Required",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, runAgain(t.Context(), t, proxy.URL, tt.target))
		})
	}
}

// runAgain starts this test binary with a proxy in its environment and returns the first line that it prints.
func runAgain(ctx context.Context, t *testing.T, proxy, target string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestClientUsesTheProxy$")
	cmd.Env = append(os.Environ(), "HTTP_PROXY="+proxy, "HTTPS_PROXY="+proxy, "NO_PROXY=", proxiedCallEnv+"="+target)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	line, _, err := bufio.NewReader(bytes.NewReader(out)).ReadLine()
	require.NoError(t, err)
	return string(line)
}
