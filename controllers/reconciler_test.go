package controllers_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

func readyReason(e *v1alpha1.WebhookEvent) string {
	if c := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition); c != nil {
		return c.Reason
	}
	return ""
}

func TestAnEventGoesFromPendingThroughProcessingToDone(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	release := make(chan struct{})
	s.forward.script(func(int, *store.Attempt) operation.Outcome { <-release; return operation.Outcome{} })
	s.sync.script(func(int, *store.Attempt) operation.Outcome {
		return operation.Outcome{Result: v1alpha1.ResultLeadUpdated, VerityContactID: "42", TargetID: "lead7", Details: map[string]any{"matchedBy": "phone"}}
	})
	id := s.post("apt1")

	e := s.untilPhase(id, v1alpha1.PhaseProcessing)
	assert.Equal(t, "processing", value[string](s, `SELECT status FROM webhook_events WHERE id = $1`, id), "the row is claimed first")
	assert.Equal(t, v1alpha1.ProcessingReason, readyReason(e))
	close(release)
	e = s.untilPhase(id, v1alpha1.PhaseDone)

	assert.EqualValues(t, 1, e.Status.Attempts)
	assert.Equal(t, v1alpha1.ResultLeadUpdated, e.Status.Result)
	assert.Equal(t, "42", e.Status.VerityContactID)
	assert.NotNil(t, e.Status.StartTime)
	assert.NotNil(t, e.Status.CompletionTime)
	assert.Nil(t, e.Status.NextAttemptTime)
	var conditions []string
	for _, c := range e.Status.Conditions {
		conditions = append(conditions, c.Type+"="+string(c.Status)+"/"+c.Reason)
	}
	assert.Equal(t, []string{"Ready=True/Done", "Forwarded=True/Forwarded", "Synced=True/Synced"}, conditions)
	assert.Equal(t, map[string]string{
		v1alpha1.SourceLabel: "ghl", v1alpha1.EventTypeLabel: "appointment.created", v1alpha1.EntityTypeLabel: "appointment",
		v1alpha1.LocationLabel: "loc1", v1alpha1.InstallationLabel: value[string](s, `SELECT id::text FROM verity_sync_installation`),
	}, e.Labels)
	assert.Equal(t, "done", value[string](s, `SELECT status FROM webhook_events WHERE id = $1`, id))
	assert.EqualValues(t, 2, value[int64](s, `SELECT count(*) FROM sync_log WHERE webhook_event_id = $1 AND status = 'success'`, id))
	assert.Equal(t, "phone", value[string](s, `SELECT details ->> 'matchedBy' FROM sync_log WHERE operation = 'verity.lead'`))
}

func TestAFailedOperationIsTriedAgainAndASucceededOneIsNot(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.forward.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call < 3 {
			return failing(destination.Transient, "answered 503")
		}
		return operation.Outcome{}
	})
	id := s.post("apt1")
	e := s.untilPhase(id, v1alpha1.PhaseDone)
	assert.EqualValues(t, 3, e.Status.Attempts)
	assert.Equal(t, 3, s.forward.calls(id))
	assert.Equal(t, 1, s.sync.calls(id), "the sync is in the ledger after the first attempt, although the forward failed")
	assert.Equal(t, v1alpha1.ResultLeadUpdated, e.Status.Result, "the result of the earlier attempt is kept")
	assert.EqualValues(t, 2, value[int64](s, `SELECT count(*) FROM sync_log WHERE operation = 'verity.forward' AND status = 'error'`))
}

func TestAnEventEndsInErrorWhenItsAttemptsAreSpent(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.forward.script(func(int, *store.Attempt) operation.Outcome { return failing(destination.Transient, "answered 503") })
	id := s.post("apt1")
	e := s.untilPhase(id, v1alpha1.PhaseError)
	assert.EqualValues(t, 4, e.Status.Attempts)
	assert.Equal(t, 4, s.forward.calls(id))
	ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition)
	assert.Equal(t, v1alpha1.AttemptsExhaustedReason, ready.Reason)
	assert.Contains(t, ready.Message, "verity-http: answered 503")
	assert.Contains(t, ready.Message, v1alpha1.ReplayRequestedAtAnnotation)
	assert.True(t, meta.IsStatusConditionTrue(e.Status.Conditions, v1alpha1.StalledCondition))
	assert.Nil(t, meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReconcilingCondition))
	assert.Equal(t, "error", value[string](s, `SELECT status FROM webhook_events WHERE id = $1`, id))
}

