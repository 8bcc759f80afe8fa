package faults

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// tap stands before a destination and notes what it is asked for and what it answers.
type tap struct {
	environment *environment
	destination string
	// variable is the one of the environment that says where it is.
	variable string
	door     *door
	next     http.Handler
	// calls are how many have begun.
	calls atomic.Int64
}

func (t *tap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.environment.calls.Add(1)
	t.calls.Add(1)
	call := Call{
		Destination: t.destination, Method: r.Method, Path: r.URL.Path, Start: time.Now(), Key: r.Header.Get("Idempotency-Key"),
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	sum := sha256.Sum256(body)
	call.SHA256 = hex.EncodeToString(sum[:])
	answer := &answer{ResponseWriter: w, left: r.Context()}
	defer func() { // Also where a fault breaks the connection by a panic.
		call.End, call.Status = time.Now(), answer.status
		t.environment.record(func(h *History) { h.Calls = append(h.Calls, call) })
	}()
	t.next.ServeHTTP(answer, r)
}

// answer remembers the status that the client got. A 2xx is an answer even where what follows it is lost.
type answer struct {
	http.ResponseWriter
	left   context.Context
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.left.Err() == nil {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 && a.left.Err() == nil {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
