package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

// TestALongMigrationIsReportedAndHasNoTimeout uses a migration that waits for a lock of another session.
func TestALongMigrationIsReportedAndHasNoTimeout(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		hangs bool
	}{
		"it ends when the table is free":              {},
		"it ends when the database stopped answering": {hangs: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := unmigrated(t)
			proxy := b.proxy()
			unlock := testenv.LockTable(t, b.url, "sync_log", "ACCESS SHARE")

			var steps []string
			var once sync.Once
			began := time.Now()
			applied, err := store.Migrate(t.Context(), proxy.URL(), store.MigrateOptions{
				Normalise: normalise,
				Report: func(step string, since time.Duration) {
					steps = append(steps, step)
					assert.GreaterOrEqual(t, since, 4*time.Second)
					once.Do(func() {
						if tc.hangs {
							proxy.HalfOpen()
							return
						}
						unlock()
					})
				},
			})
			assert.Equal(t, "apply 1: tables", steps[0])
			if !tc.hangs {
				require.NoError(t, err)
				assert.Len(t, applied, 13)
				return
			}
			require.ErrorContains(t, err, "the migration lost its lock and was stopped: run it again: no answer within 15s")
			assert.False(t, store.IsPermanent(err))
			assert.Less(t, time.Since(began), time.Minute)
			unlock()
			require.EventuallyWithT(t, func(c *assert.CollectT) { // Postgres may not have detected yet that the first migration ended.
				_, err := store.Migrate(t.Context(), b.url, store.MigrateOptions{Normalise: normalise})
				assert.NoError(c, err)
			}, time.Minute, time.Second)
		})
	}
}

// TestAPreviewEndsIfTheDatabaseStopsAnswering uses a preview that waits for a lock of another session.
func TestAPreviewEndsIfTheDatabaseStopsAnswering(t *testing.T) {
	t.Parallel()
	b := unmigrated(t)
	proxy := b.proxy()
	testenv.LockTable(t, b.url, "webhook_events", "ACCESS EXCLUSIVE")
	var once sync.Once
	_, err := store.PreviewMigration(t.Context(), proxy.URL(), store.MigrateOptions{
		Normalise: normalise, Report: func(string, time.Duration) { once.Do(proxy.HalfOpen) },
	})
	require.ErrorContains(t, err, "the database stopped answering: no answer within 15s")
}
