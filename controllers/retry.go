package controllers

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/store"
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

// scheduleRetry sets the time of the next attempt, or ends the event if its attempts are used up.
func (r *WebhookEventReconciler) scheduleRetry(result *store.AttemptResult, c *store.Attempt, refused, retried []operationResult) {
	w := waitFor(c, retried)
	result.Message = joined(append(refused, retried...))
	switch {
	case w.counted && c.Attempts >= r.Backoff.MaxAttempts:
		result.Status = store.StatusError
		result.Reason = cmp.Or(retried[0].Reason, v1alpha1.AttemptsExhaustedReason)
		result.Message = fmt.Sprintf("gave up after %d attempts: %s", c.Attempts, result.Message)
	case w.counted:
		result.Status, result.Reason = store.StatusPending, v1alpha1.RetryScheduledReason
		result.Delay = max(w.delay, r.Backoff.Delay(c.Attempts, w.retryAfter))
		result.Message = fmt.Sprintf("attempt %d of %d failed: %s", c.Attempts, r.Backoff.MaxAttempts, result.Message)
	default:
		result.Status, result.Attempts = store.StatusPending, c.Attempts-1
		result.Message += "; this attempt does not count"
		result.Reason, result.Delay, result.HeldBy = v1alpha1.DestinationUnavailableReason, w.delay, w.heldBy
		switch {
		case w.delay == 0 && len(w.limits) > 0:
			// The Releaser makes the event due when a slot is free. The delay applies if no Releaser does.
			result.Reason, result.Delay, result.HeldBy = v1alpha1.WaitingForCapacityReason, spread(r.Backoff.Max), w.limits
		case len(w.heldBy) > 0 && !w.paused:
			result.HeldBy = append(w.heldBy, w.limits...)
		}
	}
}

// retryWait is what an event waits for after a failed attempt.
type retryWait struct {
	// counted is true if the attempt counts.
	counted bool
	// delay is the longest wait for a destination that is down or asked for a pause.
	delay time.Duration
	// retryAfter is the longest delay that a destination asked for.
	retryAfter time.Duration
	// heldBy has the destinations that are down, and limits the concurrency limits that are reached.
	heldBy, limits []string
	// paused is true if a destination asked for a pause.
	paused bool
}

func waitFor(c *store.Attempt, retried []operationResult) retryWait {
	var w retryWait
	forwardPending := slices.ContainsFunc(retried, func(o operationResult) bool { return o.spec.Condition == v1alpha1.ForwardedCondition })
	for _, o := range retried {
		w.retryAfter = max(w.retryAfter, destination.RetryAfterOf(o.Err))
		switch {
		case o.limit() != "":
			w.limits = append(w.limits, o.limit())
		case o.Wait > 0:
			// At least the whole wait: the destination is known not to answer before.
			w.delay = max(w.delay, wait.Jitter(o.Wait, 0.5))
			w.counted = w.counted || waitsTooLong(c, o.Err)
			if destination.ClassOf(o.Err) == destination.Limited {
				w.paused = true // A pause ends by itself, at a known time.
			} else {
				w.heldBy = append(w.heldBy, destination.NameOf(o.Err))
			}
		case o.NotYet && forwardPending:
			// The sync waits for the forward. The forward's own failure decides whether the attempt counts.
		default:
			w.counted = true
		}
	}
	return w
}

// maxLocationWait is the age of an event from which attempts that wait for a location of GoHighLevel count. A webhook can name any
// location, including one whose token is never renewed, and later events of its entity wait for it.
const maxLocationWait = 7 * 24 * time.Hour

// waitsTooLong reports whether the event is older than maxLocationWait and err is the failure of a location. A requested pause ends by
// itself, so it does not count.
func waitsTooLong(c *store.Attempt, err error) bool {
	name := destination.NameOf(err)
	return (name == "ghl" || strings.HasPrefix(name, "ghl:")) && destination.ClassOf(err) != destination.Limited &&
		c.At(time.Now()).Sub(c.ReceivedAt) > maxLocationWait
}
