package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// maxMessage bounds a message in a condition, in characters; the ledger has the whole of it.
const maxMessage = 1024

const hasTheWebhook = "Verity has the webhook"

// showProcessing shows that an attempt is under way.
func (r *WebhookEventReconciler) showProcessing(ctx context.Context, s *scope) error {
	return r.update(ctx, s, func(st *v1alpha1.WebhookEventStatus) {
		if st.Phase.Finished() {
			return // Another leader has finished it since it was claimed.
		}
		st.Phase = v1alpha1.PhaseProcessing
		st.Attempts = s.claimed.Attempts
		st.NextAttemptTime = nil
		st.CompletionTime = nil
		st.StartTime = microTime(&s.claimed.StartedAt)
		condition(st, s.object.Generation, v1alpha1.ReadyCondition, metav1.ConditionFalse, v1alpha1.ProcessingReason,
			fmt.Sprintf("attempt %d is under way", s.claimed.Attempts))
		kstatus(st, s.object.Generation)
	})
}

// showOutcome shows how an attempt ended and says when to look at the event again. If the process dies before, the row
// says the same, and the next reconcile shows it.
func (r *WebhookEventReconciler) showOutcome(ctx context.Context, s *scope, plan Plan, f store.AttemptResult, row store.RecordedResult,
	results []done,
) (*ctrl.Result, error) {
	err := r.update(ctx, s, func(st *v1alpha1.WebhookEventStatus) {
		showState(st, s.object.Generation, store.EventState{
			ID: s.id, Status: row.Status, Attempts: row.Attempts, Reason: f.Reason, Message: f.Message, Result: f.Result,
			VerityContactID: f.VerityContactID, NextAttemptAt: row.NextAttemptAt, ProcessedAt: row.ProcessedAt,
			StartedAt: &s.claimed.StartedAt, ReplayRequest: st.LastHandledReplay,
		})
		showForwarded(st, s.object.Generation, s.claimed, plan, results)
		showSynced(st, s.object.Generation, plan, results)
	})
	if err != nil {
		return nil, err
	}
	failpoint.Hit(failpoint.OutcomeShown)
	if !row.Status.Finished() {
		return &ctrl.Result{RequeueAfter: max(f.Delay, time.Millisecond)}, nil
	}
	return r.expire(ctx, s)
}

// project shows where the row stands.
func (r *WebhookEventReconciler) project(ctx context.Context, s *scope, state store.EventState) error {
	return r.update(ctx, s, func(st *v1alpha1.WebhookEventStatus) {
		showState(st, s.object.Generation, state)
		if slices.Contains(state.Succeeded, store.OperationForward) {
			condition(st, s.object.Generation, v1alpha1.ForwardedCondition, metav1.ConditionTrue, v1alpha1.ForwardedReason,
				hasTheWebhook)
		}
	})
}

// update writes the status that change makes, if it differs. It is an optimistic write: one that is based on a stale read
// is refused, and made once more on what the API server has now. One that the API server refuses as invalid is made once more
// without what the status held before.
func (r *WebhookEventReconciler) update(ctx context.Context, s *scope, change func(*v1alpha1.WebhookEventStatus)) error {
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
		r.reportRefused(ctx, s, err)
		return nil
	}
	return err
}

func (r *WebhookEventReconciler) write(ctx context.Context, s *scope, change func(*v1alpha1.WebhookEventStatus)) error {
	object := s.object.DeepCopy()
	object.Status.ObservedGeneration = object.Generation
	change(&object.Status)
	slices.SortFunc(object.Status.Conditions, func(a, b metav1.Condition) int { return order[a.Type] - order[b.Type] })
	if equality.Semantic.DeepEqual(object.Status, s.object.Status) {
		return nil
	}
	if err := r.Client.Status().Update(ctx, object); err != nil {
		return err
	}
	s.object = object
	return nil
}

