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

// disagreement is a way in which a row and its WebhookEvent can come to say different things.
type disagreement struct {
	// make brings it about, for an event that is pending, while there is no controller.
	make func(s *suite, id uuid.UUID)
	// phase and reason are what is shown in the end, and calls how often the event was forwarded for it.
	phase  v1alpha1.WebhookEventPhase
	reason string
	calls  int
}

// setRow ends a row as an attempt would.
func setRow(status store.Status) func(*suite, uuid.UUID) {
	return func(s *suite, id uuid.UUID) {
		s.exec(`UPDATE webhook_events SET status = $2, processed_at = now(), attempts = 1, error_message = 'answered 422', reason = 'Rejected' WHERE id = $1`,
			id, string(status))
	}
}

// setPhase edits a status, as a user with the right to would.
func setPhase(phase v1alpha1.WebhookEventPhase) func(*suite, uuid.UUID) {
	return func(s *suite, id uuid.UUID) {
		before := s.get(id)
		after := before.DeepCopy()
		after.Status.Phase = phase
		// What the controller writes meanwhile is no conflict.
		require.NoError(s.t, s.client.Status().Patch(s.t.Context(), after, client.MergeFrom(before)))
	}
}

func both(a, b func(*suite, uuid.UUID)) func(*suite, uuid.UUID) {
	return func(s *suite, id uuid.UUID) { a(s, id); b(s, id) }
}

func deleteRow(s *suite, id uuid.UUID) { s.exec(`DELETE FROM webhook_events WHERE id = $1`, id) }

func deleteObject(s *suite, id uuid.UUID) {
	require.NoError(s.t, s.client.Delete(s.t.Context(), s.get(id)))
}

func TestAnAuditMendsEveryWayInWhichARowAndItsWebhookEventDisagree(t *testing.T) {
	t.Parallel()
	tests := map[string]disagreement{
		"the row is pending and dispatched, and there is no object": {deleteObject, v1alpha1.PhaseDone, v1alpha1.DoneReason, 1},
		"the row is processing under a leader that is gone, and there is no object": {both(func(s *suite, id uuid.UUID) {
			s.exec(`UPDATE webhook_events SET status = 'processing', claimed_term = 0, attempts = 1 WHERE id = $1`, id)
		}, deleteObject), v1alpha1.PhaseDone, v1alpha1.DoneReason, 1},
		"the row is done, and the object pending":        {setRow(store.StatusDone), v1alpha1.PhaseDone, v1alpha1.DoneReason, 0},
		"the row is in error, and the object pending":    {setRow(store.StatusError), v1alpha1.PhaseError, v1alpha1.RejectedReason, 0},
		"the row is done, and the object processing":     {both(setPhase(v1alpha1.PhaseProcessing), setRow(store.StatusDone)), v1alpha1.PhaseDone, v1alpha1.DoneReason, 0},
		"the row is in error, and the object processing": {both(setPhase(v1alpha1.PhaseProcessing), setRow(store.StatusError)), v1alpha1.PhaseError, v1alpha1.RejectedReason, 0},
		"the row is pending, and the object done":        {setPhase(v1alpha1.PhaseDone), v1alpha1.PhaseDone, v1alpha1.DoneReason, 1},
		"the row is pending, and the object in error":    {setPhase(v1alpha1.PhaseError), v1alpha1.PhaseDone, v1alpha1.DoneReason, 1},
		"the row is in error, and the object done":       {both(setRow(store.StatusError), setPhase(v1alpha1.PhaseDone)), v1alpha1.PhaseError, v1alpha1.RejectedReason, 0},
		"the row is done, and the object in error":       {both(setRow(store.StatusDone), setPhase(v1alpha1.PhaseError)), v1alpha1.PhaseDone, v1alpha1.DoneReason, 0},
		"there is no row, and the object is pending":     {deleteRow, v1alpha1.PhaseError, v1alpha1.RowNotFoundReason, 0},
		"the row has gone at the end of its time, and the object is done": {both(deleteRow, func(s *suite, id uuid.UUID) {
			e := s.get(id)
			e.Status.Phase, e.Status.Conditions = v1alpha1.PhaseDone, []metav1.Condition{{
				Type: v1alpha1.ReadyCondition, Status: metav1.ConditionTrue, Reason: v1alpha1.DoneReason, LastTransitionTime: metav1.Now(),
			}}
			require.NoError(s.t, s.client.Status().Update(s.t.Context(), e))
		}), v1alpha1.PhaseDone, v1alpha1.DoneReason, 0},
	}
	s := newSuite(t, func(set *settings) { set.paused, set.audit = true, 100*time.Millisecond })
	ids := map[string]uuid.UUID{}
	for name := range tests {
		ids[name] = s.post(name)
	}
	for name, test := range tests {
		s.untilDispatched(ids[name])
		test.make(s, ids[name])
	}
	s.start()
	for name, test := range tests {
		s.until(ids[name], "as wanted though "+name, func(e *v1alpha1.WebhookEvent) bool {
			return e.Status.Phase == test.phase && readyReason(e) == test.reason
		})
		assert.Equal(t, test.calls, s.forward.calls(ids[name]), "%s: a finished row is not done again, an unfinished one is done once", name)
	}
	s.untilAudited()
	for name, test := range tests {
		assert.Equal(t, test.phase, s.get(ids[name]).Status.Phase, "%s: it stays so", name)
	}
}

