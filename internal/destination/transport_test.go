package destination_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

func dialError(err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: err}
}

func TestFromTransportClassifies(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err     error
		class   destination.Class
		message string
	}{
		"no connection, because it is refused": {
			dialError(os.NewSyscallError("connect", syscall.ECONNREFUSED)), destination.Unavailable, "connection refused",
		},
		"no connection, because there is no route": {
			dialError(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), destination.Unavailable, "no route to the host",
		},
		"no connection, because the dial times out": {
			dialError(os.ErrDeadlineExceeded), destination.Unavailable, "connecting timed out",
		},
		"no connection, for another reason": {
			dialError(errors.New("permission denied")), destination.Unavailable, "connecting failed",
		},
		"no connection to the proxy": {
			&net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New("eof")}, destination.Unavailable, "connecting failed",
		},
		"a host name that does not exist": {
			dialError(&net.DNSError{Name: "verity.example.com", IsNotFound: true}), destination.Unavailable,
			"the host name does not exist",
		},
		"a name server that does not answer": {
			dialError(&net.DNSError{Name: "verity.example.com", IsTimeout: true}), destination.Unavailable,
			"looking up the host name failed",
		},
		"an expired certificate": {
			&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}},
			destination.Unavailable, "the TLS certificate has expired or is not valid yet",
		},
		"another invalid certificate": {
			&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}},
			destination.Unavailable, "the TLS certificate cannot be verified",
		},
		"a TLS alert": {
			&net.OpError{Op: "remote error", Err: errors.New("tls: handshake failure")}, destination.Unavailable,
			"the TLS handshake failed",
		},
		"a response in another protocol": {
			tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, destination.Unavailable,
			"the server does not speak TLS",
		},
		"a timeout on the connection": {
			&net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}, destination.Transient, "timed out",
		},
		"the deadline of the call": {context.DeadlineExceeded, destination.Transient, "timed out"},
		"a cancelled call":         {context.Canceled, destination.Transient, "the call was cancelled"},
		"a cancelled dial": {
			dialError(context.Canceled), destination.Transient, "the call was cancelled",
		},
		"a reset": {
			&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, destination.Transient,
			"the connection was reset",
		},
		"a write to a closed connection": {
			&net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}, destination.Transient,
			"the connection was reset",
		},
		"a connection closed before the response": {
			io.EOF, destination.Transient, "the connection was closed before the answer was complete",
		},
		"a connection closed within the response": {
			io.ErrUnexpectedEOF, destination.Transient, "the connection was closed before the answer was complete",
		},
		"any other failure": {
			errors.New(`malformed HTTP response "ada@example.com"`), destination.Transient, "no valid answer",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wrapped := &url.Error{Op: "Post", URL: "https://verity.example.com/hook?token=s3cret", Err: tt.err}
			err := destination.FromTransport("aloware", wrapped)
			assert.Equal(t, tt.class, err.Class)
			assert.Zero(t, err.Code)
			assert.Equal(t, "aloware: verity.example.com: "+tt.message, err.Error())
			assert.ErrorIs(t, err, tt.err, "the cause is kept")
			assert.NotContains(t, fmt.Sprintf("%v %+v", err.Err, err.Err), "s3cret", "the cause does not contain the URL")
		})
	}
}

func TestFromTransportWithoutURL(t *testing.T) {
	t.Parallel()
	err := destination.FromTransport("verity-db", io.EOF)
	assert.Equal(t, "verity-db: the connection was closed before the answer was complete", err.Error())
}

// TestTransportErrorsOfRealCalls checks the classes of the errors that net/http returns for real calls.
func TestTransportErrorsOfRealCalls(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		url     func(t *testing.T) string
		timeout time.Duration
		class   destination.Class
		message string
	}{
		"no process listens on the port": {closedPort, 0, destination.Unavailable, "connection refused"},
		"the certificate authority is unknown": {func(t *testing.T) string {
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			server.StartTLS()
			t.Cleanup(server.Close)
			return server.URL
		}, 0, destination.Unavailable, "the TLS certificate is signed by an unknown authority"},
		"the server speaks plain HTTP": {func(t *testing.T) string {
			server := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(server.Close)
			return strings.Replace(server.URL, "http://", "https://", 1)
		}, 0, destination.Unavailable, "the server speaks plain HTTP, but the URL is HTTPS"},
		"the connection is reset after the request": {func(t *testing.T) string {
			return hijacking(t, func(conn *net.TCPConn) { _ = conn.SetLinger(0) })
		}, 0, destination.Transient, "the connection was reset"},
		"the connection is closed after the request": {func(t *testing.T) string {
			return hijacking(t, func(*net.TCPConn) {})
		}, 0, destination.Transient, "the connection was closed before the answer was complete"},
		"the response takes too long": {func(t *testing.T) string {
			released := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-released }))
			t.Cleanup(server.Close)
			t.Cleanup(func() { close(released) })
			return server.URL
		}, time.Second, destination.Transient, "timed out"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := destination.NewClient("test")
			if tt.timeout != 0 {
				client.Timeout = tt.timeout
			}
			target := tt.url(t)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target+"/?token=s3cret", strings.NewReader("{}"))
			require.NoError(t, err)
			resp, err := client.Do(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			require.Error(t, err)
			got := destination.FromTransport("aloware", err)
			assert.Equal(t, tt.class, got.Class, "%v", err)
			_, host, _ := strings.Cut(target, "//")
			assert.Equal(t, host+": "+tt.message, got.Message)
		})
	}
}

// closedPort returns the URL of a port of this machine on which no process listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return "http://" + listener.Addr().String()
}

// hijacking starts a server that reads a request, calls end and closes the connection.
func hijacking(t *testing.T, end func(*net.TCPConn)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		tcp, ok := conn.(*net.TCPConn)
		if assert.True(t, ok) {
			end(tcp)
		}
		_ = conn.Close()
	}))
	t.Cleanup(server.Close)
	return server.URL
}
