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

func TestEventGoesFromPendingThroughProcessingToDone(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	release := make(chan struct{})
	env.forward.script(func(int, *store.Attempt) operation.Outcome { <-release; return operation.Outcome{} })
	env.sync.script(func(int, *store.Attempt) operation.Outcome {
		return operation.Outcome{Result: v1alpha1.ResultLeadUpdated, VerityContactID: "42", TargetID: "lead7", Details: map[string]any{"matchedBy": "phone"}}
	})
	id := env.deliver("apt1")

	e := env.waitForPhase(id, v1alpha1.PhaseProcessing)
	assert.Equal(t, "processing", query[string](env, `SELECT status FROM webhook_events WHERE id = $1`, id), "the row is claimed first")
	assert.Equal(t, v1alpha1.ProcessingReason, readyReason(e))
	close(release)
	e = env.waitForPhase(id, v1alpha1.PhaseDone)

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
		v1alpha1.LocationLabel: "loc1", v1alpha1.InstallationLabel: query[string](env, `SELECT id::text FROM verity_sync_installation`),
	}, e.Labels)
	assert.Equal(t, "done", query[string](env, `SELECT status FROM webhook_events WHERE id = $1`, id))
	assert.EqualValues(t, 2, query[int64](env, `SELECT count(*) FROM sync_log WHERE webhook_event_id = $1 AND status = 'success'`, id))
	assert.Equal(t, "phone", query[string](env, `SELECT details ->> 'matchedBy' FROM sync_log WHERE operation = 'verity.lead'`))
}

func TestFailedOperationIsRetriedAndASuccessIsNot(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.forward.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call < 3 {
			return failing(destination.Transient, "answered 503")
		}
		return operation.Outcome{}
	})
	id := env.deliver("apt1")
	e := env.waitForPhase(id, v1alpha1.PhaseDone)
	assert.EqualValues(t, 3, e.Status.Attempts)
	assert.Equal(t, 3, env.forward.calls(id))
	assert.Equal(t, 1, env.sync.calls(id), "the sync is in the ledger after the first attempt, although the forward failed")
	assert.Equal(t, v1alpha1.ResultLeadUpdated, e.Status.Result, "the result of the earlier attempt is kept")
	assert.EqualValues(t, 2, query[int64](env, `SELECT count(*) FROM sync_log WHERE operation = 'verity.forward' AND status = 'error'`))
	failed := env.log.with(`"msg":"attempt failed; another one follows"`, `"event":"`+id.String()+`"`, `"type":"appointment.created"`, `"entity":"apt1"`,
		`"location":"loc1"`, `"reason":"RetryScheduled"`, `"retrySeconds":0.0`, `"verity.forward":"transient"`, `answered 503`)
	assert.Len(t, failed, 2, "each failed attempt has one line")
	assert.NotContains(t, strings.Join(env.log.with(id.String()), "\n"), "contact1")
}

func TestEventEndsInErrorWhenItsAttemptsAreUsedUp(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.forward.script(func(int, *store.Attempt) operation.Outcome { return failing(destination.Transient, "answered 503") })
	id := env.deliver("apt1")
	e := env.waitForPhase(id, v1alpha1.PhaseError)
	assert.EqualValues(t, 4, e.Status.Attempts)
	assert.Equal(t, 4, env.forward.calls(id))
	ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition)
	assert.Equal(t, v1alpha1.AttemptsExhaustedReason, ready.Reason)
	assert.Contains(t, ready.Message, "verity-http: answered 503")
	assert.Contains(t, ready.Message, v1alpha1.ReplayRequestedAtAnnotation)
	assert.Len(t, env.log.with(`"msg":"event ended in Error; no further attempt is made"`, id.String(), `"reason":"AttemptsExhausted"`), 1)
	assert.True(t, meta.IsStatusConditionTrue(e.Status.Conditions, v1alpha1.StalledCondition))
	assert.Nil(t, meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReconcilingCondition))
	assert.Equal(t, "error", query[string](env, `SELECT status FROM webhook_events WHERE id = $1`, id))
}

