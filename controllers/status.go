package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// maxMessage is the maximum length of a condition's message, in characters. The ledger has the whole message.
const maxMessage = 1024

const forwardedMessage = "Verity accepted the webhook"

// showProcessing writes that an attempt is in progress.
func (r *WebhookEventReconciler) showProcessing(ctx context.Context, s *scope) error {
	return r.updateStatus(ctx, s, func(st *v1alpha1.WebhookEventStatus) {
		if st.Phase.Finished() {
			return // Another leader has finished the event since the claim.
		}
		st.Phase = v1alpha1.PhaseProcessing
		st.Attempts = s.claimed.Attempts
		st.NextAttemptTime = nil
		st.CompletionTime = nil
		st.StartTime = microTime(&s.claimed.StartedAt)
		setCondition(st, s.object.Generation, v1alpha1.ReadyCondition, metav1.ConditionFalse, v1alpha1.ProcessingReason,
			fmt.Sprintf("attempt %d is in progress", s.claimed.Attempts))
		showProgress(st, s.object.Generation)
	})
}

// showResult writes the result of an attempt.
func (r *WebhookEventReconciler) showResult(
	ctx context.Context, s *scope, plan operation.Plan, result store.AttemptResult, row store.RecordedResult, results []operationResult,
) error {
	return r.updateStatus(ctx, s, func(st *v1alpha1.WebhookEventStatus) {
		showForwarded(st, s.object.Generation, s.claimed, plan, results) // The message of Ready depends on it.
		showState(st, s.object.Generation, store.EventState{
			ID: s.id, Status: row.Status, Attempts: row.Attempts, Reason: result.Reason, Message: result.Message, Result: result.Result,
			VerityContactID: result.VerityContactID, NextAttemptAt: row.NextAttemptAt, ProcessedAt: row.ProcessedAt,
			StartedAt: &s.claimed.StartedAt, ReplayRequest: st.LastHandledReplay,
		})
		showSynced(st, s.object.Generation, plan, results)
		showSent(st, s.object.Generation, plan, results)
	})
}

// showRow writes where the row stands.
func (r *WebhookEventReconciler) showRow(ctx context.Context, s *scope, state store.EventState) error {
	return r.updateStatus(ctx, s, func(st *v1alpha1.WebhookEventStatus) {
		if slices.Contains(state.Succeeded, store.OperationForward) {
			setCondition(st, s.object.Generation, v1alpha1.ForwardedCondition, metav1.ConditionTrue, v1alpha1.ForwardedReason,
				forwardedMessage)
		}
		showState(st, s.object.Generation, state)
	})
}

// updateStatus writes the status that change makes, if it differs. The write is optimistic. After a conflict it is repeated once, on the
// object that the API server has now. If the API server refuses the status as invalid, the write is repeated once without the previous
// content of the status.
func (r *WebhookEventReconciler) updateStatus(ctx context.Context, s *scope, change func(*v1alpha1.WebhookEventStatus)) error {
	err := r.write(ctx, s, change)
	if apierrors.IsConflict(err) {
		live := &v1alpha1.WebhookEvent{}
		if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(s.object), live); err != nil {
			return err
		}
		s.object = live
		err = r.write(ctx, s, change)
	}
	if apierrors.IsInvalid(err) {
		err = r.write(ctx, s, func(st *v1alpha1.WebhookEventStatus) {
			*st = v1alpha1.WebhookEventStatus{
				Phase: st.Phase, ObservedGeneration: st.ObservedGeneration, LastHandledReplay: st.LastHandledReplay,
			}
			change(st)
		})
	}
	if apierrors.IsInvalid(err) {
		s.refused = true
		r.reportStatusRefused(ctx, s, err)
		return nil
	}
	return err
}

