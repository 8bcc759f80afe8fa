package store_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// held returns a database with held events, oldest first, whose next attempts are in an hour or less. heldBy has the destinations of each.
func held(t *testing.T, heldBy ...string) *environment {
	t.Helper()
	b := newEnvironment(t)
	w := b.writer(store.WriterOptions{})
	for i, by := range heldBy {
		name := fmt.Sprint("apt", i)
		b.commit(w, delivery(name, name, `{}`))
		b.exec(`UPDATE webhook_events SET dispatched_at = now(), attempts = 1, held_by = $2, next_attempt_at = now() + interval '1 hour' - $3 * interval '1 minute'
			WHERE entity_id = $1`, name, "{"+by+"}", i)
	}
	return b
}

// due returns the entities of the events that are due.
func (b *environment) due() []string {
	b.t.Helper()
	return values(b, `SELECT entity_id FROM webhook_events WHERE status = 'pending' AND next_attempt_at <= now() ORDER BY received_at`)
}

func (b *environment) release(limit int, down ...string) (released []store.Released, more bool) {
	b.t.Helper()
	released, more, err := b.ReleaseHeld(b.t.Context(), down, limit)
	require.NoError(b.t, err)
	return released, more
}

func TestReleaseHeldReleasesEventsWhoseDestinationsAreUp(t *testing.T) {
	t.Parallel()
	t.Run("an event of a destination that is down stays, unless it also waits for one that is up", func(t *testing.T) {
		t.Parallel()
		b := held(t, "aloware", "verity-http", "ghl:loc1", `verity-http,verity-db`, "verity-db")
		released, more := b.release(10, "aloware", "verity-http")
		assert.Len(t, released, 3)
		assert.False(t, more)
		assert.Equal(t, []string{"apt2", "apt3", "apt4"}, b.due())
		released, _ = b.release(10)
		assert.Len(t, released, 2, "none is down")
	})
	t.Run("the oldest are released first, and no more than are claimed meanwhile", func(t *testing.T) {
		t.Parallel()
		b := held(t, "d", "d", "d", "d", "d")
		_, more := b.release(2)
		assert.True(t, more)
		assert.Equal(t, []string{"apt0", "apt1"}, b.due())
		released, more := b.release(2)
		assert.Empty(t, released)
		assert.True(t, more, "more events remain")
		b.exec(`UPDATE webhook_events SET status = 'processing' WHERE entity_id = 'apt0'`)
		_, more = b.release(2)
		assert.True(t, more)
		assert.Equal(t, []string{"apt1", "apt2"}, b.due())
		_, more = b.release(10)
		assert.False(t, more)
		assert.Equal(t, []string{"apt1", "apt2", "apt3", "apt4"}, b.due())
	})
	t.Run("a blocked event does not block the release of others for long", func(t *testing.T) {
		t.Parallel()
		b := held(t, "d", "d")
		b.exec(`UPDATE webhook_events SET next_attempt_at = now() - interval '61 seconds' WHERE entity_id = 'apt0'`)
		released, _ := b.release(1)
		assert.Len(t, released, 1)
	})
	t.Run("a suspended event stays, and one that waits for its own retry", func(t *testing.T) {
		t.Parallel()
		b := held(t, "d", "d")
		b.exec(`UPDATE webhook_events SET suspended = true WHERE entity_id = 'apt0'`)
		b.exec(`UPDATE webhook_events SET held_by = NULL WHERE entity_id = 'apt1'`)
		released, more := b.release(10)
		assert.Empty(t, released)
		assert.False(t, more)
	})
	t.Run("a parked event is released", func(t *testing.T) {
		t.Parallel()
		b := held(t, "d")
		b.exec(`UPDATE webhook_events SET parked = true, dispatched_at = NULL`)
		behind, err := b.FindOrphans(t.Context(), 0)
		require.NoError(t, err)
		assert.Zero(t, behind)
		released, _ := b.release(10)
		require.Len(t, released, 1)
		assert.False(t, released[0].Dispatched)
		behind, err = b.FindOrphans(t.Context(), 0)
		require.NoError(t, err)
		assert.NotZero(t, behind)
	})
}

func TestReleaseForTrialReleasesOneEventForEachDestinationAndThenAnother(t *testing.T) {
	t.Parallel()
	b := held(t, "aloware", "verity-http", "aloware", "ghl:loc1")
	try := func() {
		t.Helper()
		_, err := b.ReleaseForTrial(t.Context(), []string{"aloware", "verity-http", "verity-db"})
		require.NoError(t, err)
	}
	try()
	assert.Equal(t, []string{"apt1", "apt2"}, b.due(), "those with the earliest next attempt")
	try()
	assert.Equal(t, []string{"apt1", "apt2"}, b.due(), "their attempts have not started")
	b.exec(`UPDATE webhook_events SET next_attempt_at = now() + interval '2 hours' WHERE next_attempt_at <= now()`)
	try()
	assert.Equal(t, []string{"apt0", "apt1"}, b.due(), "another event is next, if there is one")
}
