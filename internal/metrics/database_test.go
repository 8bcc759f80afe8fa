package metrics_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
)

const poolSize = 2

// newDatabase returns a new migrated database.
func newDatabase(t *testing.T) *store.Store {
	t.Helper()
	return migrated(t, testenv.Postgres(t))
}

func migrated(t *testing.T, url string) *store.Store {
	t.Helper()
	_, err := store.Migrate(t.Context(), url, store.MigrateOptions{Normalise: func([]byte, time.Time) event.Event { return event.Event{} }})
	require.NoError(t, err)
	db, err := store.Open(t.Context(), url, store.Options{Name: t.Name(), MaxConns: poolSize})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

func exec(t *testing.T, db *store.Store, sql string) {
	t.Helper()
	_, err := db.Pool().Exec(t.Context(), sql)
	require.NoError(t, err)
}

const (
	oldest   = "verity_sync_oldest_unfinished_event_age_seconds"
	rollback = "verity_sync_database_rollback_timestamp_seconds"
)

func TestTheStatsOfAllEventsAreThoseOfTheDatabase(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rows string
		want map[string]float64
		age  time.Duration
	}{
		"an empty table": {
			rows: `SELECT`,
			want: map[string]float64{
				`verity_sync_database_up`: 1, `verity_sync_refused_events`: 0, `verity_sync_undispatched_events`: 0,
				`verity_sync_events{status="pending"}`: 0, `verity_sync_events{status="processing"}`: 0,
				`verity_sync_events{status="unparseable"}`: 0, `verity_sync_events{status="error"}`: 0, `verity_sync_events{status="done"}`: 0,
			},
		},
		"rows in every state": {
			rows: `INSERT INTO webhook_events
				(source, body_hash, event_type, entity_type, payload_json, dedupe_key, status, received_at, dispatched_at, processed_at)
				SELECT 'ghl', '', 'note.created', 'note', '{}', gen_random_uuid(), r.status, now() - r.age,
				       CASE WHEN r.dispatched THEN now() END, CASE WHEN r.status IN ('done', 'error') THEN now() END
				FROM (VALUES ('pending', false, interval '5 minutes', 3), ('pending', true, interval '1 hour', 2),
				             ('processing', true, interval '1 minute', 1),
				             ('error', true, interval '3 hours', 4), ('done', true, interval '2 hours', 7)) r (status, dispatched, age, n),
				     generate_series(1, r.n)`,
			want: map[string]float64{
				`verity_sync_database_up`: 1, `verity_sync_refused_events`: 0, `verity_sync_undispatched_events`: 3,
				`verity_sync_events{status="pending"}`: 5, `verity_sync_events{status="processing"}`: 1,
				`verity_sync_events{status="unparseable"}`: 0, `verity_sync_events{status="error"}`: 4, `verity_sync_events{status="done"}`: 7,
			},
			age: time.Hour,
		},
		"unparseable bodies, which other errors do not include": {
			rows: `INSERT INTO webhook_events
				(source, body_hash, event_type, entity_type, payload_json, dedupe_key, status, received_at, processed_at)
				VALUES ('ghl', '', 'unparseable', 'unknown', '{}', 'a', 'error', now(), now()),
				       ('ghl', '', 'unparseable', 'unknown', '{}', 'b', 'error', now(), now()),
				       ('ghl', '', 'note.created', 'note', '{}', 'd', 'error', now(), now())`,
			want: map[string]float64{
				`verity_sync_database_up`: 1, `verity_sync_refused_events`: 0, `verity_sync_undispatched_events`: 0,
				`verity_sync_events{status="pending"}`: 0, `verity_sync_events{status="processing"}`: 0,
				`verity_sync_events{status="unparseable"}`: 2, `verity_sync_events{status="error"}`: 1, `verity_sync_events{status="done"}`: 0,
			},
		},
		"finished rows alone, whose age does not count": {
			rows: `INSERT INTO webhook_events
				(source, body_hash, event_type, entity_type, payload_json, dedupe_key, status, received_at, processed_at)
				VALUES ('ghl', '', 'note.created', 'note', '{}', 'a', 'done', now() - interval '1 day', now()),
				       ('ghl', '', 'note.created', 'note', '{}', 'b', 'error', now() - interval '1 day', now())`,
			want: map[string]float64{
				`verity_sync_database_up`: 1, `verity_sync_refused_events`: 0, `verity_sync_undispatched_events`: 0,
				`verity_sync_events{status="pending"}`: 0, `verity_sync_events{status="processing"}`: 0,
				`verity_sync_events{status="unparseable"}`: 0, `verity_sync_events{status="error"}`: 1, `verity_sync_events{status="done"}`: 1,
			},
		},
		"waiting, suspended and parked rows": {
			rows: `INSERT INTO webhook_events
				(source, body_hash, event_type, entity_type, payload_json, dedupe_key, received_at, dispatched_at, next_attempt_at, suspended, parked)
				VALUES ('ghl', '', 'note.created', 'note', '{}', 'a', now() - interval '3 minutes', now(), now() + interval '1 hour', false, false),
				       ('ghl', '', 'note.created', 'note', '{}', 'b', now() - interval '2 minutes', now(), NULL, true, false),
				       ('ghl', '', 'note.created', 'note', '{}', 'c', now() - interval '1 minute', NULL, now() + interval '1 hour', false, true)`,
			want: map[string]float64{
				`verity_sync_database_up`: 1, `verity_sync_refused_events`: 0, `verity_sync_undispatched_events`: 1,
				`verity_sync_events{status="pending"}`: 3, `verity_sync_events{status="processing"}`: 0,
				`verity_sync_events{status="unparseable"}`: 0, `verity_sync_events{status="error"}`: 0, `verity_sync_events{status="done"}`: 0,
			},
			age: 3 * time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t)
			exec(t, db, test.rows)
			exec(t, db, `ANALYZE webhook_events`) // The number of done events is an estimate.
			reg := prometheus.NewPedanticRegistry()
			require.NoError(t, metrics.RegisterEvents(reg, db))

			stats := gather(t, reg)
			if test.age == 0 {
				assert.Zero(t, stats[oldest])
			} else {
				assert.InDelta(t, test.age.Seconds(), stats[oldest], time.Minute.Seconds()/2)
			}
			assert.Zero(t, stats[rollback], "no rollback")
			delete(stats, oldest)
			delete(stats, rollback)
			assert.Equal(t, test.want, stats)
		})
	}
}

