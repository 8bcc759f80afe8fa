package capacity

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/verity"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// queue makes events of one entity, of which one in ten is refused by Verity.
const queue = `
INSERT INTO webhook_events (id, received_at, source, event_type, entity_type, entity_id, location_id, ordering_key, payload_json, body_hash,
                            dedupe_key, headers)
SELECT gen_random_uuid(), now() - interval '1 minute' + n * interval '1 millisecond', 'ghl', 'note.updated', 'note', 'busy', 'loc1', 'note:busy',
       CASE WHEN n % 10 = 0 THEN '[]' ELSE json_build_object('type', 'NoteUpdate', 'id', 'busy', 'n', n) END, '\x00', 'ghl:busy-' || n,
       '{"Content-Type": "application/json"}'
FROM generate_series(1, $1::int) n`

// happenings counts what is done to the queue: each change of a status gets the next number while the change is made, on whatever connection.
const happenings = `
CREATE TABLE happenings (n bigserial PRIMARY KEY, event_id uuid NOT NULL, status text NOT NULL);
CREATE FUNCTION happen() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO happenings (event_id, status) VALUES (NEW.id, NEW.status); RETURN NULL; END';
CREATE TRIGGER happen AFTER UPDATE OF status ON webhook_events FOR EACH ROW WHEN (NEW.entity_id = 'busy') EXECUTE FUNCTION happen()`

// overtaken are the events of the queue of which an attempt was begun before the event ahead of it was finished.
const overtaken = `
SELECT count(*) FROM (
    SELECT begun, lag(finished) OVER (ORDER BY received_at, id) AS before
    FROM webhook_events e, LATERAL (
        SELECT min(n) FILTER (WHERE h.status = 'processing') AS begun, max(n) FILTER (WHERE h.status IN ('done', 'error')) AS finished
        FROM happenings h WHERE h.event_id = e.id) h
    WHERE entity_id = 'busy') pairs
WHERE begun IS NULL OR begun < before`

func TestEventsOfAnEntityFollowEachOtherAtOnceAndLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	// Fewer may be live than there are, so that some come from the database when their turn has come.
	events, live := either(150, 5000), either(20, 200)
	s := start(t, map[string]string{"MAX_LIVE_EVENTS": strconv.Itoa(live)})
	exec(t, s, happenings)
	exec(t, s, queue, events)
	var posted []string
	samples := watch(t, s, systemtest.Timeout+time.Duration(events)*slowest*5, func(sample) bool {
		answer, err := s.Post(t.Context(), s.Receivers[len(posted)%receivers], s.Sender.Marketplace("NoteCreate", map[string]any{"id": strconv.Itoa(len(posted))}))
		require.NoError(t, err)
		posted = append(posted, answer.ID)
		return systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE entity_id = 'busy' AND status IN ('pending', 'processing')`) == 0
	})
	const gaps = `
SELECT coalesce(max(extract(epoch FROM started_at - before)), 0)::float8, coalesce(min(extract(epoch FROM started_at - before)), 0)::float8
FROM (SELECT started_at, lag(processed_at) OVER (ORDER BY received_at, id) AS before FROM webhook_events WHERE entity_id = 'busy') pairs`
	var longest, shortest float64
	require.NoError(t, s.Database.QueryRow(t.Context(), gaps).Scan(&longest, &shortest))
	mostLive := most(samples, func(p sample) int { return p.live })
	last := samples[len(samples)-1]
	t.Logf("%d events of one entity took %s; between two of them passed %.3f s at most; up to %d were live", events, last.at.Round(time.Second), longest, mostLive)
	assert.Zero(t, systemtest.Value[int](t, s, overtaken), "none begins before the one ahead of it is finished")
	assert.GreaterOrEqual(t, shortest, 0.0, "the times say so, too")
	assert.Equal(t, events, systemtest.Value[int](t, s, `SELECT count(DISTINCT event_id) FROM happenings WHERE status IN ('done', 'error')`))
	order := forwarded(s)
	assert.GreaterOrEqual(t, len(order), events-events/10)
	assert.True(t, slices.IsSorted(order), "Verity is sent them in their order")
	assert.Less(t, longest, 15.0, "each is woken by the one ahead of it, and does not wait for the look that is taken every 30 s")
	assert.LessOrEqual(t, mostLive, 3*live+receivers*min(batch, live), "the rest waits in the database")
	assert.Equal(t, events/10, systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE entity_id = 'busy' AND status = 'error'`), "an error unblocks")
	require.Eventually(t, func() bool {
		return systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE id = ANY($1::uuid[]) AND status = 'done'`, posted) == len(posted)
	}, systemtest.Timeout, systemtest.Tick)
	assert.Less(t, systemtest.Value[float64](t, s, `SELECT max(extract(epoch FROM processed_at - received_at))::float8 FROM webhook_events WHERE id = ANY($1::uuid[])`, posted),
		15.0, "others pass")
}

// forwarded returns the number of each event of the queue in the order in which Verity was sent them. Those that it refuses have none.
func forwarded(s *system.System) (numbers []int) {
	for _, request := range s.Verity.Requests.Requests(http.MethodPost, verity.WebhookPath) {
		var body struct {
			ID string
			N  int
		}
		if err := json.Unmarshal([]byte(request.Body), &body); err == nil && body.ID == "busy" {
			numbers = append(numbers, body.N)
		}
	}
	return numbers
}