// showState shows a row in the fields and in the condition Ready.
func showState(st *v1alpha1.WebhookEventStatus, generation int64, state store.EventState) {
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
		meta.RemoveStatusCondition(&st.Conditions, v1alpha1.ReplayRefusedCondition) // It was about another request.
	}
	st.LastHandledReplay = state.ReplayRequest
	ready := func(status metav1.ConditionStatus, reason, message string) {
		condition(st, generation, v1alpha1.ReadyCondition, status, reason, message)
	}
	switch {
	case state.Status == store.StatusDone:
		st.Phase, st.CompletionTime = v1alpha1.PhaseDone, microTime(state.ProcessedAt)
		ready(metav1.ConditionTrue, v1alpha1.DoneReason, doneMessage(st.Result))
	case state.Status == store.StatusError:
		st.Phase, st.CompletionTime = v1alpha1.PhaseError, microTime(state.ProcessedAt)
		ready(metav1.ConditionFalse, orReason(state.Reason, v1alpha1.RejectedReason), errorMessage(state))
	case state.Suspended:
		st.Phase = v1alpha1.PhasePending
		ready(metav1.ConditionFalse, v1alpha1.SuspendedReason, "held back by spec.suspend; set it to false to go on")
	case state.WaitsFor != "":
		st.Phase = v1alpha1.PhasePending
		ready(metav1.ConditionFalse, v1alpha1.WaitingForOlderEventReason,
			fmt.Sprintf("goes on when the older event %s of the same entity is finished", state.WaitsFor))
	case state.NextAttemptAt != nil:
		st.Phase = v1alpha1.PhasePending
		next := metav1.NewTime(state.NextAttemptAt.UTC())
		st.NextAttemptTime = &next
		when := "next attempt at"
		if state.Reason == v1alpha1.WaitingForCapacityReason {
			when = "next attempt when its turn comes, at the latest at"
		}
		ready(metav1.ConditionFalse, orReason(state.Reason, v1alpha1.RetryScheduledReason),
			fmt.Sprintf("%s; %s %s", state.Message, when, next.Format(time.RFC3339)))
	default:
		st.Phase = v1alpha1.PhasePending
		ready(metav1.ConditionFalse, v1alpha1.QueuedReason, "an attempt is due")
	}
	kstatus(st, generation)
}

func doneMessage(result string) string {
	switch result {
	case v1alpha1.ResultLeadUpdated:
		return "forwarded; the contact's lead points at its latest live appointment"
	case v1alpha1.ResultLeadInserted:
		return "forwarded; the contact has a new lead that points at the appointment"
	case v1alpha1.ResultLeadCleared:
		return "forwarded; the contact has no live appointment left and its lead points at none"
	case v1alpha1.ResultLeadUnchanged:
		return "forwarded; the contact's lead says what it should already"
	case v1alpha1.ResultLeadNotInsertable:
		return "forwarded; the contact has no lead and none can be inserted, see the condition Synced"
	case v1alpha1.ResultLeadSkipped:
		return "forwarded; the appointment has no contact, see the condition Synced"
	case v1alpha1.ResultSuperseded:
		return "forwarded; something newer is known, so nothing was written"
	case v1alpha1.ResultContactSynced:
		return "forwarded; Aloware has the contact"
	case v1alpha1.ResultContactSkipped:
		return "forwarded; the contact was not sent to Aloware, see the condition Synced"
	case v1alpha1.ResultStoredOnly:
		return "stored; nothing else is configured to be done"
	default:
		return "forwarded; nothing else is done for events of this type"
	}
}

func errorMessage(state store.EventState) string {
	message := state.Message
	if message == "" {
		message = "ended in error, and the row does not say why"
	}
	switch state.Reason {
	case v1alpha1.RowNotFoundReason, v1alpha1.RowLostReason, v1alpha1.ErasedReason:
		return message
	case v1alpha1.UnparseableReason:
		return message + fmt.Sprintf("; it is stored and not forwarded, and a replay ends in the same way. Fix the merge field in the "+
			"workflow. The body: SELECT encode(payload_raw, 'escape') FROM webhook_events WHERE id = '%s'; send it again once it is "+
			"corrected", state.ID)
	}
	return message + "; nothing more happens by itself: mend the cause, then replay the event with the annotation " +
		v1alpha1.ReplayRequestedAtAnnotation
}

