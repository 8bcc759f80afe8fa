package destination

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// BreakerOptions configure a breaker. Zero values are the defaults.
type BreakerOptions struct {
	// Failures is the number of consecutive failures that opens the breaker; 5 by default.
	Failures uint32
	// Open is how long the breaker stays open before it allows one trial call; 10 s by default.
	Open time.Duration
	// MaxWait bounds the backoff of an event in a long outage; 5 min by default.
	MaxWait time.Duration
	// MaxPause bounds a pause that a destination requests; 15 min by default, which is the longest delay between attempts.
	MaxPause time.Duration
	// Calls limits the calls in flight; nil is no limit.
	Calls *Bulkhead
	// Changed is called when the breaker opens (up is false) and when it closes (up is true). It must not block.
	Changed func(name string, up bool)
}

// Breaker is the circuit breaker of one destination. It opens when the destination does not answer, so that events wait
// without using their attempts, and it enforces the pause that a destination requests. It is safe for concurrent use.
type Breaker struct {
	name string
	opts BreakerOptions
	cb   *gobreaker.CircuitBreaker[struct{}]

	mu          sync.Mutex
	downSince   time.Time
	openedAt    time.Time
	pausedUntil time.Time
}

// NewBreaker returns a closed breaker for the destination called name.
func NewBreaker(name string, opts BreakerOptions) *Breaker {
	opts.Failures = cmp.Or(opts.Failures, 5)
	opts.Open = cmp.Or(opts.Open, 10*time.Second)
	opts.MaxWait = cmp.Or(opts.MaxWait, 5*time.Minute)
	opts.MaxPause = cmp.Or(opts.MaxPause, 15*time.Minute)
	b := &Breaker{name: name, opts: opts}
	b.cb = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:          name,
		MaxRequests:   1,
		Timeout:       opts.Open,
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= opts.Failures },
		OnStateChange: func(_ string, _, to gobreaker.State) { b.changed(to) },
		// A destination that refuses an event is up.
		IsSuccessful: func(err error) bool { return err == nil || ClassOf(err) == Permanent },
		// Neither a requested pause nor a call that the caller cancelled shows whether the destination is up.
		IsExcluded: func(err error) bool { return ClassOf(err) == Limited || errors.Is(err, context.Canceled) },
	})
	return b
}

// Name returns the name of the destination.
func (b *Breaker) Name() string { return b.name }

// Do calls f. If the breaker is open, the destination requested a pause, or the concurrency limit is reached, it returns an
// Unavailable or Limited error without calling f.
func (b *Breaker) Do(ctx context.Context, f func(context.Context) error) error {
	if pause := b.paused(); pause > 0 {
		return &Error{
			Destination: b.name, Class: Limited, RetryAfter: pause,
			Message: fmt.Sprintf("requested a pause; %s left", pause.Round(time.Second)),
		}
	}
	release, err := b.opts.Calls.acquire(ctx)
	if err != nil {
		return &Error{Destination: b.name, Class: Limited, RetryAfter: limitPause, Message: err.Error(), Err: err}
	}
	defer release()
	_, err = b.cb.Execute(func() (struct{}, error) { return struct{}{}, f(ctx) })
	if blocked(err) {
		return &Error{
			Destination: b.name, Class: Unavailable, Err: err,
			Message: "the circuit breaker is open; no event calls it until a trial call succeeds",
		}
	}
	if ClassOf(err) == Limited && err != nil {
		b.pause(RetryAfterOf(err))
	}
	return err
}

// Wait returns the backoff of an event that needs the destination; 0 if the breaker is closed and no pause was requested. After
// a failed call, use WaitAfter. Wait grows with the length of the outage, up to MaxWait, so that waiting events cost little.
// Callers add jitter.
func (b *Breaker) Wait() time.Duration {
	state := b.cb.State()
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	wait := b.pausedUntil.Sub(now)
	switch state {
	case gobreaker.StateOpen:
		wait = max(wait, b.openedAt.Add(b.opts.Open).Sub(now), min(now.Sub(b.downSince)/4, b.opts.MaxWait), minWait)
	case gobreaker.StateHalfOpen:
		wait = max(wait, min(now.Sub(b.downSince)/4, b.opts.MaxWait), minWait)
	case gobreaker.StateClosed:
	}
	return max(wait, 0)
}

// WaitAfter is Wait for an event whose call ended with err. It is never 0 if the call was not made or a pause was requested:
// the attempt does not count, even if the destination is up again by now.
func (b *Breaker) WaitAfter(err error) time.Duration {
	wait := b.Wait()
	switch {
	case errors.Is(err, ErrLimitReached):
		return max(wait, limitPause)
	case blocked(err), err != nil && ClassOf(err) == Limited:
		return max(wait, minWait)
	default:
		return wait
	}
}

// minWait is the shortest backoff of an event while the breaker is not closed, or if its call was not made.
const minWait = time.Second

// blocked reports whether a call was not made because the breaker is open.
func blocked(err error) bool {
	return errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests)
}

// Up reports whether the breaker is closed.
func (b *Breaker) Up() bool { return b.cb.State() == gobreaker.StateClosed }

// AllowsTrial reports whether the breaker is half open and allows a trial call now. It is false while a trial call is in flight.
func (b *Breaker) AllowsTrial() bool {
	if b.cb.State() != gobreaker.StateHalfOpen || b.paused() > 0 {
		return false
	}
	counts := b.cb.Counts()
	return counts.Requests == counts.TotalExclusions
}

// Outages returns the names of the destinations that are down or requested a pause, and of those among them that allow a trial
// call.
func Outages(breakers ...*Breaker) (down, allowTrial []string) {
	for _, b := range breakers {
		if b.Wait() == 0 {
			continue
		}
		down = append(down, b.name)
		if b.AllowsTrial() {
			allowTrial = append(allowTrial, b.name)
		}
	}
	return down, allowTrial
}

func (b *Breaker) changed(to gobreaker.State) {
	b.mu.Lock()
	now := time.Now()
	wasDown := !b.downSince.IsZero()
	switch to {
	case gobreaker.StateOpen:
		b.openedAt = now
		if !wasDown {
			b.downSince = now
		}
	case gobreaker.StateClosed:
		b.downSince = time.Time{}
	case gobreaker.StateHalfOpen:
	}
	isDown := !b.downSince.IsZero()
	b.mu.Unlock()
	if b.opts.Changed != nil && wasDown != isDown {
		b.opts.Changed(b.name, !isDown)
	}
}

func (b *Breaker) paused() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Until(b.pausedUntil)
}

// defaultPause is the pause of a destination that requests one without a duration.
const defaultPause = 10 * time.Second

func (b *Breaker) pause(d time.Duration) {
	if d <= 0 {
		d = defaultPause
	}
	until := time.Now().Add(min(d, b.opts.MaxPause))
	b.mu.Lock()
	defer b.mu.Unlock()
	if until.After(b.pausedUntil) {
		b.pausedUntil = until
	}
}
