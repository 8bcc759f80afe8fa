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

// readBody reads a request's body. Memory is charged as bytes arrive and not as they are announced, so that a slow or
// boastful client takes only what it sends. The memory is given back by release.
//
// Its errors are errTooLarge, errBusy, and those of a body that did not arrive whole or in time.
func (s *Server) readBody(r *http.Request) (raw []byte, release func(), err error) {
	if r.ContentLength > maxBody {
		return nil, func() {}, errTooLarge
	}
	body := &chargedReader{from: r.Body, budget: s.bodies}
	// What is announced is believed up to the size of nearly all bodies, so that they are read into one piece of memory.
	announced := min(max(r.ContentLength, 0), 8<<10)
	buffer := bytes.NewBuffer(make([]byte, 0, announced+bytes.MinRead))
	_, err = buffer.ReadFrom(body)
	return buffer.Bytes(), body.release, err
}

// chargedReader reads up to maxBody bytes and takes each from a budget.
type chargedReader struct {
	from   io.Reader
	budget *semaphore.Weighted
	held   int64
}

func (c *chargedReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if !c.budget.TryAcquire(int64(n)) {
		return 0, errBusy
	}
	if c.held += int64(n); c.held > maxBody {
		return 0, errTooLarge
	}
	return n, err
}

func (c *chargedReader) release() { c.budget.Release(c.held) }

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
