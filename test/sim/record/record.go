// Package record keeps what an HTTP simulator was sent, so that a test or a person can read it back.
package record

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"sync"
	"time"
)

// limit is how many requests a Log keeps, so that a load test does not fill the memory: the oldest go first.
const limit = 10_000

// Request is one request as it came in.
type Request struct {
	Time   time.Time   `json:"time"`
	Method string      `json:"method"`
	Path   string      `json:"path"`
	Query  url.Values  `json:"query,omitempty"`
	Header http.Header `json:"header"`
	Body   string      `json:"body,omitempty"`
}

// Log keeps the newest 10,000 requests. The zero value is ready for use.
type Log struct {
	mu       sync.Mutex
	requests []Request
	total    int
}

// Wrap returns a handler that notes each request, body and all, and passes it on to next.
func (l *Log) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		l.add(Request{
			Time: time.Now(), Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Header: r.Header.Clone(), Body: string(body),
		})
		next.ServeHTTP(w, r)
	})
}

func (l *Log) add(r Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	if len(l.requests) == limit {
		l.requests = append(l.requests[:0], l.requests[limit/10:]...)
	}
	l.requests = append(l.requests, r)
}

// Total returns how many requests came since the last Clear, forgotten ones included.
func (l *Log) Total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Requests returns the requests of a method whose path fits a pattern of path.Match, oldest first; "" is any.
func (l *Log) Requests(method, pattern string) []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(append([]Request{}, l.requests...), func(r Request) bool {
		fits, _ := path.Match(pattern, r.Path)
		return method != "" && method != r.Method || pattern != "" && !fits
	})
}

// Clear forgets all requests.
func (l *Log) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests, l.total = nil, 0
}

// ServeHTTP is the control endpoint that a simulator mounts, as a rule at /_sim/requests: GET lists the requests, which
// the query parameters method and path narrow, and DELETE forgets them.
func (l *Log) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(l.Requests(r.FormValue("method"), r.FormValue("path")))
	case http.MethodDelete:
		l.Clear()
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Allow", "GET, DELETE")
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}
