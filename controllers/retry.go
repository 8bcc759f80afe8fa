package controllers

import (
	"math/rand/v2"
	"time"
)

// Backoff computes the delay until the next attempt. The delay depends only on the persisted number of attempts, so a restart does not
// change it.
type Backoff struct {
	// Base is the delay after the first attempt. Each further attempt doubles it, up to Max.
	Base time.Duration
	Max  time.Duration
	// MaxAttempts is the number of attempts after which an event ends in error.
	MaxAttempts int32
}

// jitter is the maximum relative deviation of a delay, so events that fail together do not retry together.
const jitter = 0.2

// Delay returns the delay after this number of attempts, or the delay that the destination asked for if that is longer, up to Max.
func (b Backoff) Delay(attempts int32, retryAfter time.Duration) time.Duration {
	delay := b.Base
	for range attempts - 1 {
		if delay *= 2; delay >= b.Max {
			break
		}
	}
	return min(max(spread(min(delay, b.Max)), retryAfter), b.Max)
}

// spread varies d by the jitter.
func spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*rand.Float64())) //nolint:gosec // Spreads load; nothing secret.
}
