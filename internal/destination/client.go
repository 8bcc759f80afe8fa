package destination

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

const (
	// CallTimeout bounds a call from the dial to the last byte of the answer. A caller's context may be shorter.
	CallTimeout = 10 * time.Second
	// dialTimeout and tlsTimeout leave room within CallTimeout to tell a host that does not answer from a slow one.
	dialTimeout = 4 * time.Second
	tlsTimeout  = 4 * time.Second
	// idleTimeout is below the 60 s after which common load balancers drop idle connections.
	idleTimeout = 50 * time.Second
	// maxIdlePerHost is as many connections as a busy controller uses at a time towards one host.
	maxIdlePerHost    = 32
	maxResponseHeader = 64 << 10
)

// NewClient returns an HTTP client for one destination: connections are reused, redirects are handed to the caller,
// HTTP_PROXY, HTTPS_PROXY and NO_PROXY are honoured, a call takes at most CallTimeout, and the User-Agent is
// "verity-sync/" and version.
//
// A request that carries an Idempotency-Key, or whose method is idempotent, is sent again by net/http within the same
// call where a kept connection turns out to have been closed by the other side.
func NewClient(version string) *http.Client {
	transport := newTransport(&net.Dialer{Timeout: dialTimeout})
	transport.Proxy = http.ProxyFromEnvironment
	transport.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
		if resp.StatusCode != http.StatusOK {
			return &proxyError{code: resp.StatusCode}
		}
		return nil
	}
	return newClient(version, transport)
}

// NewDirectClient returns a client like that of NewClient, except that it uses no proxy: control, which may be nil, decides about
// the address of every connection, as in net.Dialer, and a proxy would connect to others.
func NewDirectClient(version string, control func(network, address string, conn syscall.RawConn) error) *http.Client {
	return newClient(version, newTransport(&net.Dialer{Timeout: dialTimeout, Control: control}))
}

func newTransport(dialer *net.Dialer) *http.Transport {
	return &http.Transport{
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		TLSHandshakeTimeout:    tlsTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
	}
}

func newClient(version string, transport *http.Transport) *http.Client {
	return &http.Client{
		Transport:     &userAgent{name: "verity-sync/" + version, next: transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       CallTimeout,
	}
}

// userAgent sets the User-Agent of requests that have none.
type userAgent struct {
	name string
	next *http.Transport
}

// RoundTrip is what http.Client calls.
func (u *userAgent) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("User-Agent") == "" {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", u.name)
	}
	return u.next.RoundTrip(req)
}

// CloseIdleConnections is what http.Client.CloseIdleConnections looks for.
func (u *userAgent) CloseIdleConnections() { u.next.CloseIdleConnections() }

// ErrBodyTooLong says that an answer was longer than the caller wanted to read.
var ErrBodyTooLong = errors.New("the answer is too long")

// ReadBody reads an answer of at most limit bytes and closes it. A longer one is cut to limit and comes with
// ErrBodyTooLong. An answer that was read to its end leaves its connection for the next call, a longer one does not:
// a new connection is cheaper than reading what may never end.
func ReadBody(body io.ReadCloser, limit int64) ([]byte, error) {
	defer func() { _ = body.Close() }()
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if int64(len(data)) > limit {
		return data[:limit], ErrBodyTooLong
	}
	return data, err
}