func TestRefusalEndsTheEventAfterTheOtherOperationIsDone(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.forward.script(func(int, *store.Attempt) operation.Outcome {
		o := failing(destination.Permanent, "answered 422")
		o.Reason = v1alpha1.InvalidPayloadReason
		return o
	})
	env.sync.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call == 1 {
			return failing(destination.Transient, "deadlock")
		}
		return operation.Done(v1alpha1.ResultLeadInserted)
	})
	id := env.deliver("apt1")
	e := env.waitForPhase(id, v1alpha1.PhaseError)
	ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition)
	assert.Equal(t, v1alpha1.InvalidPayloadReason, ready.Reason, "the reason of the refusal in the earlier attempt")
	assert.True(t, strings.HasPrefix(ready.Message, "verity-http: answered 422;"), ready.Message)
	assert.Equal(t, 1, env.forward.calls(id), "a refused operation is not retried")
	assert.Equal(t, 2, env.sync.calls(id))
	assert.Equal(t, v1alpha1.ResultLeadInserted, e.Status.Result)
	forwarded := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ForwardedCondition)
	assert.Equal(t, metav1.ConditionFalse, forwarded.Status)
	assert.True(t, meta.IsStatusConditionTrue(e.Status.Conditions, v1alpha1.SyncedCondition))
}

func TestAttemptsDoNotCountWhileADestinationIsDown(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.forward.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call <= 10 {
			o := failing(destination.Unavailable, "does not answer")
			o.Wait = 10 * time.Millisecond
			return o
		}
		return operation.Outcome{}
	})
	id := env.deliver("apt1")
	e := env.waitForPhase(id, v1alpha1.PhaseDone)
	assert.EqualValues(t, 1, e.Status.Attempts)
	assert.Equal(t, 11, env.forward.calls(id), "more calls than allowed attempts")
}

func TestSyncThatWaitsForTheForwardCountsOnlyAfterTheForward(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.forward.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call <= 6 {
			o := failing(destination.Unavailable, "does not answer")
			o.Wait = time.Millisecond
			return o
		}
		return operation.Outcome{}
	})
	env.sync.script(func(int, *store.Attempt) operation.Outcome {
		o := failing(destination.Transient, "no contact yet")
		o.NotYet, o.Reason = true, v1alpha1.ContactNotFoundReason
		return o
	})
	id := env.deliver("apt1")
	e := env.waitForPhase(id, v1alpha1.PhaseError)
	assert.Equal(t, v1alpha1.ContactNotFoundReason, readyReason(e))
	assert.EqualValues(t, 4, e.Status.Attempts)
	assert.Equal(t, 6+4, env.sync.calls(id))
}

func TestEventsOfAnEntityAreProcessedInOrder(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(s *settings) { s.recheck = time.Hour })
	release := make(chan struct{})
	var first uuid.UUID
	ready := make(chan struct{})
	env.forward.script(func(_ int, e *store.Attempt) operation.Outcome {
		<-ready
		if e.ID == first {
			<-release
			return failing(destination.Permanent, "answered 422")
		}
		return operation.Outcome{}
	})
	first = env.deliver("apt1")
	close(ready)
	second, third, other := env.deliver("apt1"), env.deliver("apt1"), env.deliver("apt2")

	env.waitForPhase(other, v1alpha1.PhaseDone)
	waiting := env.waitForReason(second, v1alpha1.WaitingForOlderEventReason)
	env.waitForReason(third, v1alpha1.WaitingForOlderEventReason)
	assert.Contains(t, meta.FindStatusCondition(waiting.Status.Conditions, v1alpha1.ReadyCondition).Message, first.String())
	assert.EqualValues(t, 0, waiting.Status.Attempts)
	assert.Zero(t, env.forward.calls(second))
	close(release)

	env.waitForPhase(first, v1alpha1.PhaseError)
	// Each finished event triggers the next one: the recheck is an hour away.
	a, b := env.waitForPhase(second, v1alpha1.PhaseDone), env.waitForPhase(third, v1alpha1.PhaseDone)
	assert.False(t, b.Status.StartTime.Time.Before(a.Status.CompletionTime.Time), "the third starts after the second is finished")
}

func TestSuspendedEventIsNotProcessedAndBlocksNoOther(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(set *settings) { set.paused = true })
	first, second := env.deliver("apt1"), env.deliver("apt1")
	env.waitUntil(first, "created", func(*v1alpha1.WebhookEvent) bool { return true })
	env.waitUntil(second, "created", func(*v1alpha1.WebhookEvent) bool { return true })
	env.edit(first, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = true })
	env.start()

	env.waitForReason(first, v1alpha1.SuspendedReason)
	env.waitForPhase(second, v1alpha1.PhaseDone)
	assert.Zero(t, env.forward.calls(first))
	env.edit(first, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = false })
	env.waitForPhase(first, v1alpha1.PhaseDone)
}

