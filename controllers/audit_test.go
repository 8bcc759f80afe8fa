package controllers_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// difference is a way in which a row and its WebhookEvent can disagree.
type difference struct {
	// create creates the difference, for a pending event, while no controller runs.
	create func(env *environment, id uuid.UUID)
	// phase and reason are expected after the audit, and calls is the expected number of forwards.
	phase  v1alpha1.WebhookEventPhase
	reason string
	calls  int
}

// setRow finishes a row as an attempt does.
func setRow(status store.Status) func(*environment, uuid.UUID) {
	return func(env *environment, id uuid.UUID) {
		env.exec(`UPDATE webhook_events SET status = $2, processed_at = now(), attempts = 1, error_message = 'answered 422', reason = 'Rejected' WHERE id = $1`,
			id, string(status))
	}
}

// setPhase edits a status, as a user with that right can.
func setPhase(phase v1alpha1.WebhookEventPhase) func(*environment, uuid.UUID) {
	return func(env *environment, id uuid.UUID) {
		before := env.get(id)
		after := before.DeepCopy()
		after.Status.Phase = phase
		// A patch does not conflict with the controller's writes.
		require.NoError(env.t, env.client.Status().Patch(env.t.Context(), after, client.MergeFrom(before)))
	}
}

func inOrder(a, b func(*environment, uuid.UUID)) func(*environment, uuid.UUID) {
	return func(env *environment, id uuid.UUID) { a(env, id); b(env, id) }
}

func deleteRow(env *environment, id uuid.UUID) {
	env.exec(`DELETE FROM webhook_events WHERE id = $1`, id)
}

func deleteObject(env *environment, id uuid.UUID) {
	require.NoError(env.t, env.client.Delete(env.t.Context(), env.get(id)))
}

func TestAuditCorrectsEveryDifferenceBetweenRowAndWebhookEvent(t *testing.T) {
	t.Parallel()
	tests := map[string]difference{
		"the row is pending and dispatched, and there is no object": {deleteObject, v1alpha1.PhaseDone, v1alpha1.DoneReason, 1},
		"the row is processing under an earlier leader, and there is no object": {inOrder(func(env *environment, id uuid.UUID) {
			env.exec(`UPDATE webhook_events SET status = 'processing', claimed_term = 0, attempts = 1 WHERE id = $1`, id)
		}, deleteObject), v1alpha1.PhaseDone, v1alpha1.DoneReason, 1},
		"the row is done, and the object pending":        {setRow(store.StatusDone), v1alpha1.PhaseDone, v1alpha1.DoneReason, 0},
		"the row is in error, and the object pending":    {setRow(store.StatusError), v1alpha1.PhaseError, v1alpha1.RejectedReason, 0},
		"the row is done, and the object processing":     {inOrder(setPhase(v1alpha1.PhaseProcessing), setRow(store.StatusDone)), v1alpha1.PhaseDone, v1alpha1.DoneReason, 0},
		"the row is in error, and the object processing": {inOrder(setPhase(v1alpha1.PhaseProcessing), setRow(store.StatusError)), v1alpha1.PhaseError, v1alpha1.RejectedReason, 0},
		"the row is pending, and the object done":        {setPhase(v1alpha1.PhaseDone), v1alpha1.PhaseDone, v1alpha1.DoneReason, 1},
		"the row is pending, and the object in error":    {setPhase(v1alpha1.PhaseError), v1alpha1.PhaseDone, v1alpha1.DoneReason, 1},
		"the row is in error, and the object done":       {inOrder(setRow(store.StatusError), setPhase(v1alpha1.PhaseDone)), v1alpha1.PhaseError, v1alpha1.RejectedReason, 0},
		"the row is done, and the object in error":       {inOrder(setRow(store.StatusDone), setPhase(v1alpha1.PhaseError)), v1alpha1.PhaseDone, v1alpha1.DoneReason, 0},
		"there is no row, and the object is pending":     {deleteRow, v1alpha1.PhaseError, v1alpha1.RowNotFoundReason, 0},
		"the row was deleted after its retention, and the object is done": {inOrder(deleteRow, func(env *environment, id uuid.UUID) {
			e := env.get(id)
			e.Status.Phase, e.Status.Conditions = v1alpha1.PhaseDone, []metav1.Condition{{
				Type: v1alpha1.ReadyCondition, Status: metav1.ConditionTrue, Reason: v1alpha1.DoneReason, LastTransitionTime: metav1.Now(),
			}}
			require.NoError(env.t, env.client.Status().Update(env.t.Context(), e))
		}), v1alpha1.PhaseDone, v1alpha1.DoneReason, 0},
	}
	env := newEnvironment(t, func(set *settings) { set.paused, set.audit = true, 100*time.Millisecond })
	ids := map[string]uuid.UUID{}
	for name := range tests {
		ids[name] = env.deliver(name)
	}
	for name, test := range tests {
		env.waitForDispatch(ids[name])
		test.create(env, ids[name])
	}
	env.start()
	for name, test := range tests {
		env.waitUntil(ids[name], "correct although "+name, func(e *v1alpha1.WebhookEvent) bool {
			return e.Status.Phase == test.phase && readyReason(e) == test.reason
		})
		assert.Equal(t, test.calls, env.forward.calls(ids[name]), "%s: a finished row does not run again, and an unfinished one runs once", name)
	}
	env.waitForAudit()
	for name, test := range tests {
		assert.Equal(t, test.phase, env.get(ids[name]).Status.Phase, "%s: it stays correct", name)
	}
}

