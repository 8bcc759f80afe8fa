package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/sync/semaphore"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

var (
	errTooLarge = fmt.Errorf("body is larger than %d bytes", maxBody)
	errBusy     = errors.New("too many requests at a time")
)

// maxAnnounced is up to where an announced size is believed: nearly all bodies are read into one piece of memory.
const maxAnnounced = 8 << 10

// charge is what a request holds of a budget.
type charge struct {
	budget *semaphore.Weighted
	held   int64
}

// raise has the charge be at least n bytes. Without an error, they are held until release.
func (c *charge) raise(n int64) error {
	if n <= c.held {
		return nil
	}
	if !c.budget.TryAcquire(n - c.held) {
		return errBusy
	}
	c.held = n
	return nil
}

func (c *charge) release() { c.budget.Release(c.held) }

// readBody reads a request's body. Memory is charged before it is allocated, and beyond maxAnnounced as bytes arrive and not as they are
// announced, so that a slow or boastful client takes only what it sends.
//
// Its errors are errTooLarge, errBusy, and those of a body that did not arrive whole or in time.
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
	r.Trailer = nil // Nobody reads them, and they were not charged.
	return buffer.Bytes(), err
}

// chargedReader reads up to maxBody bytes and charges each of them.
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

// storedHeaders are the request headers that are kept with an event: what is forwarded, and what helps to tell where it
// came from. None of them holds a secret.
var storedHeaders = []string{"Content-Type", "User-Agent", "X-GHL-Signature", "X-Request-Id", "Traceparent"}

// headersOf returns them, with what the request declares in its query as the headers of that meaning.
func headersOf(h http.Header, declared ghl.Declaration) map[string]string {
	kept := map[string]string{}
	for _, name := range storedHeaders {
		if value := h.Get(name); value != "" {
			kept[http.CanonicalHeaderKey(name)] = value
		}
	}
	if declared.Type != "" {
		kept[ghl.HeaderType], kept[ghl.HeaderIDPath] = declared.Type, declared.IDPath
	}
	return kept
}