func TestARefusalEndsTheEventAtOnceButNotBeforeTheOtherOperationIsThrough(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.forward.script(func(int, *store.Attempt) operation.Outcome {
		o := failing(destination.Permanent, "answered 422")
		o.Reason = v1alpha1.InvalidPayloadReason
		return o
	})
	s.sync.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call == 1 {
			return failing(destination.Transient, "deadlock")
		}
		return operation.Done(v1alpha1.ResultLeadInserted)
	})
	id := s.post("apt1")
	e := s.untilPhase(id, v1alpha1.PhaseError)
	ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition)
	assert.Equal(t, v1alpha1.InvalidPayloadReason, ready.Reason, "as the refusal said, in an earlier attempt")
	assert.True(t, strings.HasPrefix(ready.Message, "verity-http: answered 422;"), ready.Message)
	assert.Equal(t, 1, s.forward.calls(id), "what was refused is not tried again")
	assert.Equal(t, 2, s.sync.calls(id))
	assert.Equal(t, v1alpha1.ResultLeadInserted, e.Status.Result)
	forwarded := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ForwardedCondition)
	assert.Equal(t, metav1.ConditionFalse, forwarded.Status)
	assert.True(t, meta.IsStatusConditionTrue(e.Status.Conditions, v1alpha1.SyncedCondition))
}

func TestAttemptsAreGivenBackWhileADestinationIsDown(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.forward.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call <= 10 {
			o := failing(destination.Unavailable, "does not answer")
			o.Wait = 10 * time.Millisecond
			return o
		}
		return operation.Outcome{}
	})
	id := s.post("apt1")
	e := s.untilPhase(id, v1alpha1.PhaseDone)
	assert.EqualValues(t, 1, e.Status.Attempts)
	assert.Equal(t, 11, s.forward.calls(id), "more often than attempts are allowed")
}

func TestASyncThatWaitsForTheForwardCountsOnlyOnceThatHasSucceeded(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.forward.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call <= 6 {
			o := failing(destination.Unavailable, "does not answer")
			o.Wait = time.Millisecond
			return o
		}
		return operation.Outcome{}
	})
	s.sync.script(func(int, *store.Attempt) operation.Outcome {
		o := failing(destination.Transient, "no contact yet")
		o.NotYet, o.Reason = true, v1alpha1.ContactNotFoundReason
		return o
	})
	id := s.post("apt1")
	e := s.untilPhase(id, v1alpha1.PhaseError)
	assert.Equal(t, v1alpha1.ContactNotFoundReason, readyReason(e))
	assert.EqualValues(t, 4, e.Status.Attempts)
	assert.Equal(t, 6+4, s.sync.calls(id))
}

func TestEventsOfAnEntityAreDoneOneAfterTheOther(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(s *settings) { s.recheck = time.Hour })
	release := make(chan struct{})
	var first uuid.UUID
	ready := make(chan struct{})
	s.forward.script(func(_ int, e *store.Attempt) operation.Outcome {
		<-ready
		if e.ID == first {
			<-release
			return failing(destination.Permanent, "answered 422")
		}
		return operation.Outcome{}
	})
	first = s.post("apt1")
	close(ready)
	second, third, other := s.post("apt1"), s.post("apt1"), s.post("apt2")

	s.untilPhase(other, v1alpha1.PhaseDone)
	waiting := s.untilReason(second, v1alpha1.WaitingForOlderEventReason)
	s.untilReason(third, v1alpha1.WaitingForOlderEventReason)
	assert.Contains(t, meta.FindStatusCondition(waiting.Status.Conditions, v1alpha1.ReadyCondition).Message, first.String())
	assert.EqualValues(t, 0, waiting.Status.Attempts)
	assert.Zero(t, s.forward.calls(second))
	close(release)

	s.untilPhase(first, v1alpha1.PhaseError)
	// They are woken: the recheck is an hour away.
	a, b := s.untilPhase(second, v1alpha1.PhaseDone), s.untilPhase(third, v1alpha1.PhaseDone)
	assert.False(t, b.Status.StartTime.Time.Before(a.Status.CompletionTime.Time), "the third begins when the second is finished")
}

