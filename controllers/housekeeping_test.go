package controllers_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

func TestHousekeepingBoundsTheNumberOfWebhookEvents(t *testing.T) {
	t.Parallel()
	t.Run("finished events are deleted after their TTL", func(t *testing.T) {
		t.Parallel()
		env := newEnvironment(t, func(set *settings) { set.ttl = controllers.TTL{Done: time.Second, Error: time.Second} })
		id := env.deliver("apt1")
		require.True(t, waitFor(func() bool { return env.forward.calls(id) == 1 && env.get(id) == nil }))
		assert.Equal(t, "done", query[string](env, `SELECT status FROM webhook_events WHERE id = $1`, id))
		assert.Equal(t, 1, env.forward.calls(id))
	})
	t.Run("the oldest finished events beyond the limit are deleted", func(t *testing.T) {
		t.Parallel()
		env := newEnvironment(t, func(set *settings) { set.finishedLimit = 2 })
		var ids []uuid.UUID
		for range 5 {
			ids = append(ids, env.deliver(uuid.NewString()))
			require.True(t, waitFor(func() bool {
				return query[string](env, `SELECT status FROM webhook_events WHERE id = $1`, ids[len(ids)-1]) == "done"
			}))
		}
		require.True(t, waitFor(func() bool { return env.get(ids[2]) == nil }))
		assert.NotNil(t, env.get(ids[3]))
		assert.NotNil(t, env.get(ids[4]))
	})
	t.Run("waiting events beyond the limit are parked, and recreated when they are due", func(t *testing.T) {
		t.Parallel()
		env := newEnvironment(t, func(set *settings) {
			set.maxWaiting, set.backoff.Base, set.backoff.Max = 1, time.Hour, time.Hour
		})
		env.forward.script(func(int, *store.Attempt) operation.Outcome { return failing(destination.Transient, "answered 503") })
		a, b := env.deliver("a"), env.deliver("b")
		require.True(t, waitFor(func() bool { return query[int64](env, `SELECT count(*) FROM webhook_events WHERE parked`) == 1 }))
		require.True(t, waitFor(func() bool { return (env.get(a) == nil) != (env.get(b) == nil) }))
		parked := query[uuid.UUID](env, `SELECT id FROM webhook_events WHERE parked`)
		assert.Nil(t, env.get(parked))
		require.NoError(t, env.db.MarkDispatched(t.Context(), []store.EventMeta{{ID: parked}}), "the relay can mark the row as late as this")
		env.forward.script(nil)
		env.exec(`UPDATE webhook_events SET next_attempt_at = now() WHERE id = $1`, parked)
		env.waitForPhase(parked, v1alpha1.PhaseDone)
	})
}