func TestDeletedWebhookEventIsRecreatedUnlessItIsFinished(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(set *settings) { set.backoff.Base, set.backoff.Max = time.Hour, time.Hour })
	env.forward.script(func(_ int, e *store.Attempt) operation.Outcome {
		if e.Event.EntityID == "stuck" {
			return failing(destination.Transient, "answered 503")
		}
		return operation.Outcome{}
	})
	stuck, fine := env.deliver("stuck"), env.deliver("fine")
	before := env.waitForReason(stuck, v1alpha1.RetryScheduledReason)
	done := env.waitForPhase(fine, v1alpha1.PhaseDone)

	require.NoError(t, env.client.Delete(t.Context(), done))
	require.NoError(t, env.client.Delete(t.Context(), before))
	after := env.waitUntil(stuck, "recreated and waiting", func(e *v1alpha1.WebhookEvent) bool {
		return e.UID != before.UID && readyReason(e) == v1alpha1.RetryScheduledReason
	})
	assert.EqualValues(t, 1, after.Status.Attempts, "it continues where it was")
	assert.Equal(t, before.Status.NextAttemptTime, after.Status.NextAttemptTime)
	assert.Equal(t, 1, env.forward.calls(stuck))
	assert.Nil(t, env.get(fine))
	assert.Equal(t, 1, env.forward.calls(fine))
}

func TestStatusWriteDoesNotCutTheBackoffShort(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(set *settings) { set.backoff.Base, set.backoff.Max = time.Hour, time.Hour })
	env.forward.script(func(int, *store.Attempt) operation.Outcome { return failing(destination.Transient, "answered 503") })
	id := env.deliver("apt1")
	e := env.waitForReason(id, v1alpha1.RetryScheduledReason)
	assert.Greater(t, time.Until(e.Status.NextAttemptTime.Time), 40*time.Minute)
	// A user's edits trigger reconciles, and the event still waits.
	for range 3 {
		env.edit(id, func(e *v1alpha1.WebhookEvent) { metav1.SetMetaDataAnnotation(&e.ObjectMeta, "note", uuid.NewString()) })
	}
	other := env.deliver("apt2")
	env.waitForReason(other, v1alpha1.RetryScheduledReason)
	assert.Equal(t, 1, env.forward.calls(id))
}

func TestWebhookEventWithoutARowEndsInError(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	id := uuid.New()
	require.NoError(t, env.client.Create(t.Context(), &v1alpha1.WebhookEvent{
		ObjectMeta: metav1.ObjectMeta{Namespace: env.namespace, Name: v1alpha1.NameOf("ghl", id.String())},
		Spec: v1alpha1.WebhookEventSpec{
			EventID: id.String(), Source: "ghl", EventType: "contact.updated", EntityType: "contact", ReceivedAt: metav1.NowMicro(),
		},
	}))
	e := env.waitForPhase(id, v1alpha1.PhaseError)
	assert.Equal(t, v1alpha1.RowNotFoundReason, readyReason(e))
	require.NoError(t, env.client.Delete(t.Context(), e))
	assert.True(t, waitFor(func() bool { return env.get(id) == nil }))
}

