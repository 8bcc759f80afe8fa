package ghlapi

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// GHL allows 100 requests in 10 s for each location. A token bucket allows its burst and the refill of that time, so both together must
// stay below: 15 + 10 s × 8/s = 95. The rest is for requests that the network delays.
const (
	perSecond = 8
	burst     = 15
)

// maxWait bounds how long a call waits for its rate limit: a location with many requests must not block the workers of the others.
const maxWait = 5 * time.Second

// keep is the number of limiters from which idle ones are removed.
const keep = 1024

// limits are the rate limits of the locations.
type limits struct {
	mu         sync.Mutex
	byLocation map[string]*rate.Limiter
}

func newLimits() *limits { return &limits{byLocation: map[string]*rate.Limiter{}} }

// wait returns when the location's limit allows a request. It returns an error at once if that is after maxWait or the context's deadline.
func (l *limits) wait(ctx context.Context, locationID string) error {
	return l.waitAs(ctx, locationID, locationID)
}

// waitAs is wait with the limit of key, which several locations can share.
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
	e := failure(locationID, destination.Limited, "too many requests of this location wait for the rate limit", ErrLimited)
	e.RetryAfter = maxWait
	return e
}

// limiter returns the limiter of a location. A limiter with a full bucket can be removed: a new one has a full bucket, too.
func (l *limits) limiter(locationID string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if existing, ok := l.byLocation[locationID]; ok {
		return existing
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