func (r *WebhookEventReconciler) write(ctx context.Context, s *scope, change func(*v1alpha1.WebhookEventStatus)) error {
	object := s.object.DeepCopy()
	object.Status.ObservedGeneration = object.Generation
	change(&object.Status)
	slices.SortFunc(object.Status.Conditions, func(a, b metav1.Condition) int { return conditionOrder[a.Type] - conditionOrder[b.Type] })
	if equality.Semantic.DeepEqual(object.Status, s.object.Status) {
		return nil
	}
	if err := r.Client.Status().Update(ctx, object); err != nil {
		return err
	}
	s.object = object
	return nil
}

// phaseOf returns the phase of a row's status.
func phaseOf(status store.Status) v1alpha1.WebhookEventPhase {
	switch status {
	case store.StatusDone:
		return v1alpha1.PhaseDone
	case store.StatusError:
		return v1alpha1.PhaseError
	default:
		return v1alpha1.PhasePending // Only an attempt sets Processing.
	}
}

// showState sets the fields and the condition Ready from a row.
func showState(st *v1alpha1.WebhookEventStatus, generation int64, state store.EventState) {
	st.Phase = phaseOf(state.Status)
	st.Attempts = state.Attempts
	st.NextAttemptTime = nil
	st.CompletionTime = nil
	if state.StartedAt != nil {
		st.StartTime = microTime(state.StartedAt)
	}
	if state.Result != "" {
		st.Result = state.Result
	}
	if state.VerityContactID != "" {
		st.VerityContactID = event.Visible(state.VerityContactID)
	}
	if st.LastHandledReplay != state.ReplayRequest {
		meta.RemoveStatusCondition(&st.Conditions, v1alpha1.ReplayRefusedCondition) // It is about another request.
	}
	st.LastHandledReplay = state.ReplayRequest
	switch {
	case state.Status.Finished():
		st.CompletionTime = microTime(state.ProcessedAt)
	case !state.Suspended && state.WaitsFor == "" && state.NextAttemptAt != nil:
		next := metav1.NewTime(state.NextAttemptAt.UTC())
		st.NextAttemptTime = &next
	}
	status, reason, message := readiness(st, state)
	setCondition(st, generation, v1alpha1.ReadyCondition, status, reason, message)
	showProgress(st, generation)
}

// readiness returns the status, the reason and the message of the condition Ready.
func readiness(st *v1alpha1.WebhookEventStatus, state store.EventState) (status metav1.ConditionStatus, reason, message string) {
	switch {
	case state.Status == store.StatusDone:
		return metav1.ConditionTrue, v1alpha1.DoneReason, doneMessage(st)
	case state.Status == store.StatusError:
		return metav1.ConditionFalse, cmp.Or(state.Reason, v1alpha1.RejectedReason), errorMessage(state)
	case state.Suspended:
		return metav1.ConditionFalse, v1alpha1.SuspendedReason, "suspended by spec.suspend; set it to false to resume"
	case state.WaitsFor != "":
		return metav1.ConditionFalse, v1alpha1.WaitingForOlderEventReason,
			fmt.Sprintf("waits until the older event %s of the same entity is finished", state.WaitsFor)
	case st.NextAttemptTime != nil:
		when := "next attempt at"
		if state.Reason == v1alpha1.WaitingForCapacityReason {
			when = "next attempt when a slot is free, at the latest at"
		}
		return metav1.ConditionFalse, cmp.Or(state.Reason, v1alpha1.RetryScheduledReason),
			fmt.Sprintf("%s; %s %s", state.Message, when, st.NextAttemptTime.Format(time.RFC3339))
	default:
		return metav1.ConditionFalse, v1alpha1.QueuedReason, "an attempt is due and starts when a worker is free"
	}
}

