package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"

	"golang.org/x/sync/semaphore"
)

var (
	errTooLarge = fmt.Errorf("body is larger than %d bytes", maxBody)
	// errBusy is the error of a request above a limit of the receiver. It is one of the following.
	errBusy     = errors.New("too many requests at a time")
	errInFlight = fmt.Errorf("%w: as many webhooks are in flight as --max-in-flight allows", errBusy)
	errMemory   = fmt.Errorf("%w: the memory for bodies is used up; raise the memory limit or add receivers", errBusy)
)

// maxAnnounced bounds the memory that is allocated for a Content-Length before the body arrives. Nearly every body fits into it.
const maxAnnounced = 8 << 10

// charge is the part of a budget that a request holds.
type charge struct {
	budget *semaphore.Weighted
	held   int64
}

// raise raises the charge to at least n bytes, or returns errMemory. The request holds them until release.
func (c *charge) raise(n int64) error {
	if n <= c.held {
		return nil
	}
	if !c.budget.TryAcquire(n - c.held) {
		return errMemory
	}
	c.held = n
	return nil
}

func (c *charge) release() { c.budget.Release(c.held) }

// readBody reads a request's body. It charges memory before it allocates it: up to maxAnnounced for the Content-Length, and then as bytes
// arrive, so that a client holds no more than it has sent.
//
// The error is errTooLarge, errMemory, or that of a body that is incomplete or late.
func readBody(r *http.Request, held *charge) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, errTooLarge
	}
	size := min(max(r.ContentLength, 0), maxAnnounced) + bytes.MinRead
	if err := held.raise(size); err != nil {
		return nil, err
	}
	buffer := bytes.NewBuffer(make([]byte, 0, size))
	_, err := buffer.ReadFrom(&chargedReader{from: r.Body, held: held})
	r.Trailer = nil // They are not used, and not charged.
	return buffer.Bytes(), err
}

// chargedReader reads up to maxBody bytes and charges them.
type chargedReader struct {
	from io.Reader
	held *charge
	read int64
}

func (c *chargedReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.read += int64(n)
	if c.read > maxBody {
		return 0, errTooLarge
	}
	if err := c.held.raise(c.read); err != nil {
		return 0, err
	}
	return n, err
}

// storedHeaders are the request headers that are stored with every event: they are forwarded, or help to find where it came from. None of
// them holds a secret.
var storedHeaders = []string{"Content-Type", "User-Agent", "X-Request-Id", "Traceparent"}

// headersOf returns them, and those that the source adds.
func headersOf(h http.Header, ofSource map[string]string) map[string]string {
	kept := map[string]string{}
	for _, name := range storedHeaders {
		if value := h.Get(name); value != "" {
			kept[http.CanonicalHeaderKey(name)] = value
		}
	}
	maps.Copy(kept, ofSource)
	return kept
}