// The API server validates the name of a WebhookEvent, and its spec is immutable. But a user can create the object before the relay does,
// with any spec.
func TestAttemptUsesTheRowAndNotTheSpec(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(set *settings) { set.audit = 100 * time.Millisecond })
	id := uuid.New()
	require.NoError(t, env.client.Create(t.Context(), &v1alpha1.WebhookEvent{
		ObjectMeta: metav1.ObjectMeta{Namespace: env.namespace, Name: v1alpha1.NameOf(event.SourceGHL, id.String())},
		Spec: v1alpha1.WebhookEventSpec{
			EventID: id.String(), Source: event.SourceGHL, EventType: "contact.deleted", EntityType: "contact", EntityID: "another",
			ReceivedAt: metav1.NowMicro(),
		},
	}))
	env.waitForReason(id, v1alpha1.RowNotFoundReason)
	env.exec(`INSERT INTO webhook_events (id, source, body_hash, event_type, entity_type, entity_id, ordering_key, payload_json, dedupe_key)
		VALUES ($1, 'ghl', '', 'appointment.created', 'appointment', 'apt1', 'appointment:apt1', '{}', 'x')`, id)
	env.waitForPhase(id, v1alpha1.PhaseDone)
	require.Equal(t, 1, env.forward.calls(id))
	assert.Equal(t, event.TypeAppointmentCreated, env.forward.attempts[0].Event.Type)
	assert.Equal(t, "apt1", env.forward.attempts[0].Event.EntityID)
}

func TestRequestedAuditRunsAtOnceAndCoversMoreThanOnePage(t *testing.T) {
	t.Parallel()
	const events = 600
	env := newEnvironment(t, func(set *settings) { set.paused, set.backoff.Base, set.backoff.Max = true, time.Hour, time.Hour })
	// None of the rows has a WebhookEvent, as after a new installation of the API server.
	env.exec(`INSERT INTO webhook_events (source, body_hash, event_type, entity_type, payload_json, dedupe_key, received_at, dispatched_at)
		SELECT 'ghl', '', 'note.created', 'note', '{}', n::text, now() - interval '1 hour' + n / 2 * interval '1 second', now() - interval '1 hour'
		FROM generate_series(1, $1::int) n`, events)
	env.start()
	require.NoError(t, env.db.RequestAudit(t.Context()))
	require.Eventually(t, func() bool {
		return query[int](env, `SELECT count(*) FROM webhook_events WHERE status = 'done'`) == events
	}, 10*timeout, 100*time.Millisecond)
	assert.Equal(t, events, env.forward.calls(uuid.Nil), "each event runs once")
}

