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
	// CallTimeout bounds a call from the dial to the last byte of the response. The caller's context may have an earlier deadline.
	CallTimeout = 10 * time.Second
	// dialTimeout and tlsTimeout are shorter than CallTimeout, so that an unreachable host is distinguished from a slow one.
	dialTimeout = 4 * time.Second
	tlsTimeout  = 4 * time.Second
	// idleTimeout is below the 60 s after which common load balancers drop idle connections.
	idleTimeout = 50 * time.Second
	// maxIdlePerHost is the number of connections that a busy controller uses to one host.
	maxIdlePerHost    = 32
	maxResponseHeader = 64 << 10
)

// NewClient returns an HTTP client for destinations. It reuses connections, returns redirects to the caller, and honours
// HTTP_PROXY, HTTPS_PROXY and NO_PROXY. A call takes at most CallTimeout. The User-Agent is "verity-sync/" and version.
//
// If the server has closed an idle connection, net/http repeats a request on a new one within the same call, provided that
// the method is idempotent or the request has an Idempotency-Key.
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

// NewDirectClient returns a client like that of NewClient that uses no proxy. control, which may be nil, checks the address of
// every connection, as in net.Dialer; it could not check the addresses to which a proxy connects.
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

// RoundTrip implements http.RoundTripper.
func (u *userAgent) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("User-Agent") == "" {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", u.name)
	}
	return u.next.RoundTrip(req)
}

// CloseIdleConnections serves http.Client.CloseIdleConnections.
func (u *userAgent) CloseIdleConnections() { u.next.CloseIdleConnections() }

// ErrBodyTooLong says that the body of a response was longer than the caller's limit.
var ErrBodyTooLong = errors.New("the answer is too long")

// ReadBody reads at most limit bytes of a body and closes it. If the body is longer, it returns limit bytes and ErrBodyTooLong.
// A connection is reused only if its response was read to the end: a new connection costs less than an endless response.
func ReadBody(body io.ReadCloser, limit int64) ([]byte, error) {
	defer func() { _ = body.Close() }()
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if int64(len(data)) > limit {
		return data[:limit], ErrBodyTooLong
	}
	return data, err
}
