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

// waitForHeartbeat waits for the next heartbeat.
func (env *environment) waitForHeartbeat() time.Time {
	env.t.Helper()
	before := env.mark.Latest()
	require.True(env.t, waitFor(func() bool { return env.mark.Latest().After(before) }))
	return env.mark.Latest()
}

func TestRunningControllerDetectsARollbackOfItsDatabase(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(set *settings) { set.heartbeat = 20 * time.Millisecond })
	id := env.deliver("apt1")
	env.waitForPhase(id, v1alpha1.PhaseDone)
	to := env.waitForHeartbeat().Add(-10 * time.Minute)
	// The state of ten minutes ago: the controller was already the leader, and had not started the event.
	env.exec(`WITH back AS (UPDATE controller_heartbeat SET beat_at = $2), ledger AS (DELETE FROM sync_log)
		UPDATE webhook_events SET status = 'pending', attempts = 0, started_at = NULL, processed_at = NULL, reason = NULL WHERE id = $1`, id, to)

	found := <-env.rolledBack
	assert.True(t, found[1].Equal(to), "%s", found[1])
	assert.True(t, found[0].After(to))
	require.True(t, waitFor(func() bool { return env.forward.calls(id) == 2 }), "the audit makes it run again")
	env.waitForPhase(id, v1alpha1.PhaseDone)
	assert.Equal(t, "done", query[string](env, `SELECT status FROM webhook_events WHERE id = $1`, id))
	assert.Equal(t, env.forward.attempts[0].LedgerRun, env.forward.attempts[1].LedgerRun, "the idempotency key is the same")
	env.waitForHeartbeat()
	assert.Empty(t, env.rolledBack, "the rollback is reported once")
	assert.Empty(t, env.fenced, "the leader is not fenced")
	assert.InDelta(t, 1, env.metric("verity_sync_rolled_back_events_total"), 0)
}

func TestNewControllerDetectsARollbackSinceThePreviousOne(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(set *settings) { set.heartbeat = 20 * time.Millisecond })
	env.waitForHeartbeat()
	env.stop()
	term := query[int64](env, `SELECT term FROM controller_term`)
	to := env.mark.Latest().Add(-time.Hour)
	env.exec(`WITH back AS (UPDATE controller_heartbeat SET beat_at = $1) UPDATE controller_term SET term = 0`, to)
	env.start()
	found := <-env.rolledBack
	assert.True(t, found[1].Equal(to))
	assert.Greater(t, query[int64](env, `SELECT term FROM controller_term`), term, "later than the previous term")
	env.waitForHeartbeat()
	env.stop()
	env.start()
	env.waitForHeartbeat()
	assert.Empty(t, env.rolledBack, "the rollback is reported once, by one controller")
}

func TestLeaderEndsWithoutAnEventWhenTheDatabaseHasAnotherTerm(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"a later term, of another leader":     `UPDATE controller_term SET term = term + 1`,
		"an earlier term, after a rollback":   `UPDATE controller_term SET term = term - 1`,
		"no term, after a rollback to before": `UPDATE controller_term SET term = 0`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t, func(set *settings) { set.heartbeat = 20 * time.Millisecond })
			env.waitForHeartbeat()
			env.exec(change)
			require.ErrorIs(t, <-env.fenced, store.ErrFenced)
		})
	}
}