// doneMessage is the message of a done event. It says that the event was forwarded only if the condition Forwarded says so, too: Verity's
// webhook may not be configured.
func doneMessage(st *v1alpha1.WebhookEventStatus) string {
	switch st.Result {
	case v1alpha1.ResultSentOnly:
		return "sent to the webhook sink; nothing else is configured"
	case v1alpha1.ResultStoredOnly:
		return "stored; there is nothing to forward or to sync"
	}
	message := syncedMessage(st.Result)
	forwarded := meta.FindStatusCondition(st.Conditions, v1alpha1.ForwardedCondition)
	if forwarded == nil || forwarded.Status != metav1.ConditionTrue || forwarded.Reason == v1alpha1.ForwardNotConfiguredReason {
		return message
	}
	return "forwarded; " + message
}

func syncedMessage(result string) string {
	switch result {
	case v1alpha1.ResultLeadUpdated:
		return "the contact's lead points at the live appointment that was booked last"
	case v1alpha1.ResultLeadInserted:
		return "the contact has a new lead that points at the appointment"
	case v1alpha1.ResultLeadCleared:
		return "the contact has no live appointment left, so its lead points at none"
	case v1alpha1.ResultLeadUnchanged:
		return "the contact's lead was already up to date"
	case v1alpha1.ResultLeadNotInsertable:
		return "the contact has no lead and none can be inserted; see the condition Synced"
	case v1alpha1.ResultLeadSkipped:
		return "the appointment has no contact; see the condition Synced"
	case v1alpha1.ResultSuperseded:
		return "a newer change was already applied, so nothing was written"
	case v1alpha1.ResultContactSynced:
		return "Aloware has the contact"
	case v1alpha1.ResultContactSkipped:
		return "the contact was not sent to Aloware; see the condition Synced"
	default:
		return "events of this type are not synced"
	}
}

func errorMessage(state store.EventState) string {
	message := cmp.Or(state.Message, "the event ended in Error, and its row has no message")
	switch state.Reason {
	case v1alpha1.RowNotFoundReason, v1alpha1.RowLostReason, v1alpha1.ErasedReason:
		return message
	case v1alpha1.UnparseableReason:
		return message + fmt.Sprintf("; it is stored but not forwarded, and a replay fails the same way. Fix the merge field in the "+
			"workflow, correct the body and send it again. To read the body: "+
			"SELECT encode(payload_raw, 'escape') FROM webhook_events WHERE id = '%s'", state.ID)
	default:
		return message + "; no further attempt is made. Fix the cause, then replay the event with the annotation " +
			v1alpha1.ReplayRequestedAtAnnotation
	}
}

// showForwarded sets the condition Forwarded.
func showForwarded(st *v1alpha1.WebhookEventStatus, generation int64, c *store.Attempt, plan operation.Plan, results []operationResult) {
	set := func(status metav1.ConditionStatus, reason, message string) {
		setCondition(st, generation, v1alpha1.ForwardedCondition, status, reason, message)
	}
	switch {
	case plan.Unparseable != "":
		set(metav1.ConditionFalse, v1alpha1.UnparseableReason, "not forwarded: "+plan.Unparseable)
		return
	case !plan.Has(v1alpha1.ForwardedCondition) && !c.Forward:
		set(metav1.ConditionTrue, plan.NoForward, "the legacy middleware forwarded the webhook")
		return
	case !plan.Has(v1alpha1.ForwardedCondition):
		set(metav1.ConditionTrue, plan.NoForward, "not forwarded: VERITY_BASE_URL is not set")
		return
	}
	for _, o := range results {
		switch {
		case o.spec.Condition != v1alpha1.ForwardedCondition:
		case o.failed():
			set(metav1.ConditionFalse, v1alpha1.ForwardFailedReason, o.Err.Error())
		default:
			set(metav1.ConditionTrue, v1alpha1.ForwardedReason, forwardedMessage)
		}
	}
}