func TestASuspendedEventIsHeldAndHoldsNobodyBack(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(set *settings) { set.paused = true })
	first, second := s.post("apt1"), s.post("apt1")
	s.until(first, "there", func(*v1alpha1.WebhookEvent) bool { return true })
	s.until(second, "there", func(*v1alpha1.WebhookEvent) bool { return true })
	s.change(first, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = true })
	s.start()

	s.untilReason(first, v1alpha1.SuspendedReason)
	s.untilPhase(second, v1alpha1.PhaseDone)
	assert.Zero(t, s.forward.calls(first))
	s.change(first, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = false })
	s.untilPhase(first, v1alpha1.PhaseDone)
}

func TestADeletedWebhookEventComesBackUnlessItIsFinished(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(set *settings) { set.backoff.Base, set.backoff.Max = time.Hour, time.Hour })
	s.forward.script(func(_ int, e *store.Attempt) operation.Outcome {
		if e.Event.EntityID == "stuck" {
			return failing(destination.Transient, "answered 503")
		}
		return operation.Outcome{}
	})
	stuck, fine := s.post("stuck"), s.post("fine")
	before := s.untilReason(stuck, v1alpha1.RetryScheduledReason)
	done := s.untilPhase(fine, v1alpha1.PhaseDone)

	require.NoError(t, s.client.Delete(t.Context(), done))
	require.NoError(t, s.client.Delete(t.Context(), before))
	after := s.until(stuck, "back and waiting", func(e *v1alpha1.WebhookEvent) bool {
		return e.UID != before.UID && readyReason(e) == v1alpha1.RetryScheduledReason
	})
	assert.EqualValues(t, 1, after.Status.Attempts, "it goes on where it was")
	assert.Equal(t, before.Status.NextAttemptTime, after.Status.NextAttemptTime)
	assert.Equal(t, 1, s.forward.calls(stuck))
	assert.Nil(t, s.get(fine))
	assert.Equal(t, 1, s.forward.calls(fine))
}

func TestAStatusWriteDoesNotCutTheBackoffShort(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(set *settings) { set.backoff.Base, set.backoff.Max = time.Hour, time.Hour })
	s.forward.script(func(int, *store.Attempt) operation.Outcome { return failing(destination.Transient, "answered 503") })
	id := s.post("apt1")
	e := s.untilReason(id, v1alpha1.RetryScheduledReason)
	assert.Greater(t, time.Until(e.Status.NextAttemptTime.Time), 40*time.Minute)
	// A user's edits wake the event; it goes back to waiting.
	for range 3 {
		s.change(id, func(e *v1alpha1.WebhookEvent) { metav1.SetMetaDataAnnotation(&e.ObjectMeta, "note", uuid.NewString()) })
	}
	other := s.post("apt2")
	s.untilReason(other, v1alpha1.RetryScheduledReason)
	assert.Equal(t, 1, s.forward.calls(id))
}

func TestAWebhookEventWithoutARowSaysSo(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	id := uuid.New()
	require.NoError(t, s.client.Create(t.Context(), &v1alpha1.WebhookEvent{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: v1alpha1.NameOf("ghl", id.String())},
		Spec: v1alpha1.WebhookEventSpec{
			EventID: id.String(), Source: "ghl", EventType: "contact.updated", EntityType: "contact", ReceivedAt: metav1.NowMicro(),
		},
	}))
	e := s.untilPhase(id, v1alpha1.PhaseError)
	assert.Equal(t, v1alpha1.RowNotFoundReason, readyReason(e))
	require.NoError(t, s.client.Delete(t.Context(), e))
	assert.True(t, eventually(func() bool { return s.get(id) == nil }))
}