func TestLostEventEndsInErrorAndItsObjectStays(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(set *settings) {
		set.audit, set.retention = 50*time.Millisecond, 24*time.Hour
		set.ttl, set.finishedLimit = controllers.TTL{Done: time.Hour, Error: time.Millisecond}, 2
		set.paused = true
	})
	own, err := env.db.Installation(t.Context())
	require.NoError(t, err)
	lost := map[string]uuid.UUID{}
	for name, phase := range map[string]v1alpha1.WebhookEventPhase{
		"it was pending": v1alpha1.PhasePending, "it was in progress": v1alpha1.PhaseProcessing, "it had ended in error": v1alpha1.PhaseError,
	} {
		lost[name] = uuid.MustParse(env.createObject(own, phase).Spec.EventID)
	}
	done := env.createObject(own, v1alpha1.PhaseDone, func(e *v1alpha1.WebhookEvent) { e.Annotations = nil })
	created := env.createObject("", v1alpha1.PhasePending)
	old := env.createObject(own, v1alpha1.PhasePending, func(e *v1alpha1.WebhookEvent) {
		e.Spec.ReceivedAt = metav1.NewMicroTime(time.Now().Add(-25 * time.Hour))
	})
	env.start()
	for name, id := range lost {
		e := env.waitForReason(id, v1alpha1.RowLostReason)
		assert.Equal(t, v1alpha1.PhaseError, e.Status.Phase, name)
		assert.Contains(t, e.Status.Conditions[0].Message, "Send the webhook again", name)
	}
	for name, e := range map[string]*v1alpha1.WebhookEvent{"created by a user": created, "older than RETENTION": old} {
		require.True(t, waitFor(func() bool { return env.get(uuid.MustParse(e.Spec.EventID)) == nil }), "%s: it is deleted after its TTL", name)
	}
	env.waitForAudit()
	for name, id := range lost {
		require.NotNil(t, env.get(id), "%s: it stays beyond its TTL and the limit", name)
	}
	assert.Equal(t, v1alpha1.PhaseDone, env.get(uuid.MustParse(done.Spec.EventID)).Status.Phase, "a done event stays done")
	require.True(t, waitFor(func() bool { return env.metric("verity_sync_lost_events") == 3 }))
	assert.NotEmpty(t, env.log.with(`"msg":"the middleware database has lost unfinished events;`, `"count":`))

	env.edit(uuid.MustParse(done.Spec.EventID), func(e *v1alpha1.WebhookEvent) {
		metav1.SetMetaDataAnnotation(&e.ObjectMeta, v1alpha1.ReplayRequestedAtAnnotation, "now")
	})
	require.True(t, waitFor(func() bool { return env.get(uuid.MustParse(done.Spec.EventID)) == nil }), "it cannot be replayed, and is deleted after its TTL")
	id := lost["it was pending"]
	env.edit(id, func(e *v1alpha1.WebhookEvent) {
		metav1.SetMetaDataAnnotation(&e.ObjectMeta, v1alpha1.ReplayRequestedAtAnnotation, "now")
	})
	env.waitUntil(id, "answered", func(e *v1alpha1.WebhookEvent) bool {
		return e.Status.LastHandledReplay == "now" && readyReason(e) == v1alpha1.RowLostReason
	})
	// A later restore brings the row.
	env.exec(`INSERT INTO webhook_events (id, source, body_hash, event_type, entity_type, payload_json, dedupe_key)
		VALUES ($1, 'ghl', '', 'contact.updated', 'contact', '{}', 'x')`, id)
	env.waitForPhase(id, v1alpha1.PhaseDone)
	for _, id := range lost {
		require.NoError(t, client.IgnoreNotFound(env.client.Delete(t.Context(), env.get(id))))
	}
	require.True(t, waitFor(func() bool { return env.metric("verity_sync_lost_events") == 0 }))
}

func TestReplaysAndEditsDoNotCountAsRollbacks(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(set *settings) { set.audit, set.retention = 50*time.Millisecond, 24*time.Hour })
	replayed := env.deliver("apt1")
	env.waitForPhase(replayed, v1alpha1.PhaseDone)
	_, err := env.db.ReplayAll(t.Context(), store.ReplaySelection{Status: store.StatusDone, Since: time.Hour}, true)
	require.NoError(t, err)
	require.True(t, waitFor(func() bool { return env.forward.calls(replayed) == 2 }))
	env.waitForPhase(replayed, v1alpha1.PhaseDone)

	env.forward.script(func(int, *store.Attempt) operation.Outcome { return failing(destination.Transient, "answered 503") })
	edited := env.deliver("apt2")
	env.waitUntil(edited, "attempted", func(e *v1alpha1.WebhookEvent) bool { return e.Status.Attempts > 0 })
	setPhase(v1alpha1.PhaseDone)(env, edited)
	env.forward.script(nil)
	env.waitForPhase(edited, v1alpha1.PhaseDone)
	require.True(t, waitFor(func() bool {
		return query[string](env, `SELECT status FROM webhook_events WHERE id = $1`, edited) == "done"
	}))
	env.waitForAudit()
	assert.InDelta(t, 0, env.metric("verity_sync_rolled_back_events_total"), 0)
}

// metric returns the value of a metric of the controller that was started last.
func (env *environment) metric(name string) float64 {
	env.t.Helper()
	families, err := env.registry.Gather()
	require.NoError(env.t, err)
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue() + family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	env.t.Fatalf("there is no metric %s", name)
	return 0
}
