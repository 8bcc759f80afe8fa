package ghlapi

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// GHL allows 100 requests in 10 s for each location. A token bucket lets its burst and what flows in meanwhile pass, so
// that both together must stay below that: 15 + 10 s × 8/s = 95, with some room for requests that a network held back.
const (
	perSecond = 8
	burst     = 15
)

// maxWait is the longest that a call waits for its turn: a location that has far too much to do must not hold up the
// workers of the others.
const maxWait = 5 * time.Second

// keep is how many locations are remembered before those that are at rest are forgotten.
const keep = 1024

// limits keeps each location to its limit.
type limits struct {
	mu         sync.Mutex
	byLocation map[string]*rate.Limiter
}

func newLimits() *limits { return &limits{byLocation: map[string]*rate.Limiter{}} }

// wait returns when the location may be asked, or at once where that is later than the context or maxWait allow.
func (l *limits) wait(ctx context.Context, locationID string) error {
	return l.waitAs(ctx, locationID, locationID)
}

// waitAs is wait for a location that shares the limit of others: key names it.
func (l *limits) waitAs(ctx context.Context, key, locationID string) error {
	turn, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	err := l.limiter(key).Wait(turn)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return destination.FromTransport(destinationName(locationID), ctx.Err())
	}
	e := failure(locationID, destination.Limited, "too many requests of this location are waiting", ErrLimited)
	e.RetryAfter = maxWait
	return e
}

// limiter returns the location's limiter. Forgetting one that is full loses nothing: a new one is full as well.
func (l *limits) limiter(locationID string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.byLocation[locationID]; ok {
		return known
	}
	if len(l.byLocation) >= keep {
		for id, at := range l.byLocation {
			if at.Tokens() >= burst {
				delete(l.byLocation, id)
			}
		}
	}
	fresh := rate.NewLimiter(perSecond, burst)
	l.byLocation[locationID] = fresh
	return fresh
}