func TestAFinishedEventIsReplayedOnce(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	broken := true
	s.sync.script(func(call int, _ *store.Attempt) operation.Outcome {
		if broken && call == 1 {
			return failing(destination.Permanent, "no such table")
		}
		return operation.Done(v1alpha1.ResultLeadUpdated)
	})
	id := s.post("apt1")
	s.untilPhase(id, v1alpha1.PhaseError)

	s.change(id, func(e *v1alpha1.WebhookEvent) {
		metav1.SetMetaDataAnnotation(&e.ObjectMeta, v1alpha1.ReplayRequestedAtAnnotation, "first")
	})
	e := s.until(id, "replayed", func(e *v1alpha1.WebhookEvent) bool {
		return e.Status.LastHandledReplay == "first" && e.Status.Phase == v1alpha1.PhaseDone
	})
	assert.EqualValues(t, 1, e.Status.Attempts, "attempts start over")
	assert.Equal(t, 1, s.forward.calls(id), "what the ledger has is not repeated")
	assert.Equal(t, 2, s.sync.calls(id))

	s.change(id, func(e *v1alpha1.WebhookEvent) {
		metav1.SetMetaDataAnnotation(&e.ObjectMeta, v1alpha1.ReplayRequestedAtAnnotation, "second")
		metav1.SetMetaDataAnnotation(&e.ObjectMeta, v1alpha1.ReplayFromAnnotation, v1alpha1.ReplayFromStart)
	})
	s.until(id, "replayed from the start", func(e *v1alpha1.WebhookEvent) bool {
		return e.Status.LastHandledReplay == "second" && e.Status.Phase == v1alpha1.PhaseDone
	})
	assert.Equal(t, 2, s.forward.calls(id))
	assert.Equal(t, 3, s.sync.calls(id))
	assert.EqualValues(t, 2, value[int32](s, `SELECT ledger_run FROM webhook_events WHERE id = $1`, id), "the run is part of the key")

	// The status is lost, the request is still there: the row knows that it was served.
	s.change(id, func(e *v1alpha1.WebhookEvent) { metav1.SetMetaDataAnnotation(&e.ObjectMeta, "note", "x") })
	after := s.get(id)
	before := after.DeepCopy()
	after.Status.LastHandledReplay = ""
	require.NoError(t, s.client.Status().Patch(t.Context(), after, client.MergeFrom(before)))
	s.change(id, func(e *v1alpha1.WebhookEvent) { metav1.SetMetaDataAnnotation(&e.ObjectMeta, "note", "y") })
	s.until(id, "shown as served", func(e *v1alpha1.WebhookEvent) bool { return e.Status.LastHandledReplay == "second" })
	assert.Equal(t, 2, s.forward.calls(id))
}

func TestALeaderThatWasReplacedRecordsNothing(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	entered, release := make(chan struct{}), make(chan struct{})
	s.forward.script(func(int, *store.Attempt) operation.Outcome {
		close(entered)
		<-release
		return failing(destination.Permanent, "answered 422")
	})
	id := s.post("apt1")
	<-entered
	_, err := s.db.AcquireTerm(t.Context(), "another")
	require.NoError(t, err)
	close(release)
	require.ErrorIs(t, <-s.fenced, store.ErrFenced)
	assert.Equal(t, "processing", value[string](s, `SELECT status FROM webhook_events WHERE id = $1`, id))
	assert.Zero(t, value[int64](s, `SELECT count(*) FROM sync_log`))
	s.stop()

	s.forward.script(nil)
	s.start()
	e := s.untilPhase(id, v1alpha1.PhaseDone)
	assert.EqualValues(t, 2, e.Status.Attempts, "the attempt that was lost is counted")
}

