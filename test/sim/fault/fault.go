// Package fault makes an HTTP simulator fail on purpose: a Script wraps its handler and, for the requests that it is set to fail, answers
// instead of it, late, in part or not at all. It knows no particular simulator.
package fault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"slices"
	"sync"
	"time"
)

// Kind says in which way a request fails.
type Kind string

// The kinds of faults. Each waits for Fault.DelayMillis first, and has read the whole request before anything else, so
// that a client that goes away is noticed.
const (
	// Answer: Status, Header and Body are answered in place of the simulator's own answer.
	Answer Kind = "answer"
	// Delay: the simulator answers as usual, after the delay.
	Delay Kind = "delay"
	// Hang: nothing is answered until the client leaves or the script is cleared.
	Hang Kind = "hang"
	// HangAfterHeaders: Status and Header are answered, and no byte of a body.
	HangAfterHeaders Kind = "hang-after-headers"
	// Endless: Status, Header, then Body over and over until the client leaves.
	Endless Kind = "endless"
	// Drip: Status, Header, then Body byte by byte, DelayMillis apart, over and over until the client leaves.
	Drip Kind = "drip"
	// Reset: the connection is reset; the simulator never saw the request.
	Reset Kind = "reset"
	// ResetAfterHandling: the simulator did what it was asked for, and its answer is lost in a reset.
	ResetAfterHandling Kind = "reset-after-handling"
	// Truncate: the simulator did what it was asked for, and the connection ends within its answer's body.
	Truncate Kind = "truncate"
)

var kinds = []Kind{Answer, Delay, Hang, HangAfterHeaders, Endless, Drip, Reset, ResetAfterHandling, Truncate}

// Fault is one way to fail and the requests that fail so.
type Fault struct {
	Kind Kind `json:"kind"`
	// Method and Path say which requests are hit; empty is any. Path is a pattern of path.Match: "/contacts/*/tags".
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
	// Match narrows them further, where it is set.
	Match func(*http.Request) bool `json:"-"`
	// Times is how many requests are hit: 0 is one, a negative number is all until the script is cleared.
	Times int `json:"times,omitempty"`
	// DelayMillis is how long to wait before anything is answered.
	DelayMillis int `json:"delayMillis,omitempty"`
	// Status, Header and Body are what the kinds that answer by themselves answer; Status 0 is 200.
	Status int         `json:"status,omitempty"`
	Header http.Header `json:"header,omitempty"`
	Body   string      `json:"body,omitempty"`
}

// Status answers code with a JSON body that has no meaning.
func Status(code int) Fault { return JSON(code, `{}`) }

// JSON answers code with body as JSON.
func JSON(code int, body string) Fault {
	return Fault{Kind: Answer, Status: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
}

// HTML answers 200 with a web page, as a login form or a proxy's error page does.
func HTML() Fault {
	return Fault{
		Kind: Answer, Status: http.StatusOK, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}},
		Body: "<!DOCTYPE html><title>Sign in</title>",
	}
}

// Redirect answers 307, which would have a careless client send its body and its secrets to target.
func Redirect(target string) Fault {
	return Fault{Kind: Answer, Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {target}}}
}

func (f *Fault) validate() error {
	if !slices.Contains(kinds, f.Kind) {
		return fmt.Errorf("unknown kind %q, want one of %q", f.Kind, kinds)
	}
	if _, err := path.Match(f.Path, "/"); err != nil {
		return fmt.Errorf("path %q: %w", f.Path, err)
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("status %d is none of a final answer", f.Status)
	}
	if f.DelayMillis < 0 {
		return errors.New("negative delay")
	}
	return nil
}

func (f *Fault) hits(r *http.Request) bool {
	if f.Method != "" && f.Method != r.Method {
		return false
	}
	if f.Path != "" {
		if ok, _ := path.Match(f.Path, r.URL.Path); !ok {
			return false
		}
	}
	return f.Match == nil || f.Match(r)
}

// Script is the list of faults that are still to happen. The zero value is ready for use and lets all requests pass.
type Script struct {
	mu      sync.Mutex
	faults  []Fault
	cleared chan struct{}
}

