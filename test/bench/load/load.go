// Package load posts webhooks as fast as they are taken, or at a rate, and measures how long the answers take. It shares the machine with
// what it measures, so it costs as little as it can: requests are made beforehand, down to their signatures, and written as they are to
// connections that stay open.
package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
)

// answerTimeout is how long an answer may take before it counts as none.
const answerTimeout = 30 * time.Second

// Request is a request as it goes over the wire.
type Request []byte

// Encode returns the request of a webhook, signed by sender if it has a signature.
func Encode(sender *ghlsender.Sender, path string, w ghlsender.Webhook) Request {
	head := "POST " + path + " HTTP/1.1\r\nHost: bench\r\nContent-Type: " + w.ContentType +
		"\r\nContent-Length: " + strconv.Itoa(len(w.Body)) + "\r\n"
	if w.Signed {
		head += ghl.HeaderSignature + ": " + sender.Sign(w.Body) + "\r\n"
	}
	return append([]byte(head+"\r\n"), w.Body...)
}

// Supply hands out requests, each once.
type Supply struct {
	requests []Request
	next     atomic.Int64
}

// NewSupply returns a supply of requests in their order.
func NewSupply(requests []Request) *Supply { return &Supply{requests: requests} }

func (s *Supply) take() (Request, bool) {
	i := s.next.Add(1) - 1
	if i >= int64(len(s.requests)) {
		return nil, false
	}
	return s.requests[i], true
}

// Result is what came of posting.
type Result struct {
	// Acknowledged is how many were answered 200, Refused how many were answered otherwise.
	Acknowledged, Refused int
	// Latencies are those of all answers, in no order.
	Latencies []time.Duration
	// Elapsed is from the first post to the last answer.
	Elapsed time.Duration
}

// Rate is how many were acknowledged in a second.
func (r Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Acknowledged) / r.Elapsed.Seconds()
}

// errExhausted says that the supply was too small for what was to be measured.
var errExhausted = errors.New("there are no more requests to post: the supply is too small")

// Closed posts over connections that each send the next request when the last one was answered, for as long as duration. It measures how
// much is taken; what it says of latency is what those see who wait for each other.
func Closed(ctx context.Context, address string, supply *Supply, connections int, duration time.Duration) (Result, error) {
	deadline := time.Now().Add(duration)
	return run(ctx, address, connections, func(c *connection) error {
		for time.Now().Before(deadline) && ctx.Err() == nil {
			request, ok := supply.take()
			if !ok {
				return errExhausted
			}
			if err := c.post(request, time.Now()); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

// Count posts n requests over connections, as fast as they are taken.
func Count(ctx context.Context, address string, supply *Supply, connections, n int) (Result, error) {
	var posted atomic.Int64
	return run(ctx, address, connections, func(c *connection) error {
		for posted.Add(1) <= int64(n) && ctx.Err() == nil {
			request, ok := supply.take()
			if !ok {
				return errExhausted
			}
			if err := c.post(request, time.Now()); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

// Open posts at a rate for as long as duration, whatever the answers take. A latency is measured from when the request was to be sent: one
// that was sent late because all connections were waiting for answers has its whole wait counted.
func Open(ctx context.Context, address string, supply *Supply, connections int, rate float64, duration time.Duration) (Result, error) {
	total := int64(rate * duration.Seconds())
	interval := float64(time.Second) / rate
	start := time.Now()
	var next atomic.Int64
	return run(ctx, address, connections, func(c *connection) error {
		for ctx.Err() == nil {
			i := next.Add(1) - 1
			if i >= total {
				return nil
			}
			request, ok := supply.take()
			if !ok {
				return errExhausted
			}
			intended := start.Add(time.Duration(float64(i) * interval))
			if err := sleepUntil(ctx, intended); err != nil {
				return err
			}
			if err := c.post(request, intended); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

func sleepUntil(ctx context.Context, t time.Time) error {
	rest := time.Until(t)
	if rest <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run has each of the connections posting by post, and adds up what they have seen. The first failure ends all.
func run(ctx context.Context, address string, connections int, post func(*connection) error) (Result, error) {
	all := make([]*connection, connections)
	for i := range all {
		c, err := dial(ctx, address)
		if err != nil {
			return Result{}, err
		}
		defer c.conn.Close() //nolint:revive // All must be open at the same time.
		all[i] = c
	}
	failures := make([]error, connections)
	start := time.Now()
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Go(func() { failures[i] = post(c) })
	}
	wg.Wait()
	result := Result{Elapsed: time.Since(start)}
	for _, c := range all {
		result.Acknowledged += c.acknowledged
		result.Refused += c.refused
		result.Latencies = append(result.Latencies, c.latencies...)
	}
	return result, errors.Join(failures...)
}

// connection is one that stays open.
type connection struct {
	conn                  net.Conn
	reader                *bufio.Reader
	deadline              time.Time
	acknowledged, refused int
	latencies             []time.Duration
}

func dial(ctx context.Context, address string) (*connection, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to what is measured: %w", err)
	}
	return &connection{conn: conn, reader: bufio.NewReader(conn)}, nil
}

// post sends a request and reads its answer, whose latency is measured from start.
func (c *connection) post(request Request, start time.Time) error {
	if now := time.Now(); c.deadline.Sub(now) < answerTimeout {
		c.deadline = now.Add(2 * answerTimeout)
		if err := c.conn.SetDeadline(c.deadline); err != nil {
			return err
		}
	}
	if _, err := c.conn.Write(request); err != nil {
		return fmt.Errorf("post a webhook: %w", err)
	}
	status, err := c.answer()
	if err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	c.latencies = append(c.latencies, time.Since(start))
	if status == http.StatusOK {
		c.acknowledged++
	} else {
		c.refused++
	}
	return nil
}

// errAnswer says that something else than an answer of known length came.
var errAnswer = errors.New("not an HTTP/1.1 answer with a Content-Length")

// answer reads one and returns its status. net/http would parse a header that is not used.
func (c *connection) answer() (status int, err error) {
	length := -1
	for first := true; ; first = false {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case first:
			rest, ok := bytes.CutPrefix(line, []byte("HTTP/1.1 "))
			if !ok || len(rest) < 3 {
				return 0, errAnswer
			}
			if status, err = strconv.Atoi(string(rest[:3])); err != nil {
				return 0, errAnswer
			}
		case len(line) == 0 && length < 0:
			return 0, errAnswer
		case len(line) == 0:
			_, err = c.reader.Discard(length)
			return status, err
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, errAnswer
			}
		}
	}
}
