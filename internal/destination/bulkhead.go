package destination

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrFull says that a call was not made, since as many calls as are allowed are under way. It is no failure of the event,
// which waits for a place: see PlacesOf.
var ErrFull = errors.New("the limit of calls at a time is reached")

// fullError is ErrFull with the places that the event waits for.
type fullError struct {
	places string
	calls  int
}

func (e *fullError) Error() string {
	return fmt.Sprintf("the limit of %d calls at a time is reached", e.calls)
}

func (*fullError) Is(target error) bool { return target == ErrFull }

// PlacesOf returns the name of the places that an event waits for whose call ended with err, "" where the call was made, or was
// not made for another reason.
func PlacesOf(err error) string {
	if full, ok := errors.AsType[*fullError](err); ok {
		return full.places
	}
	return ""
}

const (
	// fullTimeout is how long a call waits for its turn while those under way are quick.
	fullTimeout = 100 * time.Millisecond
	// slowCall is how long a call may take before it counts as stuck: then nobody waits behind it.
	slowCall = time.Second
	// fullPause is the least that an event waits that found no place, where it has to wait for something else too.
	fullPause = 2 * time.Second
)

// Bulkhead bounds how many calls to a destination are under way at a time, so that one that hangs does not keep all workers
// from what has nothing to do with it until its breaker opens. It may be shared by several breakers. A nil Bulkhead bounds
// nothing.
type Bulkhead struct {
	name  string
	slots chan struct{}
	// left is called whenever a place is given back. It must not block.
	left func()

	mu      sync.Mutex
	begun   map[*time.Time]struct{}
	refused time.Time
	tried   int
}

// NewBulkhead returns one that lets so many calls to the destination called name through at a time, at least one. left is called
// whenever a call has ended; it must not block, and may be nil.
func NewBulkhead(name string, calls int, left func()) *Bulkhead {
	if left == nil {
		left = func() {}
	}
	return &Bulkhead{name: name, slots: make(chan struct{}, max(1, calls)), left: left, begun: map[*time.Time]struct{}{}}
}

// Vacancy is what a bulkhead has to offer to the events that wait for a place.
type Vacancy struct {
	// Places is the name under which events wait: see PlacesOf. It is no destination's.
	Places string
	// Free is how many calls could begin now.
	Free int
	// Refused is when a call was last turned away, zero where none was.
	Refused time.Time
	// Tried counts the calls that were let in or turned away.
	Tried int
}

// Vacancy says what is free.
func (b *Bulkhead) Vacancy() Vacancy {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Vacancy{Places: b.places(), Free: cap(b.slots) - len(b.slots), Refused: b.refused, Tried: b.tried}
}

func (b *Bulkhead) places() string { return "places:" + b.name }

// enter takes a place, which leave gives back, or says that there is none.
func (b *Bulkhead) enter(ctx context.Context) (leave func(), err error) {
	if b == nil {
		return func() {}, nil
	}
	leave = b.tryToEnter(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tried++
	if leave != nil {
		return leave, nil
	}
	b.refused = time.Now()
	return nil, &fullError{places: b.places(), calls: cap(b.slots)}
}

func (b *Bulkhead) tryToEnter(ctx context.Context) (leave func()) {
	select {
	case b.slots <- struct{}{}:
		return b.taken()
	default:
	}
	if b.stuck() {
		return nil
	}
	timeout := time.NewTimer(fullTimeout)
	defer timeout.Stop()
	select {
	case b.slots <- struct{}{}:
		return b.taken()
	case <-timeout.C:
	case <-ctx.Done():
	}
	return nil
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
		b.left()
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