func TestHousekeepingKeepsTheNumberOfWebhookEventsBounded(t *testing.T) {
	t.Parallel()
	t.Run("finished ones go at their time", func(t *testing.T) {
		t.Parallel()
		s := newSuite(t, func(set *settings) { set.ttl = controllers.TTL{Done: time.Second, Error: time.Second} })
		id := s.post("apt1")
		require.True(t, eventually(func() bool { return s.forward.calls(id) == 1 && s.get(id) == nil }))
		assert.Equal(t, "done", value[string](s, `SELECT status FROM webhook_events WHERE id = $1`, id))
		assert.Equal(t, 1, s.forward.calls(id))
	})
	t.Run("of those beyond the limit, the oldest go", func(t *testing.T) {
		t.Parallel()
		s := newSuite(t, func(set *settings) { set.finishedLimit = 2 })
		var ids []uuid.UUID
		for range 5 {
			ids = append(ids, s.post(uuid.NewString()))
			require.True(t, eventually(func() bool {
				return value[string](s, `SELECT status FROM webhook_events WHERE id = $1`, ids[len(ids)-1]) == "done"
			}))
		}
		require.True(t, eventually(func() bool { return s.get(ids[2]) == nil }))
		assert.NotNil(t, s.get(ids[3]))
		assert.NotNil(t, s.get(ids[4]))
	})
	t.Run("waiting ones beyond the limit are parked, and come back when they are due", func(t *testing.T) {
		t.Parallel()
		s := newSuite(t, func(set *settings) {
			set.maxWaiting, set.backoff.Base, set.backoff.Max = 1, time.Hour, time.Hour
		})
		s.forward.script(func(int, *store.Attempt) operation.Outcome { return failing(destination.Transient, "answered 503") })
		a, b := s.post("a"), s.post("b")
		require.True(t, eventually(func() bool { return value[int64](s, `SELECT count(*) FROM webhook_events WHERE parked`) == 1 }))
		require.True(t, eventually(func() bool { return (s.get(a) == nil) != (s.get(b) == nil) }))
		parked := value[uuid.UUID](s, `SELECT id FROM webhook_events WHERE parked`)
		assert.Nil(t, s.get(parked))
		require.NoError(t, s.db.MarkDispatched(t.Context(), []store.EventMeta{{ID: parked}}), "the relay's mark may come as late as this")
		s.forward.script(nil)
		s.exec(`UPDATE webhook_events SET next_attempt_at = now() WHERE id = $1`, parked)
		s.untilPhase(parked, v1alpha1.PhaseDone)
	})
}

func TestAnAuditMendsWhatDoesNotAgree(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(set *settings) { set.paused, set.audit = true, 100*time.Millisecond })
	missing, reopened := s.post("apt1"), s.post("apt2")
	for _, id := range []uuid.UUID{missing, reopened} {
		s.until(id, "there", func(*v1alpha1.WebhookEvent) bool { return true })
		require.True(t, eventually(func() bool {
			return value[bool](s, `SELECT dispatched_at IS NOT NULL FROM webhook_events WHERE id = $1`, id)
		}))
	}
	require.NoError(t, s.client.Delete(t.Context(), s.get(missing)), "while there is no controller to see it")
	e := s.get(reopened)
	e.Status.Phase = v1alpha1.PhaseDone
	require.NoError(t, s.client.Status().Update(t.Context(), e), "somebody edits the status")
	s.start()
	for _, id := range []uuid.UUID{missing, reopened} {
		s.until(id, "done", func(e *v1alpha1.WebhookEvent) bool {
			return e.Status.Phase == v1alpha1.PhaseDone && readyReason(e) == v1alpha1.DoneReason
		})
		assert.Equal(t, 1, s.forward.calls(id))
	}
}

func TestAStatusThatSaysDoneIsBelievedOnlyIfTheRowSaysSo(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	id := s.post("apt1")
	e := s.untilPhase(id, v1alpha1.PhaseDone)
	e.Status.Phase = v1alpha1.PhasePending
	e.Status.Conditions = nil
	require.NoError(t, s.client.Status().Update(t.Context(), e))
	require.NoError(t, s.db.RequestAudit(t.Context()))
	s.untilPhase(id, v1alpha1.PhaseDone)
	assert.Equal(t, 1, s.forward.calls(id), "a finished row is never done again")
}