// showForwarded says whether Verity has the webhook.
func showForwarded(st *v1alpha1.WebhookEventStatus, generation int64, c *store.Attempt, plan Plan, results []done) {
	set := func(status metav1.ConditionStatus, reason, message string) {
		condition(st, generation, v1alpha1.ForwardedCondition, status, reason, message)
	}
	if plan.Unparseable != "" {
		set(metav1.ConditionFalse, v1alpha1.UnparseableReason, "not forwarded: "+plan.Unparseable)
		return
	}
	if plan.Forward == nil {
		message := "VERITY_BASE_URL is not set: there is nowhere to forward to"
		if !c.Forward {
			message = "the earlier middleware forwarded it when it came in"
		}
		set(metav1.ConditionTrue, plan.NoForward, message)
		return
	}
	for _, d := range results {
		switch {
		case d.name != store.OperationForward:
		case d.failed():
			set(metav1.ConditionFalse, v1alpha1.ForwardFailedReason, d.Err.Error())
		default:
			set(metav1.ConditionTrue, v1alpha1.ForwardedReason, hasTheWebhook)
		}
	}
}

// showSynced says whether the event is reflected where its entity lives. The first failure speaks for all.
func showSynced(st *v1alpha1.WebhookEventStatus, generation int64, plan Plan, results []done) {
	set := func(status metav1.ConditionStatus, reason, message string) {
		condition(st, generation, v1alpha1.SyncedCondition, status, reason, message)
	}
	if plan.Unparseable != "" {
		set(metav1.ConditionFalse, v1alpha1.UnparseableReason, "not synced: "+plan.Unparseable)
		return
	}
	if len(plan.Syncs) == 0 {
		set(metav1.ConditionTrue, v1alpha1.SyncSkippedReason, plan.NoSync)
		return
	}
	skipped, note := "", "see status.result"
	for _, d := range results {
		switch {
		case d.name == store.OperationForward:
		case d.waits() != "":
			set(metav1.ConditionFalse, v1alpha1.WaitingForCapacityReason, d.Err.Error())
			return
		case d.failed():
			set(metav1.ConditionFalse, orReason(d.Reason, v1alpha1.SyncFailedReason), d.Err.Error())
			return
		case d.Skipped != "" && skipped == "":
			skipped = d.Skipped
		case d.Note != "":
			note = d.Note
		}
	}
	if skipped != "" {
		set(metav1.ConditionTrue, v1alpha1.SyncSkippedReason, skipped)
		return
	}
	set(metav1.ConditionTrue, v1alpha1.SyncedReason, note)
}

// kstatus keeps Reconciling while the event is on its way and Stalled while it needs a person.
func kstatus(st *v1alpha1.WebhookEventStatus, generation int64) {
	ready := meta.FindStatusCondition(st.Conditions, v1alpha1.ReadyCondition)
	for conditionType, is := range map[string]bool{
		v1alpha1.ReconcilingCondition: !st.Phase.Finished() && ready.Reason != v1alpha1.SuspendedReason,
		v1alpha1.StalledCondition:     st.Phase == v1alpha1.PhaseError,
	} {
		if is {
			condition(st, generation, conditionType, metav1.ConditionTrue, ready.Reason, ready.Message)
		} else {
			meta.RemoveStatusCondition(&st.Conditions, conditionType)
		}
	}
}

// order is the order in which conditions are shown.
var order = map[string]int{
	v1alpha1.ReadyCondition: 0, v1alpha1.ForwardedCondition: 1, v1alpha1.SyncedCondition: 2,
	v1alpha1.ReconcilingCondition: 3, v1alpha1.StalledCondition: 4, v1alpha1.ReplayRefusedCondition: 5,
}

func condition(st *v1alpha1.WebhookEventStatus, generation int64, conditionType string, status metav1.ConditionStatus,
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
