package destination

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// BreakerOptions say when a breaker opens and for how long. Zero values take the defaults.
type BreakerOptions struct {
	// Failures in a row open it; 5 by default.
	Failures uint32
	// Open is how long nothing is let through before one call may try; 10 s by default.
	Open time.Duration
	// MaxWait bounds how long events are told to wait during a long outage; 5 min by default.
	MaxWait time.Duration
	// MaxPause bounds a pause: what a destination says is not trusted with more; 15 min by default, which is the longest
	// delay between attempts.
	MaxPause time.Duration
	// Calls bounds how many calls are under way at a time; nil is no bound.
	Calls *Bulkhead
	// Changed is told of every change between closed (up) and open (down). It must not block.
	Changed func(name string, up bool)
}

// Breaker stands before one destination. It opens when the destination answers nobody, so that events wait instead of
// spending their attempts, and it keeps the pause that a destination asked for. It is safe for concurrent use.
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
	if opts.Failures == 0 {
		opts.Failures = 5
	}
	if opts.Open == 0 {
		opts.Open = 10 * time.Second
	}
	if opts.MaxWait == 0 {
		opts.MaxWait = 5 * time.Minute
	}
	if opts.MaxPause == 0 {
		opts.MaxPause = 15 * time.Minute
	}
	b := &Breaker{name: name, opts: opts}
	b.cb = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:          name,
		MaxRequests:   1,
		Timeout:       opts.Open,
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= opts.Failures },
		OnStateChange: func(_ string, _, to gobreaker.State) { b.changed(to) },
		// A refusal of this very event shows that the destination is up.
		IsSuccessful: func(err error) bool { return err == nil || ClassOf(err) == Permanent },
		// A pause that was asked for and a call that we gave up ourselves say nothing about whether it is up.
		IsExcluded: func(err error) bool { return ClassOf(err) == Limited || errors.Is(err, context.Canceled) },
	})
	return b
}

// Name returns the name of the destination.
func (b *Breaker) Name() string { return b.name }

// Do calls f, or returns an Unavailable or Limited error without calling it while the breaker is open, the destination
// asked for a pause, or as many calls as may be are under way.
func (b *Breaker) Do(ctx context.Context, f func(context.Context) error) error {
	if pause := b.paused(); pause > 0 {
		return &Error{
			Destination: b.name, Class: Limited, RetryAfter: pause,
			Message: fmt.Sprintf("asked for a pause, %s of it left", pause.Round(time.Second)),
		}
	}
	leave, err := b.opts.Calls.enter(ctx)
	if err != nil {
		return &Error{Destination: b.name, Class: Limited, RetryAfter: fullPause, Message: err.Error(), Err: err}
	}
	defer leave()
	_, err = b.cb.Execute(func() (struct{}, error) { return struct{}{}, f(ctx) })
	if heldBack(err) {
		return &Error{Destination: b.name, Class: Unavailable, Message: "does not answer; calls are held back until it does", Err: err}
	}
	if ClassOf(err) == Limited && err != nil {
		b.pause(RetryAfterOf(err))
	}
	return err
}

// Wait returns how long an event should leave the destination alone, and 0 while the breaker is closed and no pause was asked
// for; WaitAfter is for one that has just failed. It grows with the outage, up to MaxWait, so that the events that wait for a
// destination cost little meanwhile; callers add jitter.
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

// WaitAfter is Wait for an event whose call ended with err. It is never 0 where the call was not made, or a pause was asked
// for: by now the destination may be up again, but the event has tried nothing that it could have failed at.
func (b *Breaker) WaitAfter(err error) time.Duration {
	wait := b.Wait()
	switch {
	case errors.Is(err, ErrFull):
		return max(wait, fullPause) // It is up, for all that is known.
	case heldBack(err), err != nil && ClassOf(err) == Limited:
		return max(wait, minWait)
	default:
		return wait
	}
}

// minWait is the least that an event waits: as long as the breaker is not closed, and where it was held back.
const minWait = time.Second

// heldBack reports whether a call was not made since the breaker was open.
func heldBack(err error) bool {
	return errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests)
}

// Up reports whether the breaker is closed.
func (b *Breaker) Up() bool { return b.cb.State() == gobreaker.StateClosed }

// MayTry reports whether the breaker is open and would let the next call through, to see whether the destination answers
// again. It is false while such a call is under way.
func (b *Breaker) MayTry() bool {
	if b.cb.State() != gobreaker.StateHalfOpen || b.paused() > 0 {
		return false
	}
	counts := b.cb.Counts()
	return counts.Requests == counts.TotalExclusions
}

// Outages returns the names of the destinations that hold events back, because they are down or asked for a pause, and of
// those among them that may be tried again.
func Outages(breakers ...*Breaker) (down, mayTry []string) {
	for _, b := range breakers {
		if b.Wait() == 0 {
			continue
		}
		down = append(down, b.name)
		if b.MayTry() {
			mayTry = append(mayTry, b.name)
		}
	}
	return down, mayTry
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

// defaultPause is how long a destination that asks for a pause without saying how long is left alone.
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
