package controllers

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// decide says how an attempt ends: done, another attempt, or in error.
//
// A refusal ends the event, but not before the other operation has had its chance. An attempt counts if something failed
// that may fail for this event alone; what a destination that is down, or asked for a pause, made fail is given back, and
// so is a sync that waits for what the forward leads to.
func (r *WebhookEventReconciler) decide(c *store.Attempt, plan Plan, results []done) store.AttemptResult {
	f := store.AttemptResult{Attempts: c.Attempts, Result: c.Result, Ledger: ledgerOf(results)}
	if plan.Unparseable != "" {
		f.Status, f.Reason, f.Message = store.StatusError, v1alpha1.UnparseableReason, plan.Unparseable
		return f
	}
	var refused, retry []done
	forwardPending := false
	for _, d := range results {
		if d.VerityContactID != "" {
			f.VerityContactID = d.VerityContactID
		}
		switch {
		case !d.failed():
			if d.Result != "" {
				f.Result = d.Result
			}
		case d.permanent():
			refused = append(refused, d)
		default:
			retry = append(retry, d)
			forwardPending = forwardPending || d.name == store.OperationForward
		}
	}
	if len(retry) == 0 && len(refused) == 0 {
		f.Status, f.Reason = store.StatusDone, v1alpha1.DoneReason
		if f.Result == "" {
			f.Result = resultOf(plan)
		}
		return f
	}
	if len(retry) == 0 {
		f.Status, f.Message = store.StatusError, joined(refused)
		f.Reason = orReason(refused[0].Reason, v1alpha1.RejectedReason)
		return f
	}
	r.scheduleRetry(&f, c, refused, retry, forwardPending)
	return f
}

func (r *WebhookEventReconciler) scheduleRetry(f *store.AttemptResult, c *store.Attempt, refused, retry []done, forwardPending bool) {
	counted := false
	var delay, retryAfter time.Duration
	var heldBy, places []string
	paused := false
	for _, d := range retry {
		retryAfter = max(retryAfter, destination.RetryAfterOf(d.Err))
		switch {
		case d.waits() != "":
			places = append(places, d.waits())
		case d.Wait > 0:
			// The whole wait and a little more, never less: the destination is known not to answer before.
			delay = max(delay, d.Wait+time.Duration(rand.Float64()*float64(d.Wait)/2)) //nolint:gosec // Spreads load.
			counted = counted || waitsTooLong(c, d.Err)
			// A pause ends when it was said to end.
			if destination.ClassOf(d.Err) != destination.Limited {
				heldBy = append(heldBy, destination.NameOf(d.Err))
			} else {
				paused = true
			}
		case d.NotYet && forwardPending:
			// It waits for the forward, whose own failure says whether the attempt counts.
		default:
			counted = true
		}
	}
	f.Message = joined(append(refused, retry...))
	if counted && c.Attempts >= r.Backoff.MaxAttempts {
		f.Status = store.StatusError
		f.Reason = orReason(retry[0].Reason, v1alpha1.AttemptsExhaustedReason)
		f.Message = fmt.Sprintf("gave up after %d attempts: %s", c.Attempts, f.Message)
		return
	}
	f.Status = store.StatusPending
	if counted {
		f.Reason = v1alpha1.RetryScheduledReason
		f.Delay = max(delay, r.Backoff.Delay(c.Attempts, retryAfter))
		f.Message = fmt.Sprintf("attempt %d of %d failed: %s", c.Attempts, r.Backoff.MaxAttempts, f.Message)
		return
	}
	f.Reason, f.Delay = v1alpha1.DestinationUnavailableReason, delay
	switch {
	case delay == 0 && len(places) > 0:
		// The Releaser has it go on as soon as it is its turn; the delay is for the case that nobody does.
		f.Reason, f.Delay, f.HeldBy = v1alpha1.WaitingForCapacityReason, spread(r.Backoff.Max), places
	case len(heldBy) > 0 && !paused:
		f.HeldBy = append(heldBy, places...)
	default:
		f.HeldBy = heldBy
	}
	f.Attempts = c.Attempts - 1
	f.Message += "; the event waits, which uses up none of its attempts"
}

// maxLocationWait is how old an event becomes that waits for a location of GoHighLevel before its attempts count all the same. A webhook
// can name any location, also one whose token is never renewed, and the events of its entity wait behind it.
const maxLocationWait = 7 * 24 * time.Hour

// waitsTooLong reports whether an event has waited long enough for the location that err is of. A pause that was asked for ends by itself.
func waitsTooLong(c *store.Attempt, err error) bool {
	name := destination.NameOf(err)
	return (name == "ghl" || strings.HasPrefix(name, "ghl:")) && destination.ClassOf(err) != destination.Limited &&
		c.At(time.Now()).Sub(c.ReceivedAt) > maxLocationWait
}

func orReason(reason, otherwise string) string {
	if reason != "" {
		return reason
	}
	return otherwise
}

// resultOf is the result of an event for which everything that it asks for was found done.
func resultOf(plan Plan) string {
	if plan.Forward == nil {
		return v1alpha1.ResultStoredOnly
	}
	return v1alpha1.ResultForwardedOnly
}

func joined(failures []done) string {
	messages := make([]string, len(failures))
	for i, d := range failures {
		messages[i] = d.Err.Error()
	}
	return strings.Join(messages, "; ")
}

// ledgerOf returns what the ledger must know of an attempt: everything that was run in it.
func ledgerOf(results []done) []store.LedgerEntry {
	var entries []store.LedgerEntry
	for _, d := range results {
		if d.known || d.waits() != "" {
			continue // The ledger has it, or nothing was done.
		}
		entry := store.LedgerEntry{
			Operation: d.name, Direction: d.direction, Status: store.LedgerSuccess, TargetID: d.TargetID, Details: map[string]any{},
			StartedAt: d.started, FinishedAt: d.finished,
		}
		for k, v := range d.Details {
			entry.Details[k] = v
		}
		switch {
		case d.failed():
			entry.Status, entry.Message = store.LedgerError, d.Err.Error()
			entry.Details["class"] = destination.ClassOf(d.Err).String()
			if d.Reason != "" {
				entry.Details["reason"] = d.Reason
			}
		case d.Skipped != "":
			entry.Status, entry.Message = store.LedgerSkipped, d.Skipped
		}
		if d.Result != "" {
			entry.Details["result"] = d.Result
		}
		entries = append(entries, entry)
	}
	return entries
}
