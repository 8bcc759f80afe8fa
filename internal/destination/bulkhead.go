package destination

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// ErrFull says that a call was not made because the concurrency limit is reached. The event has not failed: it waits for a
// slot, see PlacesOf.
var ErrFull = errors.New("the concurrency limit is reached")

// fullError is ErrFull with the name of the limit.
type fullError struct {
	places string
	calls  int
}

func (e *fullError) Error() string {
	return fmt.Sprintf("the concurrency limit of %d calls is reached", e.calls)
}

func (*fullError) Is(target error) bool { return target == ErrFull }

// PlacesOf returns the name of the concurrency limit that err reports, "" if err is another failure.
func PlacesOf(err error) string {
	if full, ok := errors.AsType[*fullError](err); ok {
		return full.places
	}
	return ""
}

const (
	// fullTimeout is how long a call waits for a slot while the calls in flight are quick.
	fullTimeout = 100 * time.Millisecond
	// slowCall is the duration after which a call in flight counts as stuck. Then no call waits for a slot.
	slowCall = time.Second
	// fullPause is the shortest wait of an event that found no slot and waits for something else, too.
	fullPause = 2 * time.Second
)

// Bulkhead limits the calls to a destination that are in flight at the same time, so that a destination that hangs does not
// occupy all workers before its breaker opens. Several breakers can share one. A nil Bulkhead limits nothing.
//
// The slots are a semaphore. The Bulkhead adds what a semaphore does not report: the free slots, the refused calls, and
// whether a call is stuck.
type Bulkhead struct {
	name  string
	calls int
	slots *semaphore.Weighted
	// released is called after a slot is released. It must not block.
	released func()

	mu      sync.Mutex
	begun   map[*time.Time]struct{}
	refused time.Time
	tried   int
}

// NewBulkhead returns a Bulkhead that allows so many calls in flight to the destination called name, at least one. released
// is called after each call; it must not block, and may be nil.
func NewBulkhead(name string, calls int, released func()) *Bulkhead {
	if released == nil {
		released = func() {}
	}
	calls = max(1, calls)
	return &Bulkhead{
		name: name, calls: calls, slots: semaphore.NewWeighted(int64(calls)), released: released, begun: map[*time.Time]struct{}{},
	}
}

// Vacancy is the state of a Bulkhead, for the release of the events that wait for a slot.
type Vacancy struct {
	// Places is the name under which events wait, see PlacesOf. It is not the name of a destination.
	Places string
	// Free is the number of free slots.
	Free int
	// Refused is the time of the last refused call, zero if there was none.
	Refused time.Time
	// Tried counts the calls that got a slot or were refused.
	Tried int
}

// Vacancy returns the current state.
func (b *Bulkhead) Vacancy() Vacancy {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Vacancy{Places: b.places(), Free: max(0, b.calls-len(b.begun)), Refused: b.refused, Tried: b.tried}
}

// places is stored in the column held_by.
func (b *Bulkhead) places() string { return "places:" + b.name }

// enter acquires a slot, which leave releases, or returns a fullError.
func (b *Bulkhead) enter(ctx context.Context) (leave func(), err error) {
	if b == nil {
		return func() {}, nil
	}
	acquired := b.acquire(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tried++
	if !acquired {
		b.refused = time.Now()
		return nil, &fullError{places: b.places(), calls: b.calls}
	}
	now := time.Now()
	b.begun[&now] = struct{}{}
	return func() { b.leave(&now) }, nil
}

func (b *Bulkhead) acquire(ctx context.Context) bool {
	if b.slots.TryAcquire(1) {
		return true
	}
	if b.stuck() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, fullTimeout)
	defer cancel()
	return b.slots.Acquire(ctx, 1) == nil
}

// leave releases the slot before Vacancy counts it as free: an event that is released for it finds it.
func (b *Bulkhead) leave(begun *time.Time) {
	b.slots.Release(1)
	b.mu.Lock()
	delete(b.begun, begun)
	b.mu.Unlock()
	b.released()
}

// stuck reports whether a call has been in flight for long.
func (b *Bulkhead) stuck() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at := range b.begun {
		if time.Since(*at) > slowCall {
			return true
		}
	}
	return false
}