func TestRetentionDeletesFinishedRowsInBatchesAndKeepsUnfinishedOnes(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(set *settings) {
		set.audit, set.ttl = 100*time.Millisecond, controllers.TTL{Done: time.Hour, Error: time.Hour}
	})
	done := env.deliver("done")
	env.waitForPhase(done, v1alpha1.PhaseDone)
	env.stop() // The next event must stay unfinished.
	unfinished := env.deliver("unfinished")
	env.waitForDispatch(unfinished)
	env.exec(`UPDATE webhook_events SET received_at = now() - interval '1 year', processed_at = processed_at - interval '1 year'`)
	env.exec(`INSERT INTO webhook_events (source, body_hash, event_type, entity_type, payload_json, dedupe_key, status, processed_at, adopted)
		SELECT 'ghl', '', 'note.created', 'note', '{}', n::text, CASE WHEN n % 2 = 0 THEN 'done' ELSE 'error' END,
		       now() - CASE WHEN n % 10 = 0 THEN interval '31 days' ELSE interval '32 days' END, n % 3 = 0
		FROM generate_series(1, 3000) n`)
	env.exec(`INSERT INTO sync_log (webhook_event_id, direction, entity_type, operation, status, started_at)
		SELECT CASE WHEN NOT adopted THEN id END, 'ghl_to_verity', 'note', 'verity.forward', 'success', processed_at FROM webhook_events WHERE entity_type = 'note'`)
	const keep = 31*24*time.Hour + time.Hour
	stop := env.background((&controllers.Retention{Rows: env.db, Keep: keep, Every: time.Hour, Pause: time.Millisecond}).Start)
	require.True(t, waitFor(func() bool { return query[int](env, `SELECT count(*) FROM webhook_events`) == 1+300 }))
	require.True(t, waitFor(func() bool {
		return query[int](env, `SELECT count(*) FROM sync_log WHERE webhook_event_id IS NULL`) == 100
	}), "the legacy middleware's log, which names no event, is deleted at the same age")
	stop()
	assert.Equal(t, 1, query[int](env, `SELECT count(*) FROM webhook_events WHERE id = $1`, unfinished), "an unfinished row stays at any age")
	assert.Equal(t, 200, query[int](env, `SELECT count(*) FROM sync_log WHERE webhook_event_id IS NOT NULL`), "the ledger of an event is deleted with the event")

	// A WebhookEvent can stay longer than its row.
	env.start()
	env.waitForPhase(unfinished, v1alpha1.PhaseDone)
	env.waitForAudit()
	assert.Equal(t, v1alpha1.DoneReason, readyReason(env.get(done)))
	assert.Equal(t, 1, env.forward.calls(done))
}

// waitForDispatch waits until the WebhookEvent of an event exists and its row is marked as dispatched.
func (env *environment) waitForDispatch(id uuid.UUID) {
	env.t.Helper()
	env.waitUntil(id, "created", func(*v1alpha1.WebhookEvent) bool { return true })
	require.True(env.t, waitFor(func() bool {
		return query[bool](env, `SELECT dispatched_at IS NOT NULL FROM webhook_events WHERE id = $1`, id)
	}))
}

// waitForAudit waits until an audit that started after the call has corrected an object.
func (env *environment) waitForAudit() {
	env.t.Helper()
	id := env.deliver("audited")
	env.waitForPhase(id, v1alpha1.PhaseDone)
	setPhase(v1alpha1.PhasePending)(env, id)
	env.waitForPhase(id, v1alpha1.PhaseDone)
}