// Add appends faults; the first one in the list that hits a request is the one that happens. It adds all or none.
func (s *Script) Add(faults ...Fault) error {
	for i := range faults {
		if err := faults[i].validate(); err != nil {
			return fmt.Errorf("fault %d: %w", i, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		f.Times = max(f.Times, -1)
		if f.Times == 0 {
			f.Times = 1
		}
		s.faults = append(s.faults, f)
	}
	return nil
}

// Clear drops all faults and ends those that keep a client waiting.
func (s *Script) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	if s.cleared != nil {
		close(s.cleared)
		s.cleared = nil
	}
}

// Pending returns the faults that are still to happen, with the times that are left of each.
func (s *Script) Pending() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Fault{}, s.faults...)
}

// take returns the fault that hits r, and the channel that is closed when the script is cleared.
func (s *Script) take(r *http.Request) (Fault, <-chan struct{}, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.faults, func(f Fault) bool { return f.hits(r) })
	if i < 0 {
		return Fault{}, nil, false
	}
	f := s.faults[i]
	if f.Times > 0 {
		s.faults[i].Times--
		if s.faults[i].Times == 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
	}
	if s.cleared == nil {
		s.cleared = make(chan struct{})
	}
	return f, s.cleared, true
}

// Wrap returns a handler that fails as the script says, and else is next.
func (s *Script) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, cleared, ok := s.take(r)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		// net/http notices that a client left only once the request's body has been read.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		h := happening{Fault: f, w: w, r: r, cleared: cleared}
		if f.Kind != Drip && !h.wait(time.Duration(f.DelayMillis)*time.Millisecond) {
			panic(http.ErrAbortHandler)
		}
		h.run(next)
	})
}

// happening is a fault that has met its request.
type happening struct {
	Fault
	w       http.ResponseWriter
	r       *http.Request
	cleared <-chan struct{}
}

func (h *happening) run(next http.Handler) {
	switch h.Kind {
	case Answer:
		h.head()
		_, _ = io.WriteString(h.w, h.Body)
	case Delay:
		next.ServeHTTP(h.w, h.r)
	case Hang:
		h.untilLeft()
		panic(http.ErrAbortHandler)
	case HangAfterHeaders:
		h.head()
		h.flush()
		h.untilLeft()
		panic(http.ErrAbortHandler)
	case Endless, Drip:
		h.head()
		h.pour()
	case Reset:
		h.reset()
	case ResetAfterHandling:
		next.ServeHTTP(newAnswer(), h.r)
		h.reset()
	case Truncate:
		a := newAnswer()
		next.ServeHTTP(a, h.r)
		a.sendHalf(h.w)
		panic(http.ErrAbortHandler)
	}
}

func (h *happening) head() {
	for name, values := range h.Header {
		h.w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	h.w.WriteHeader(max(h.Status, http.StatusOK))
}

func (h *happening) flush() { _ = http.NewResponseController(h.w).Flush() }

// wait reports whether the client is still there, and the script still in force, after d.
func (h *happening) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-h.cleared:
	case <-h.r.Context().Done():
	}
	return false
}

func (h *happening) untilLeft() {
	select {
	case <-h.cleared:
	case <-h.r.Context().Done():
	}
}

// pour writes the body over and over: as fast as the client takes it, or byte by byte.
func (h *happening) pour() {
	body := h.Body
	if body == "" {
		body = " "
	}
	chunk, pause := bytes.Repeat([]byte(body), 1+4096/len(body)), time.Duration(0)
	if h.Kind == Drip {
		chunk, pause = []byte(body), max(time.Duration(h.DelayMillis)*time.Millisecond, time.Millisecond)
	}
	for i := 0; ; i++ {
		part := chunk
		if h.Kind == Drip {
			part = chunk[i%len(chunk) : i%len(chunk)+1]
		}
		if _, err := h.w.Write(part); err != nil {
			return
		}
		h.flush()
		if !h.wait(pause) {
			panic(http.ErrAbortHandler)
		}
	}
}

// reset closes the connection so that the client reads "connection reset by peer" and no orderly end.
func (h *happening) reset() {
	conn, _, err := http.NewResponseController(h.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
