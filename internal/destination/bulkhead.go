package destination

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// ErrLimitReached says that a call was not made because the concurrency limit is reached. The event has not failed: it waits
// for a slot, see LimitOf.
var ErrLimitReached = errors.New("the concurrency limit is reached")

// limitError is ErrLimitReached with the name of the limit.
type limitError struct {
	limit string
	calls int
}

func (e *limitError) Error() string {
	return fmt.Sprintf("the concurrency limit of %d calls is reached", e.calls)
}

func (*limitError) Is(target error) bool { return target == ErrLimitReached }

// LimitOf returns the name of the concurrency limit that err reports, "" if err is another failure.
func LimitOf(err error) string {
	if reached, ok := errors.AsType[*limitError](err); ok {
		return reached.limit
	}
	return ""
}

const (
	// slotTimeout is how long a call waits for a slot while no call is stuck.
	slotTimeout = 100 * time.Millisecond
	// stuckAfter is the duration after which a call in flight counts as stuck. Then no call waits for a slot.
	stuckAfter = time.Second
	// limitPause is the shortest wait of an event that got no slot and waits for something else, too.
	limitPause = 2 * time.Second
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

	mu sync.Mutex
	// inFlight has the start of each call.
	inFlight map[*time.Time]struct{}
	refused  time.Time
	requests int
}

// NewBulkhead returns a Bulkhead that allows this number of calls in flight to the destination called name, at least one.
// released is called after each call; it must not block, and may be nil.
func NewBulkhead(name string, calls int, released func()) *Bulkhead {
	if released == nil {
		released = func() {}
	}
	calls = max(1, calls)
	return &Bulkhead{
		name: name, calls: calls, slots: semaphore.NewWeighted(int64(calls)), released: released, inFlight: map[*time.Time]struct{}{},
	}
}

// Slots is the state of a concurrency limit, for the release of the events that wait for a slot.
type Slots struct {
	// Limit is the name under which events wait, see LimitOf. It is not the name of a destination.
	Limit string
	// Free is the number of free slots.
	Free int
	// Refused is the time of the last refused call, zero if there was none.
	Refused time.Time
	// Requests counts the calls that got a slot or were refused.
	Requests int
}

// Slots returns the current state.
func (b *Bulkhead) Slots() Slots {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Slots{Limit: b.limit(), Free: max(0, b.calls-len(b.inFlight)), Refused: b.refused, Requests: b.requests}
}

// limit returns the name that is stored in the column held_by.
func (b *Bulkhead) limit() string { return "places:" + b.name }

// acquire acquires a slot, which release releases, or returns a limitError.
func (b *Bulkhead) acquire(ctx context.Context) (release func(), err error) {
	if b == nil {
		return func() {}, nil
	}
	acquired := b.waitForSlot(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests++
	if !acquired {
		b.refused = time.Now()
		return nil, &limitError{limit: b.limit(), calls: b.calls}
	}
	now := time.Now()
	b.inFlight[&now] = struct{}{}
	return func() { b.release(&now) }, nil
}

func (b *Bulkhead) waitForSlot(ctx context.Context) bool {
	if b.slots.TryAcquire(1) {
		return true
	}
	if b.stuck() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, slotTimeout)
	defer cancel()
	return b.slots.Acquire(ctx, 1) == nil
}

// release releases the slot before Slots counts it as free, so that an event that is released for the slot gets it.
func (b *Bulkhead) release(call *time.Time) {
	b.slots.Release(1)
	b.mu.Lock()
	delete(b.inFlight, call)
	b.mu.Unlock()
	b.released()
}

// stuck reports whether a call in flight is stuck.
func (b *Bulkhead) stuck() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for started := range b.inFlight {
		if time.Since(*started) > stuckAfter {
			return true
		}
	}
	return false
}
