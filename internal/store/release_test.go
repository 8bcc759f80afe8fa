package store_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// held returns a database with events that wait for destinations for an hour and more, oldest first: each is named and waits
// for what is given.
func held(t *testing.T, heldBy ...string) *bundle {
	t.Helper()
	b := newBundle(t)
	w := b.writer(store.WriterOptions{})
	for i, by := range heldBy {
		name := fmt.Sprint("apt", i)
		b.commit(w, delivery(name, name, `{}`))
		b.exec(`UPDATE webhook_events SET dispatched_at = now(), attempts = 1, held_by = $2, next_attempt_at = now() + interval '1 hour' - $3 * interval '1 minute'
			WHERE entity_id = $1`, name, "{"+by+"}", i)
	}
	return b
}

// due returns which events are due, by the names of their entities.
func (b *bundle) due() []string {
	b.t.Helper()
	return values(b, `SELECT entity_id FROM webhook_events WHERE status = 'pending' AND next_attempt_at <= now() ORDER BY received_at`)
}

func (b *bundle) release(limit int, down ...string) (released []store.Released, more bool) {
	b.t.Helper()
	released, more, err := b.ReleaseHeld(b.t.Context(), down, limit)
	require.NoError(b.t, err)
	return released, more
}

func TestReleaseHeldLetsGoWhatNothingHoldsBack(t *testing.T) {
	t.Parallel()
	t.Run("what waits for a destination that is down stays, unless it waits for one that is not as well", func(t *testing.T) {
		t.Parallel()
		b := held(t, "aloware", "verity-http", "ghl:loc1", `verity-http,verity-db`, "verity-db")
		released, more := b.release(10, "aloware", "verity-http")
		assert.Len(t, released, 3)
		assert.False(t, more)
		assert.Equal(t, []string{"apt2", "apt3", "apt4"}, b.due())
		released, _ = b.release(10)
		assert.Len(t, released, 2, "none is down")
	})
	t.Run("the oldest go first, and no more than are claimed meanwhile", func(t *testing.T) {
		t.Parallel()
		b := held(t, "d", "d", "d", "d", "d")
		_, more := b.release(2)
		assert.True(t, more)
		assert.Equal(t, []string{"apt0", "apt1"}, b.due())
		released, more := b.release(2)
		assert.Empty(t, released)
		assert.True(t, more, "they are still to come")
		b.exec(`UPDATE webhook_events SET status = 'processing' WHERE entity_id = 'apt0'`)
		_, more = b.release(2)
		assert.True(t, more)
		assert.Equal(t, []string{"apt1", "apt2"}, b.due())
		_, more = b.release(10)
		assert.False(t, more)
		assert.Equal(t, []string{"apt1", "apt2", "apt3", "apt4"}, b.due())
	})
	t.Run("what is stuck behind something else does not hold up the others for long", func(t *testing.T) {
		t.Parallel()
		b := held(t, "d", "d")
		b.exec(`UPDATE webhook_events SET next_attempt_at = now() - interval '61 seconds' WHERE entity_id = 'apt0'`)
		released, _ := b.release(1)
		assert.Len(t, released, 1)
	})
	t.Run("a suspended event stays, and one that waits for its own sake", func(t *testing.T) {
		t.Parallel()
		b := held(t, "d", "d")
		b.exec(`UPDATE webhook_events SET suspended = true WHERE entity_id = 'apt0'`)
		b.exec(`UPDATE webhook_events SET held_by = NULL WHERE entity_id = 'apt1'`)
		released, more := b.release(10)
		assert.Empty(t, released)
		assert.False(t, more)
	})
	t.Run("a parked event comes back", func(t *testing.T) {
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

func TestReleaseToTryLetsGoOneEventForEachDestinationAndAnotherOneTheNextTime(t *testing.T) {
	t.Parallel()
	b := held(t, "aloware", "verity-http", "aloware", "ghl:loc1")
	try := func() {
		t.Helper()
		_, err := b.ReleaseToTry(t.Context(), []string{"aloware", "verity-http", "verity-db"})
		require.NoError(t, err)
	}
	try()
	assert.Equal(t, []string{"apt1", "apt2"}, b.due(), "those whose time is nearest")
	try()
	assert.Equal(t, []string{"apt1", "apt2"}, b.due(), "they have yet to try")
	b.exec(`UPDATE webhook_events SET next_attempt_at = now() + interval '2 hours' WHERE next_attempt_at <= now()`)
	try()
	assert.Equal(t, []string{"apt0", "apt1"}, b.due(), "it is another one's turn, where there is another")
}
