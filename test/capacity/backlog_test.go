package capacity

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

const (
	backlog = 50_000
	maxLive = 1000
	// drained is how much of the backlog a short test waits for.
	drained = 600
	// slowest is what a row may take of the time of all.
	slowest = 100 * time.Millisecond
)

// lay makes a backlog of events of different entities, as receivers leave it that were killed right after their commits.
const lay = `
INSERT INTO webhook_events (id, received_at, source, event_type, entity_type, entity_id, location_id, ordering_key, payload_json, body_hash,
                            dedupe_key, headers)
SELECT gen_random_uuid(), now() - interval '1 day' + n * interval '1 second', 'ghl', 'note.created', 'note', 'note-' || n, 'loc1',
       'note:note-' || n, json_build_object('type', 'NoteCreate', 'id', 'note-' || n, 'body', repeat('x', 500)), '\x00', 'ghl:lay-' || n,
       '{"Content-Type": "application/json"}'
FROM generate_series(1, $1::int) n`

func TestABacklogIsDrainedOldestFirstWithinItsBounds(t *testing.T) {
	t.Parallel()
	s := start(t, map[string]string{"MAX_LIVE_EVENTS": strconv.Itoa(maxLive)})
	require.NoError(t, s.Controllers[0].Stop())
	exec(t, s, lay, backlog)
	filled := watch(t, s, systemtest.Timeout, func(p sample) bool { return p.live >= maxLive })
	t.Logf("the live events reached their limit after %s", filled[len(filled)-1].at.Round(time.Second))
	require.NoError(t, s.Controllers[0].Start(t.Context()))

	// What comes in meanwhile is of other entities.
	var posted []string
	wanted := either(drained, backlog)
	samples := watch(t, s, time.Duration(wanted)*slowest+systemtest.Timeout, func(p sample) bool {
		answer, err := s.Post(t.Context(), s.Receivers[len(posted)%receivers], s.Sender.Marketplace("NoteCreate", map[string]any{"id": "new"}))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, answer.Status, answer.Error)
		posted = append(posted, answer.ID)
		return p.done >= wanted
	})
	last := samples[len(samples)-1]
	mostDue := most(samples, func(p sample) int { return p.due })
	mostLive := most(samples, func(p sample) int { return p.live })
	t.Logf("%d of %d were done within %s, %.0f a second; at most %d were due and %d live at a time", last.done, backlog,
		last.at.Round(time.Second), float64(last.done)/last.at.Seconds(), mostDue, mostLive)
	assert.LessOrEqual(t, most(filled, func(p sample) int { return p.live }), maxLive+receivers*batch)
	assert.LessOrEqual(t, mostDue, maxLive+receivers*batch)
	assert.LessOrEqual(t, mostLive, maxLive+receivers*batch+last.done/int(max(1, last.at.Seconds())), "what is done is shown a moment later")
	assertMemoryIsFlat(t, samples)

	const overtaken = `
SELECT coalesce(max(abs(received - started)), 0) FROM (
    SELECT row_number() OVER (ORDER BY received_at, id) AS received, row_number() OVER (ORDER BY started_at) AS started
    FROM webhook_events WHERE started_at IS NOT NULL AND dedupe_key LIKE 'ghl:lay-%') places`
	assert.LessOrEqual(t, systemtest.Value[int](t, s, overtaken), maxLive+receivers*batch, "none was overtaken by more than are live at a time")
	if !full {
		assert.Less(t, systemtest.Value[int](t, s, `SELECT coalesce(max(place), 0) FROM (SELECT dispatched_at, row_number() OVER (ORDER BY received_at, id) AS place
			FROM webhook_events) rows WHERE dispatched_at IS NOT NULL`), last.done+2*(maxLive+receivers*batch), "the youngest that was relayed")
		return
	}
	watch(t, s, systemtest.Timeout, func(sample) bool {
		return systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE id = ANY($1::uuid[]) AND status = 'done'`, posted) == len(posted)
	})
	assert.Equal(t, backlog+len(posted), systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE status = 'done' AND attempts = 1`))
	assert.Len(t, s.Verity.Deliveries(), backlog+len(posted), "each was forwarded once")
}
