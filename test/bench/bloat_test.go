package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

// newTestEnvironment is an environment in which everything takes seconds.
func newTestEnvironment(t *testing.T) *environment {
	t.Helper()
	log.SetLogger(logr.Discard())
	o := options{binaries: t.TempDir(), say: t.Logf}
	require.NoError(t, system.Build(t.Context(), filepath.Join(o.binaries, "verity-sync")))
	e, err := newEnvironment(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, e.Close()) })
	return e
}

func TestBloatIsMeasured(t *testing.T) {
	t.Parallel()
	e := newTestEnvironment(t)
	t.Run("settings are compared on servers of their own", func(t *testing.T) {
		e.options.duration, e.options.rate = 2*time.Second, 50
		compared := []setting{
			{name: "defaults"},
			{name: "as migrated", keep: true},
			{name: "half full", statements: []string{"ALTER TABLE webhook_events SET (fillfactor = 50)"}},
		}
		r := record{}
		require.NoError(t, e.compare(t.Context(), r, compared))

		for _, s := range compared {
			assert.GreaterOrEqual(t, r.median("webhook_events"+measureBloat, s.name), 1.0, s.name)
			assert.Positive(t, r.median(measureWAL, s.name), s.name)
			assert.Positive(t, r.median(measureClaimP99, s.name), s.name)
			assert.Contains(t, r, key{"appointments" + measureHot, s.name})
		}
		assert.Greater(t, r.median(measureHeap, "half full"), 1.5*r.median(measureHeap, "defaults"), "a setting applies to the history")
	})
	t.Run("a burst is measured to its end", func(t *testing.T) {
		e.options.duration = 8 * time.Second
		r := record{}
		require.NoError(t, e.burst(t.Context(), r))

		rendered := renderBurst(r)
		for _, name := range []string{phaseBefore, quarter(0), quarter(quarters - 1), phaseAfter} {
			assert.Positive(t, r.median(measureDone, name), name)
			assert.Positive(t, r.median(measureAnsweredP99, name), name)
			assert.Positive(t, r.median(measureClaimP50, name), name)
			assert.Contains(t, rendered, name)
		}
		assert.Greater(t, r.median(measureIndexes, phaseAfter), r.median(measureIndexes, phasePacked), "what is rewritten is smaller")
	})
}

// What is reset is what the migrations have set, and nothing else.
func TestTheDefaultsOfPostgresAreThoseOfAFreshTable(t *testing.T) {
	t.Parallel()
	server := testenv.PostgresServer(t)
	pool, err := pgxpool.New(t.Context(), server.URL())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	for _, statement := range []string{
		"CREATE TABLE webhook_events (id int) WITH (autovacuum_vacuum_threshold = 7, fillfactor = 60)", "CREATE TABLE sync_log (id int)",
		"CREATE TABLE appointments (id text) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off)",
	} {
		_, err := pool.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	require.NoError(t, setting{statements: []string{"ALTER TABLE sync_log SET (fillfactor = 50)"}}.apply(t.Context(), pool))
	set, err := query[string](t.Context(), pool,
		"SELECT string_agg(relname || ' ' || reloptions::text, ', ') FROM pg_class WHERE relkind = 'r' AND reloptions IS NOT NULL")
	require.NoError(t, err)
	assert.Equal(t, "sync_log {fillfactor=50}", set)
}
