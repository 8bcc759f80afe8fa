package controllers

import (
	"cmp"
	"maps"
	"strings"

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
