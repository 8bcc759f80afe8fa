package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/legacy"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgbouncer"
)

// permissive makes PgBouncer ignore the parameters that it does not pass on.
var permissive = map[string]string{"ignore_startup_parameters": pgbouncer.Permissive}

// poolers are the paths to a database through a pooler.
var poolers = map[string]pgbouncer.Options{
	"sessions":                    {Mode: "session"},
	"sessions, permissive":        {Mode: "session", Settings: permissive},
	"transactions":                {Mode: "transaction"},
	"transactions, permissive":    {Mode: "transaction", Settings: permissive},
	"transactions, in rotation":   {Mode: "transaction", Settings: map[string]string{"server_round_robin": "1"}},
	"transactions, on two in all": {Mode: "transaction", Settings: map[string]string{"default_pool_size": "2"}},
}

func TestAStoreWorksBehindAPooler(t *testing.T) {
	t.Parallel()
	for name, options := range poolers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, url := testenv.PgBouncer(t, testenv.Database(t), options)
			migrate(t, url)
			s := open(t, url)
			require.NoError(t, s.CheckSchema(t.Context()))
			b := &environment{Store: s, t: t, url: url}
			w := b.writer(store.WriterOptions{})
			term, err := s.AcquireTerm(t.Context(), "one")
			require.NoError(t, err)

			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					for i := range 25 {
						// Marketplace deliveries have an id. Workflow deliveries have none, and take locks in a transaction.
						webhookID := ""
						if i%2 == 0 {
							webhookID = uuid.NewString()
						}
						r, err := w.Commit(t.Context(), delivery(webhookID, uuid.NewString(), `{}`))
						if !assert.NoError(t, err) {
							return
						}
						row := store.EventMeta{ID: r.ID}
						assert.NoError(t, s.MarkDispatched(t.Context(), []store.EventMeta{row}))
						c, err := s.Claim(t.Context(), r.ID, term)
						if !assert.NoError(t, err) {
							return
						}
						_, err = s.FinishAttempt(t.Context(), c, store.AttemptResult{Status: store.StatusDone, Attempts: c.Attempts})
						assert.NoError(t, err)
					}
				})
			}
			all.Wait()
			assert.Equal(t, 200, value[int](b, `SELECT count(*) FROM webhook_events WHERE status = 'done' AND dispatched_at IS NOT NULL`))
		})
	}
}

func TestMigrationsBehindAPoolerWaitForEachOther(t *testing.T) {
	t.Parallel()
	for name, options := range poolers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := testenv.Database(t, legacy.Tables, legacy.Rows)
			// A migration has two connections; three migrations through two connections would depend on luck.
			if options.Settings["default_pool_size"] != "" {
				options.Settings = map[string]string{"default_pool_size": "6"}
			}
			_, url := testenv.PgBouncer(t, base, options)
			applied := make([][]store.MigrationStatus, 3)
			var all sync.WaitGroup
			for i := range applied {
				all.Go(func() {
					var err error
					applied[i], err = store.Migrate(t.Context(), url, store.MigrateOptions{
						Normalise: func([]byte, time.Time) event.Event { return event.Event{} },
					})
					assert.NoError(t, err)
				})
			}
			all.Wait()
			known, err := store.MigrationsOf(t.Context(), url)
			require.NoError(t, err)
			assert.Len(t, concat(applied), len(known), "each of them once")
			assert.Empty(t, migrate(t, url), "nothing is left, and no lock either")
		})
	}
}

func concat(lists [][]store.MigrationStatus) (all []store.MigrationStatus) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// Earlier releases use a session's lock.
func TestAMigrationWaitsForOneOfAnEarlierRelease(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	other, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer other.Close(t.Context())
	var schema string
	require.NoError(t, other.QueryRow(t.Context(), `SELECT current_schema()`).Scan(&schema))
	_, err = other.Exec(t.Context(), `SELECT pg_advisory_lock($1)`, store.MigrationLock(schema))
	require.NoError(t, err)

	done := make(chan []store.MigrationStatus, 1)
	go func() {
		applied, err := store.Migrate(t.Context(), url, store.MigrateOptions{Normalise: func([]byte, time.Time) event.Event { return event.Event{} }})
		assert.NoError(t, err)
		done <- applied
	}()
	// It has tried to acquire the lock, without success.
	require.Eventually(t, func() bool {
		var waiting bool
		err := other.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE application_name = 'verity-sync migrate' AND state = 'idle in transaction' AND query LIKE '%try_advisory%'
			  AND datname = current_database())`).Scan(&waiting)
		return err == nil && waiting
	}, time.Minute, 10*time.Millisecond)
	select {
	case <-done:
		t.Fatal("it must wait")
	default:
	}
	_, err = other.Exec(t.Context(), `SELECT pg_advisory_unlock($1)`, store.MigrationLock(schema))
	require.NoError(t, err)
	assert.NotEmpty(t, <-done)
}

func TestAMigrationReportsAnUnusablePooler(t *testing.T) {
	t.Parallel()
	_, url := testenv.PgBouncer(t, testenv.Database(t), pgbouncer.Options{Mode: "statement"})
	_, err := store.Migrate(t.Context(), url, store.MigrateOptions{Normalise: func([]byte, time.Time) event.Event { return event.Event{} }})
	require.ErrorIs(t, err, database.ErrUnusable)
	assert.ErrorContains(t, err, "pool_mode=statement")
	assert.True(t, store.IsPermanent(err))
	require.ErrorIs(t, open(t, url).CheckSchema(t.Context()), database.ErrUnusable)
}
