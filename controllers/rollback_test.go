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
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// beaten waits for the next heartbeat.
func (s *suite) beaten() time.Time {
	s.t.Helper()
	before := s.mark.Latest()
	require.True(s.t, eventually(func() bool { return s.mark.Latest().After(before) }))
	return s.mark.Latest()
}

func TestARunningControllerNoticesThatItsDatabaseHasGoneBack(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(set *settings) { set.heartbeat = 20 * time.Millisecond })
	id := s.post("apt1")
	s.untilPhase(id, v1alpha1.PhaseDone)
	to := s.beaten().Add(-10 * time.Minute)
	// As it was ten minutes ago: the controller led already, and had not begun with the event.
	s.exec(`WITH back AS (UPDATE controller_heartbeat SET beat_at = $2), ledger AS (DELETE FROM sync_log)
		UPDATE webhook_events SET status = 'pending', attempts = 0, started_at = NULL, processed_at = NULL, reason = NULL WHERE id = $1`, id, to)

	found := <-s.rolledBack
	assert.True(t, found[1].Equal(to), "%s", found[1])
	assert.True(t, found[0].After(to))
	require.True(t, eventually(func() bool { return s.forward.calls(id) == 2 }), "an audit has it run again")
	s.untilPhase(id, v1alpha1.PhaseDone)
	assert.Equal(t, "done", value[string](s, `SELECT status FROM webhook_events WHERE id = $1`, id))
	assert.Equal(t, s.forward.attempts[0].LedgerRun, s.forward.attempts[1].LedgerRun, "the key is the same")
	s.beaten()
	assert.Empty(t, s.rolledBack, "it is reported once")
	assert.Empty(t, s.fenced, "the term is still its own")
	assert.InDelta(t, 1, s.metric("verity_sync_rolled_back_events_total"), 0)
}

func TestANewControllerNoticesThatTheDatabaseHasGoneBackSinceTheLastOne(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(set *settings) { set.heartbeat = 20 * time.Millisecond })
	s.beaten()
	s.stop()
	term := value[int64](s, `SELECT term FROM controller_term`)
	to := s.mark.Latest().Add(-time.Hour)
	s.exec(`WITH back AS (UPDATE controller_heartbeat SET beat_at = $1) UPDATE controller_term SET term = 0`, to)
	s.start()
	found := <-s.rolledBack
	assert.True(t, found[1].Equal(to))
	assert.Greater(t, value[int64](s, `SELECT term FROM controller_term`), term, "above that of before")
	s.beaten()
	s.stop()
	s.start()
	s.beaten()
	assert.Empty(t, s.rolledBack, "it is reported once, by one of them")
}

func TestALeaderEndsWithoutAnyEventWhenTheDatabaseHasAnotherTerm(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"a later one, of another leader":                   `UPDATE controller_term SET term = term + 1`,
		"an earlier one, since the database has gone back": `UPDATE controller_term SET term = term - 1`,
		"none yet, since the database has gone far back":   `UPDATE controller_term SET term = 0`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSuite(t, func(set *settings) { set.heartbeat = 20 * time.Millisecond })
			s.beaten()
			s.exec(change)
			require.ErrorIs(t, <-s.fenced, store.ErrFenced)
		})
	}
}

