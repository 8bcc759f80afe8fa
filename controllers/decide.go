package controllers

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// decide returns the result of an attempt: done, in error, or pending until the next attempt.
//
// A refusal ends the event only after the other operation has succeeded or was refused, too. An attempt counts if an operation failed for a
// reason that may be specific to this event. Failures caused by an open breaker or a 429 do not count; nor does a sync that still waits for
// the forward.
func (r *WebhookEventReconciler) decide(c *store.Attempt, plan operation.Plan, results []operationResult) store.AttemptResult {
	result := store.AttemptResult{Attempts: c.Attempts, Result: c.Result, Ledger: ledgerOf(results)}
	if plan.Unparseable != "" {
		result.Status, result.Reason, result.Message = store.StatusError, v1alpha1.UnparseableReason, plan.Unparseable
		return result
	}
	var refused, retried []operationResult
	for _, o := range results {
		if o.VerityContactID != "" {
			result.VerityContactID = o.VerityContactID
		}
		switch {
		case o.permanent():
			refused = append(refused, o)
		case o.failed():
			retried = append(retried, o)
		case o.Result != "":
			result.Result = o.Result
		}
	}
	switch {
	case len(retried) > 0:
		r.scheduleRetry(&result, c, refused, retried)
	case len(refused) > 0:
		result.Status, result.Message = store.StatusError, joined(refused)
		result.Reason = cmp.Or(refused[0].Reason, v1alpha1.RejectedReason)
	default:
		result.Status, result.Reason = store.StatusDone, v1alpha1.DoneReason
		if result.Result == "" {
			result.Result = resultOf(plan)
		}
	}
	return result
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

// resultOf is the result of an event whose operations returned none.
func resultOf(plan operation.Plan) string {
	switch {
	case plan.Has(v1alpha1.ForwardedCondition):
		return v1alpha1.ResultForwardedOnly
	case plan.Has(v1alpha1.SentCondition):
		return v1alpha1.ResultSentOnly
	default:
		return v1alpha1.ResultStoredOnly
	}
}

func joined(failures []operationResult) string {
	messages := make([]string, len(failures))
	for i, o := range failures {
		messages[i] = o.Err.Error()
	}
	return strings.Join(messages, "; ")
}

// ledgerOf returns an entry for each operation that ran in the attempt.
func ledgerOf(results []operationResult) []store.LedgerEntry {
	var entries []store.LedgerEntry
	for _, o := range results {
		if o.alreadyDone || o.limit() != "" {
			continue // It did not run.
		}
		entry := store.LedgerEntry{
			Operation: o.spec.Name, Direction: o.spec.Direction, Status: store.LedgerSuccess, TargetID: o.TargetID,
			Details: map[string]any{}, StartedAt: o.started, FinishedAt: o.finished,
		}
		maps.Copy(entry.Details, o.Details)
		switch {
		case o.failed():
			entry.Status, entry.Message = store.LedgerError, o.Err.Error()
			entry.Details["class"] = destination.ClassOf(o.Err).String()
			if o.Reason != "" {
				entry.Details["reason"] = o.Reason
			}
		case o.Skipped != "":
			entry.Status, entry.Message = store.LedgerSkipped, o.Skipped
		}
		if o.Result != "" {
			entry.Details["result"] = o.Result
		}
		entries = append(entries, entry)
	}
	return entries
}
