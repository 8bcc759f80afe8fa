package destination

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrFull says that a call was not made, since as many as may be are under way. It says nothing about the event.
var ErrFull = errors.New("as many calls as may be are under way")

const (
	// fullPatience is how long a call waits for its turn while those under way are quick.
	fullPatience = 100 * time.Millisecond
	// slowCall is how long a call may take before it counts as stuck: then nobody waits behind it.
	slowCall = time.Second
	// fullPause is how long an event waits that found no place.
	fullPause = 2 * time.Second
)

// Bulkhead bounds how many calls to a destination are under way at a time, so that one that hangs does not keep all workers
// from what has nothing to do with it until its breaker opens. It may be shared by several breakers. A nil Bulkhead bounds
// nothing.
type Bulkhead struct {
	slots chan struct{}

	mu    sync.Mutex
	begun map[*time.Time]struct{}
}

// NewBulkhead returns one that lets so many calls through at a time, at least one.
func NewBulkhead(calls int) *Bulkhead {
	return &Bulkhead{slots: make(chan struct{}, max(1, calls)), begun: map[*time.Time]struct{}{}}
}

// enter takes a place, which leave gives back, or reports that there is none.
func (b *Bulkhead) enter(ctx context.Context) (leave func(), ok bool) {
	if b == nil {
		return func() {}, true
	}
	select {
	case b.slots <- struct{}{}:
		return b.taken(), true
	default:
	}
	if b.stuck() {
		return nil, false
	}
	patience := time.NewTimer(fullPatience)
	defer patience.Stop()
	select {
	case b.slots <- struct{}{}:
		return b.taken(), true
	case <-patience.C:
	case <-ctx.Done():
	}
	return nil, false
}

func (b *Bulkhead) taken() (leave func()) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun[&now] = struct{}{}
	return func() {
		b.mu.Lock()
		delete(b.begun, &now)
		b.mu.Unlock()
		<-b.slots
	}
}

// stuck reports whether a call has been under way for long.
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