func TestAnEventThatTheDatabaseHasLostIsShownAndStays(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(set *settings) {
		set.audit, set.retention = 50*time.Millisecond, 24*time.Hour
		set.ttl, set.finishedLimit = controllers.TTL{Done: time.Hour, Error: time.Millisecond}, 2
		set.paused = true
	})
	own, err := s.db.Installation(t.Context())
	require.NoError(t, err)
	lost := map[string]uuid.UUID{}
	for name, phase := range map[string]v1alpha1.WebhookEventPhase{
		"it was not begun": v1alpha1.PhasePending, "it was under way": v1alpha1.PhaseProcessing, "it had ended in error": v1alpha1.PhaseError,
	} {
		lost[name] = uuid.MustParse(s.of(own, phase).Spec.EventID)
	}
	done := s.of(own, v1alpha1.PhaseDone, func(e *v1alpha1.WebhookEvent) { e.Annotations = nil })
	byHand := s.of("", v1alpha1.PhasePending)
	old := s.of(own, v1alpha1.PhasePending, func(e *v1alpha1.WebhookEvent) {
		e.Spec.ReceivedAt = metav1.NewMicroTime(time.Now().Add(-25 * time.Hour))
	})
	s.start()
	for name, id := range lost {
		e := s.untilReason(id, v1alpha1.RowLostReason)
		assert.Equal(t, v1alpha1.PhaseError, e.Status.Phase, name)
		assert.Contains(t, e.Status.Conditions[0].Message, "Send the webhook again", name)
	}
	for name, e := range map[string]*v1alpha1.WebhookEvent{"made by hand": byHand, "older than rows are kept": old} {
		require.True(t, eventually(func() bool { return s.get(uuid.MustParse(e.Spec.EventID)) == nil }), "%s: it goes at its time", name)
	}
	s.untilAudited()
	for name, id := range lost {
		require.NotNil(t, s.get(id), "%s: it stays beyond its time and the limit", name)
	}
	assert.Equal(t, v1alpha1.PhaseDone, s.get(uuid.MustParse(done.Spec.EventID)).Status.Phase, "what was done is done")
	require.True(t, eventually(func() bool { return s.metric("verity_sync_lost_events") == 3 }))

	s.change(uuid.MustParse(done.Spec.EventID), func(e *v1alpha1.WebhookEvent) {
		metav1.SetMetaDataAnnotation(&e.ObjectMeta, v1alpha1.ReplayRequestedAtAnnotation, "now")
	})
	require.True(t, eventually(func() bool { return s.get(uuid.MustParse(done.Spec.EventID)) == nil }), "it cannot be replayed, and goes at its time")
	id := lost["it was not begun"]
	s.change(id, func(e *v1alpha1.WebhookEvent) {
		metav1.SetMetaDataAnnotation(&e.ObjectMeta, v1alpha1.ReplayRequestedAtAnnotation, "now")
	})
	s.until(id, "answered", func(e *v1alpha1.WebhookEvent) bool {
		return e.Status.LastHandledReplay == "now" && readyReason(e) == v1alpha1.RowLostReason
	})
	// A better backup has it after all.
	s.exec(`INSERT INTO webhook_events (id, source, body_hash, event_type, entity_type, payload_json, dedupe_key)
		VALUES ($1, 'ghl', '', 'contact.updated', 'contact', '{}', 'x')`, id)
	s.untilPhase(id, v1alpha1.PhaseDone)
	for _, id := range lost {
		require.NoError(t, client.IgnoreNotFound(s.client.Delete(t.Context(), s.get(id))))
	}
	require.True(t, eventually(func() bool { return s.metric("verity_sync_lost_events") == 0 }))
}

func TestWhatDoesNotCountAsRolledBack(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(set *settings) { set.audit, set.retention = 50*time.Millisecond, 24*time.Hour })
	replayed := s.post("apt1")
	s.untilPhase(replayed, v1alpha1.PhaseDone)
	_, err := s.db.ReplayAll(t.Context(), store.ReplaySelection{Status: store.StatusDone, Since: time.Hour}, true)
	require.NoError(t, err)
	require.True(t, eventually(func() bool { return s.forward.calls(replayed) == 2 }))
	s.untilPhase(replayed, v1alpha1.PhaseDone)

	s.forward.script(func(int, *store.Attempt) operation.Outcome { return failing(destination.Transient, "answered 503") })
	edited := s.post("apt2")
	s.until(edited, "tried", func(e *v1alpha1.WebhookEvent) bool { return e.Status.Attempts > 0 })
	setPhase(v1alpha1.PhaseDone)(s, edited)
	s.forward.script(nil)
	s.untilPhase(edited, v1alpha1.PhaseDone)
	require.True(t, eventually(func() bool {
		return value[string](s, `SELECT status FROM webhook_events WHERE id = $1`, edited) == "done"
	}))
	s.untilAudited()
	assert.InDelta(t, 0, s.metric("verity_sync_rolled_back_events_total"), 0)
}

// metric returns the value of a metric of the controller that was started last.
func (s *suite) metric(name string) float64 {
	s.t.Helper()
	families, err := s.registry.Gather()
	require.NoError(s.t, err)
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue() + family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	s.t.Fatalf("there is no metric %s", name)
	return 0
}