// showSynced sets the condition Synced. If an operation failed, it shows the first failure.
func showSynced(st *v1alpha1.WebhookEventStatus, generation int64, plan operation.Plan, results []operationResult) {
	set := func(status metav1.ConditionStatus, reason, message string) {
		setCondition(st, generation, v1alpha1.SyncedCondition, status, reason, message)
	}
	switch {
	case plan.Unparseable != "":
		set(metav1.ConditionFalse, v1alpha1.UnparseableReason, "not synced: "+plan.Unparseable)
		return
	case !plan.Has(v1alpha1.SyncedCondition):
		set(metav1.ConditionTrue, v1alpha1.SyncSkippedReason, plan.NoSync)
		return
	}
	skipped, note := "", "see status.result"
	for _, o := range results {
		switch {
		case o.spec.Condition != v1alpha1.SyncedCondition:
		case o.limit() != "":
			set(metav1.ConditionFalse, v1alpha1.WaitingForCapacityReason, o.Err.Error())
			return
		case o.failed():
			set(metav1.ConditionFalse, cmp.Or(o.Reason, v1alpha1.SyncFailedReason), o.Err.Error())
			return
		case o.Skipped != "" && skipped == "":
			skipped = o.Skipped
		case o.Note != "":
			note = o.Note
		}
	}
	if skipped != "" {
		set(metav1.ConditionTrue, v1alpha1.SyncSkippedReason, skipped)
		return
	}
	set(metav1.ConditionTrue, v1alpha1.SyncedReason, note)
}

// showSent sets the condition Sent.
func showSent(st *v1alpha1.WebhookEventStatus, generation int64, plan operation.Plan, results []operationResult) {
	if !plan.Has(v1alpha1.SentCondition) {
		return // An earlier run may have sent it.
	}
	for _, o := range results {
		if o.spec.Condition != v1alpha1.SentCondition {
			continue
		}
		status, reason, message := metav1.ConditionTrue, v1alpha1.SentReason, "the webhook sink has the event"
		if o.failed() {
			status, reason, message = metav1.ConditionFalse, cmp.Or(o.Reason, v1alpha1.SendFailedReason), o.Err.Error()
		}
		if o.limit() != "" {
			reason = v1alpha1.WaitingForCapacityReason
		}
		setCondition(st, generation, v1alpha1.SentCondition, status, reason, message)
	}
}

// showProgress sets the conditions of kstatus: Reconciling while the event is in progress, and Stalled while it is in Error.
func showProgress(st *v1alpha1.WebhookEventStatus, generation int64) {
	ready := meta.FindStatusCondition(st.Conditions, v1alpha1.ReadyCondition)
	for conditionType, is := range map[string]bool{
		v1alpha1.ReconcilingCondition: !st.Phase.Finished() && ready.Reason != v1alpha1.SuspendedReason,
		v1alpha1.StalledCondition:     st.Phase == v1alpha1.PhaseError,
	} {
		if is {
			setCondition(st, generation, conditionType, metav1.ConditionTrue, ready.Reason, ready.Message)
		} else {
			meta.RemoveStatusCondition(&st.Conditions, conditionType)
		}
	}
}

// conditionOrder is the order of the conditions in the status.
var conditionOrder = map[string]int{
	v1alpha1.ReadyCondition: 0, v1alpha1.ForwardedCondition: 1, v1alpha1.SyncedCondition: 2,
	v1alpha1.SentCondition: 3, v1alpha1.ReconcilingCondition: 4, v1alpha1.StalledCondition: 5, v1alpha1.ReplayRefusedCondition: 6,
}

func setCondition(st *v1alpha1.WebhookEventStatus, generation int64, conditionType string, status metav1.ConditionStatus,
	reason, message string,
) {
	message = event.Visible(message)
	if characters := []rune(message); len(characters) > maxMessage {
		message = string(characters[:maxMessage]) + "…"
	}
	meta.SetStatusCondition(&st.Conditions, metav1.Condition{
		Type: conditionType, Status: status, Reason: reason, Message: message, ObservedGeneration: generation,
	})
}

func microTime(t *time.Time) *metav1.MicroTime {
	if t == nil || t.IsZero() {
		return nil
	}
	m := metav1.NewMicroTime(t.UTC().Truncate(time.Microsecond))
	return &m
}
