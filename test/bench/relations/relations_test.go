package relations_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/bench/relations"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func pool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), testenv.PostgresServer(t).URL())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func exec(t *testing.T, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		_, err := pool.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
}

// Postgres counts what a session has done once that is idle, so that a snapshot may be late.
func eventually(t *testing.T, pool *pgxpool.Pool, condition func(relations.Snapshot) bool) relations.Snapshot {
	t.Helper()
	var s relations.Snapshot
	require.Eventually(t, func() bool {
		var err error
		s, err = relations.Read(t.Context(), pool)
		require.NoError(t, err)
		return condition(s)
	}, time.Minute, 50*time.Millisecond)
	return s
}

func TestASnapshotHasSizesRowsAndUpdates(t *testing.T) {
	t.Parallel()
	p := pool(t)
	exec(t, p, "CREATE TABLE events (id int PRIMARY KEY, status text, note text, body text) WITH (autovacuum_enabled = off)",
		"ALTER TABLE events ALTER body SET STORAGE EXTERNAL", "CREATE INDEX events_open_idx ON events (id) WHERE status = 'open'",
		"INSERT INTO events SELECT n, 'open', '', repeat('x', CASE n WHEN 1 THEN 100000 ELSE 100 END) FROM generate_series(1, 10) n")
	before := eventually(t, p, func(s relations.Snapshot) bool { return s.Tables["events"].Inserted == 10 })

	exec(t, p, "UPDATE events SET note = 'seen' WHERE id <= 3", "UPDATE events SET status = 'done' WHERE id = 4",
		"DELETE FROM events WHERE id > 8")

	after := eventually(t, p, func(s relations.Snapshot) bool {
		return s.Tables["events"].Updated == 4 && s.Tables["events"].Deleted == 2
	})
	events := after.Tables["events"]
	assert.InDelta(t, 0.75, after.HotShare(before, "events"), 0.01, "an update of a column that no index has is hot")
	assert.EqualValues(t, 8, events.Live)
	assert.EqualValues(t, 6, events.Dead)
	assert.Positive(t, events.Heap)
	assert.GreaterOrEqual(t, events.Toast, int64(100_000), "a value of 100,000 bytes is not in its row")
	assert.Equal(t, events.Indexes, after.Indexes["events_pkey"]+after.Indexes["events_open_idx"])
	assert.Equal(t, events.Heap+events.Toast+events.Indexes, events.Total())
	assert.Greater(t, after.WAL, before.WAL)
	assert.Positive(t, after.WALFiles)
	assert.Zero(t, after.HotShare(after, "events"), "there were no updates since")
}

func TestAWatcherKeepsTheMostDeadRowsUntilItIsAsked(t *testing.T) {
	t.Parallel()
	p := pool(t)
	exec(t, p, "CREATE TABLE events (id int) WITH (autovacuum_enabled = off)", "INSERT INTO events SELECT generate_series(1, 100)")
	w := relations.Watch(t.Context(), p, 20*time.Millisecond)
	t.Cleanup(w.Stop)

	exec(t, p, "UPDATE events SET id = id + 1000 WHERE id <= 70")
	most := int64(0)
	require.Eventually(t, func() bool {
		dead, err := w.MostDead()
		require.NoError(t, err)
		most = max(most, dead["events"])
		return most == 70
	}, time.Minute, 50*time.Millisecond)
	exec(t, p, "VACUUM events")
	require.Eventually(t, func() bool {
		dead, err := w.MostDead()
		require.NoError(t, err)
		seen, looked := dead["events"]
		return looked && seen == 0
	}, time.Minute, 50*time.Millisecond, "what was removed is forgotten")
}

func TestAWatcherReportsAPostgresThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	p := pool(t)
	p.Close()
	w := relations.Watch(t.Context(), p, 20*time.Millisecond)
	t.Cleanup(w.Stop)
	require.Eventually(t, func() bool {
		_, err := w.MostDead()
		return err != nil
	}, time.Minute, 20*time.Millisecond)
}
