package controllers

import (
	"math/rand/v2"
	"time"
)

// Backoff says when the next attempt is made. It depends on the persisted number of attempts alone, so that a restart
// changes nothing.
type Backoff struct {
	// Base is the delay after the first attempt; each further one doubles it, up to Max.
	Base time.Duration
	Max  time.Duration
	// MaxAttempts is how many attempts may fail.
	MaxAttempts int32
}

// jitter is by how much a delay may differ, so that what failed together is not tried together.
const jitter = 0.2

// Delay returns the delay after the given number of attempts, or what the destination asked for if that is longer, up to
// Max.
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