func TestFinishedEventIsReplayedOnce(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	broken := true
	env.sync.script(func(call int, _ *store.Attempt) operation.Outcome {
		if broken && call == 1 {
			return failing(destination.Permanent, "no such table")
		}
		return operation.Done(v1alpha1.ResultLeadUpdated)
	})
	id := env.deliver("apt1")
	env.waitForPhase(id, v1alpha1.PhaseError)

	env.edit(id, func(e *v1alpha1.WebhookEvent) {
		metav1.SetMetaDataAnnotation(&e.ObjectMeta, v1alpha1.ReplayRequestedAtAnnotation, "first")
	})
	e := env.waitUntil(id, "replayed", func(e *v1alpha1.WebhookEvent) bool {
		return e.Status.LastHandledReplay == "first" && e.Status.Phase == v1alpha1.PhaseDone
	})
	assert.EqualValues(t, 1, e.Status.Attempts, "the attempts of the new run")
	assert.Equal(t, 1, env.forward.calls(id), "a success in the ledger is not repeated")
	assert.Equal(t, 2, env.sync.calls(id))

	env.edit(id, func(e *v1alpha1.WebhookEvent) {
		metav1.SetMetaDataAnnotation(&e.ObjectMeta, v1alpha1.ReplayRequestedAtAnnotation, "second")
		metav1.SetMetaDataAnnotation(&e.ObjectMeta, v1alpha1.ReplayFromAnnotation, v1alpha1.ReplayFromStart)
	})
	env.waitUntil(id, "replayed from the start", func(e *v1alpha1.WebhookEvent) bool {
		return e.Status.LastHandledReplay == "second" && e.Status.Phase == v1alpha1.PhaseDone
	})
	assert.Equal(t, 2, env.forward.calls(id))
	assert.Equal(t, 3, env.sync.calls(id))
	assert.EqualValues(t, 2, query[int32](env, `SELECT ledger_run FROM webhook_events WHERE id = $1`, id), "the run is part of the idempotency key")

	// The status is lost, and the annotation is not: the row has the served request.
	env.edit(id, func(e *v1alpha1.WebhookEvent) { metav1.SetMetaDataAnnotation(&e.ObjectMeta, "note", "x") })
	after := env.get(id)
	before := after.DeepCopy()
	after.Status.LastHandledReplay = ""
	require.NoError(t, env.client.Status().Patch(t.Context(), after, client.MergeFrom(before)))
	env.edit(id, func(e *v1alpha1.WebhookEvent) { metav1.SetMetaDataAnnotation(&e.ObjectMeta, "note", "y") })
	env.waitUntil(id, "shown as served", func(e *v1alpha1.WebhookEvent) bool { return e.Status.LastHandledReplay == "second" })
	assert.Equal(t, 2, env.forward.calls(id))
}

func TestFencedLeaderRecordsNothing(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	entered, release := make(chan struct{}), make(chan struct{})
	env.forward.script(func(int, *store.Attempt) operation.Outcome {
		close(entered)
		<-release
		return failing(destination.Permanent, "answered 422")
	})
	id := env.deliver("apt1")
	<-entered
	_, err := env.db.AcquireTerm(t.Context(), "another")
	require.NoError(t, err)
	close(release)
	require.ErrorIs(t, <-env.fenced, store.ErrFenced)
	assert.Equal(t, "processing", query[string](env, `SELECT status FROM webhook_events WHERE id = $1`, id))
	assert.Zero(t, query[int64](env, `SELECT count(*) FROM sync_log`))
	env.stop()

	env.forward.script(nil)
	env.start()
	e := env.waitForPhase(id, v1alpha1.PhaseDone)
	assert.EqualValues(t, 2, e.Status.Attempts, "the lost attempt counts")
}

func TestAuditCorrectsDifferences(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(set *settings) { set.paused, set.audit = true, 100*time.Millisecond })
	missing, reopened := env.deliver("apt1"), env.deliver("apt2")
	for _, id := range []uuid.UUID{missing, reopened} {
		env.waitUntil(id, "created", func(*v1alpha1.WebhookEvent) bool { return true })
		require.True(t, waitFor(func() bool {
			return query[bool](env, `SELECT dispatched_at IS NOT NULL FROM webhook_events WHERE id = $1`, id)
		}))
	}
	require.NoError(t, env.client.Delete(t.Context(), env.get(missing)), "while no controller runs")
	e := env.get(reopened)
	e.Status.Phase = v1alpha1.PhaseDone
	require.NoError(t, env.client.Status().Update(t.Context(), e), "a user edits the status")
	env.start()
	for _, id := range []uuid.UUID{missing, reopened} {
		env.waitUntil(id, "done", func(e *v1alpha1.WebhookEvent) bool {
			return e.Status.Phase == v1alpha1.PhaseDone && readyReason(e) == v1alpha1.DoneReason
		})
		assert.Equal(t, 1, env.forward.calls(id))
	}
}

func TestFinishedRowWithAnUnfinishedStatusDoesNotRunAgain(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	id := env.deliver("apt1")
	e := env.waitForPhase(id, v1alpha1.PhaseDone)
	e.Status.Phase = v1alpha1.PhasePending
	e.Status.Conditions = nil
	require.NoError(t, env.client.Status().Update(t.Context(), e))
	require.NoError(t, env.db.RequestAudit(t.Context()))
	env.waitForPhase(id, v1alpha1.PhaseDone)
	assert.Equal(t, 1, env.forward.calls(id), "a finished row does not run again")
}
