package destination

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
)

// FromTransport returns the Error of a call that got no complete response. Without a connection (refused, unknown host,
// untrusted certificate, dial timeout) the destination is Unavailable: every event would fail. A failure on a connection
// (timeout, reset) is Transient. The message is one of a fixed set, since the text of such errors contains the URL with its
// query, addresses that change, and bytes from the server. Err is the cause without its *url.Error, which contains the URL.
func FromTransport(destination string, err error) *Error {
	host := ""
	if urlErr, ok := errors.AsType[*url.Error](err); ok {
		if u, parseErr := url.Parse(urlErr.URL); parseErr == nil {
			host = u.Host
		}
		err = urlErr.Err
	}
	class, message := describe(err)
	if host != "" {
		message = host + ": " + message
	}
	return &Error{Destination: destination, Class: class, Message: message, Err: err}
}

// describe returns the class of a transport error and a message without any part of the request or the response.
func describe(err error) (Class, string) {
	if errors.Is(err, context.Canceled) {
		return Transient, "the call was cancelled"
	}
	if proxy, ok := errors.AsType[*proxyError](err); ok {
		return Unavailable, proxy.Error()
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return Unavailable, "the host name does not exist"
		}
		return Unavailable, "looking up the host name failed"
	}
	if message := describeTLS(err); message != "" {
		return Unavailable, message
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return Unavailable, "connection refused"
	}
	if errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) {
		return Unavailable, "no route to the host"
	}
	timedOut := isTimeout(err)
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "dial" || op.Op == "proxyconnect") {
		if timedOut {
			return Unavailable, "connecting timed out"
		}
		return Unavailable, "connecting failed"
	}
	switch {
	case timedOut:
		return Transient, "timed out"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Transient, "the connection was reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return Transient, "the connection was closed before the answer was complete"
	default:
		return Transient, "no valid answer"
	}
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	netErr, ok := errors.AsType[net.Error](err)
	return ok && netErr.Timeout()
}

// describeTLS returns the message for an error of the TLS handshake, "" for any other error.
func describeTLS(err error) string {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "the TLS certificate has expired or is not valid yet"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the TLS certificate is for another host"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the TLS certificate is signed by an unknown authority"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the TLS certificate cannot be verified"
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "the server speaks plain HTTP, but the URL is HTTPS"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the server does not speak TLS"
	}
	// crypto/tls reports alerts as an OpError with one of these two operations and an unexported error in it.
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "remote error" || op.Op == "local error") {
		return "the TLS handshake failed"
	}
	return ""
}

// proxyError is a proxy's refusal to open a tunnel. net/http would report the status text only.
type proxyError struct{ code int }

func (e *proxyError) Error() string {
	return fmt.Sprintf("the HTTP proxy answered %d %s", e.code, http.StatusText(e.code))
}