func TestADatabaseThatIsDownHasNoStats(t *testing.T) {
	t.Parallel()
	server := testenv.PostgresServer(t)
	db := migrated(t, server.URL())
	clock := newClock()
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, metrics.RegisterEventsAt(reg, db, clock.now))
	require.Len(t, gather(t, reg), 10, "five states, four stats, and that it is up")

	require.NoError(t, server.Stop(postgres.Immediate))
	clock.add(time.Minute)
	assert.Equal(t, map[string]float64{"verity_sync_database_up": 0}, gather(t, reg), "the last stats are out of date")

	require.NoError(t, server.Start(t.Context()))
	tries := 0
	for clock.add(time.Minute); len(gather(t, reg)) == 1; clock.add(time.Minute) {
		tries++
		require.LessOrEqual(t, tries, poolSize, "each connection to the old server fails once at most")
	}
	assert.Len(t, gather(t, reg), 10, "it is back")
}

func TestScrapesAtTheSameTimeShareAQuery(t *testing.T) {
	t.Parallel()
	clock, source := newClock(), &counted{}
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, metrics.RegisterEventsAt(reg, source, clock.now))
	for range 3 {
		gather(t, reg)
	}
	assert.EqualValues(t, 1, source.reads.Load())
	clock.add(4 * time.Second)
	gather(t, reg)
	assert.EqualValues(t, 1, source.reads.Load())
	clock.add(2 * time.Second)
	stats := gather(t, reg)
	assert.EqualValues(t, 2, source.reads.Load())
	assert.InDelta(t, 2, stats["verity_sync_undispatched_events"], 0, "the last stats are shown")
}

// counted has as many undispatched events as it was queried before.
type counted struct{ reads atomic.Int64 }

func (c *counted) Stats(context.Context) (store.Stats, error) {
	return store.Stats{Undispatched: c.reads.Add(1)}, nil
}

// clock is a clock that the test moves.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{at: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.at }

func (c *clock) add(d time.Duration) { c.at = c.at.Add(d) }