// The API server holds the name of a WebhookEvent to its id, and lets nobody change the rest; but whoever may create one may have said
// anything before the relay did.
func TestWhatIsDoneFollowsFromTheRowWhateverTheSpecSays(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(set *settings) { set.audit = 100 * time.Millisecond })
	id := uuid.New()
	require.NoError(t, s.client.Create(t.Context(), &v1alpha1.WebhookEvent{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: v1alpha1.NameOf(event.SourceGHL, id.String())},
		Spec: v1alpha1.WebhookEventSpec{
			EventID: id.String(), Source: event.SourceGHL, EventType: "contact.deleted", EntityType: "contact", EntityID: "another",
			ReceivedAt: metav1.NowMicro(),
		},
	}))
	s.untilReason(id, v1alpha1.RowNotFoundReason)
	s.exec(`INSERT INTO webhook_events (id, source, body_hash, event_type, entity_type, entity_id, ordering_key, payload_json, dedupe_key)
		VALUES ($1, 'ghl', '', 'appointment.created', 'appointment', 'apt1', 'appointment:apt1', '{}', 'x')`, id)
	s.untilPhase(id, v1alpha1.PhaseDone)
	require.Equal(t, 1, s.forward.calls(id))
	assert.Equal(t, event.TypeAppointmentCreated, s.forward.attempts[0].Event.Type)
	assert.Equal(t, "apt1", s.forward.attempts[0].Event.EntityID)
}

func TestAnAuditThatIsAskedForComesAtOnceAndFindsMoreThanAPage(t *testing.T) {
	t.Parallel()
	const events = 600
	s := newSuite(t, func(set *settings) { set.paused, set.backoff.Base, set.backoff.Max = true, time.Hour, time.Hour })
	// As an API server leaves them that was set up anew: none of them has a WebhookEvent.
	s.exec(`INSERT INTO webhook_events (source, body_hash, event_type, entity_type, payload_json, dedupe_key, received_at, dispatched_at)
		SELECT 'ghl', '', 'note.created', 'note', '{}', n::text, now() - interval '1 hour' + n / 2 * interval '1 second', now() - interval '1 hour'
		FROM generate_series(1, $1::int) n`, events)
	s.start()
	require.NoError(t, s.db.RequestAudit(t.Context()))
	require.Eventually(t, func() bool {
		return value[int](s, `SELECT count(*) FROM webhook_events WHERE status = 'done'`) == events
	}, 10*timeout, 100*time.Millisecond)
	assert.Equal(t, events, s.forward.calls(uuid.Nil), "each is done once")
}

func TestRetentionGoesOnBatchAfterBatchAndKeepsWhatIsNotFinished(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(set *settings) {
		set.audit, set.ttl = 100*time.Millisecond, controllers.TTL{Done: time.Hour, Error: time.Hour}
	})
	done := s.post("done")
	s.untilPhase(done, v1alpha1.PhaseDone)
	s.stop() // What follows is not to be done.
	unfinished := s.post("unfinished")
	s.untilDispatched(unfinished)
	s.exec(`UPDATE webhook_events SET received_at = now() - interval '1 year', processed_at = processed_at - interval '1 year'`)
	s.exec(`INSERT INTO webhook_events (source, body_hash, event_type, entity_type, payload_json, dedupe_key, status, processed_at, adopted)
		SELECT 'ghl', '', 'note.created', 'note', '{}', n::text, CASE WHEN n % 2 = 0 THEN 'done' ELSE 'error' END,
		       now() - CASE WHEN n % 10 = 0 THEN interval '31 days' ELSE interval '32 days' END, n % 3 = 0
		FROM generate_series(1, 3000) n`)
	s.exec(`INSERT INTO sync_log (webhook_event_id, direction, entity_type, operation, status, started_at)
		SELECT CASE WHEN NOT adopted THEN id END, 'ghl_to_verity', 'note', 'verity.forward', 'success', processed_at FROM webhook_events WHERE entity_type = 'note'`)
	const keep = 31*24*time.Hour + time.Hour
	stop := s.background((&controllers.Retention{Rows: s.db, Keep: keep, Every: time.Hour, Pause: time.Millisecond}).Start)
	require.True(t, eventually(func() bool { return value[int](s, `SELECT count(*) FROM webhook_events`) == 1+300 }))
	require.True(t, eventually(func() bool {
		return value[int](s, `SELECT count(*) FROM sync_log WHERE webhook_event_id IS NULL`) == 100
	}), "the earlier middleware's log, which names no event, goes at the same age")
	stop()
	assert.Equal(t, 1, value[int](s, `SELECT count(*) FROM webhook_events WHERE id = $1`, unfinished), "however old it is")
	assert.Equal(t, 200, value[int](s, `SELECT count(*) FROM sync_log WHERE webhook_event_id IS NOT NULL`), "the ledger goes with its events")

	// A WebhookEvent may stay longer than its row.
	s.start()
	s.untilPhase(unfinished, v1alpha1.PhaseDone)
	s.untilAudited()
	assert.Equal(t, v1alpha1.DoneReason, readyReason(s.get(done)))
	assert.Equal(t, 1, s.forward.calls(done))
}

// untilDispatched waits until the WebhookEvent of an event exists and its row says so.
func (s *suite) untilDispatched(id uuid.UUID) {
	s.t.Helper()
	s.until(id, "there", func(*v1alpha1.WebhookEvent) bool { return true })
	require.True(s.t, eventually(func() bool {
		return value[bool](s, `SELECT dispatched_at IS NOT NULL FROM webhook_events WHERE id = $1`, id)
	}))
}

// untilAudited waits until an audit that began after the call has found something to mend.
func (s *suite) untilAudited() {
	s.t.Helper()
	id := s.post("audited")
	s.untilPhase(id, v1alpha1.PhaseDone)
	setPhase(v1alpha1.PhasePending)(s, id)
	s.untilPhase(id, v1alpha1.PhaseDone)
}
