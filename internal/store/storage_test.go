package store_test

import (
	"context"
	"maps"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/legacy"
)

// storage returns the storage parameters of the tables, by "<table>.<parameter>".
func (b *environment) storage() map[string]string {
	b.t.Helper()
	rows, err := b.Pool().Query(b.t.Context(), `
		SELECT c.relname || '.' || o.option_name, o.option_value
		FROM pg_class c, pg_options_to_table(c.reloptions) o
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'`)
	require.NoError(b.t, err)
	set := map[string]string{}
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		set[name] = value
		return nil
	})
	require.NoError(b.t, err)
	return set
}

func TestTheTablesAreStoredAndVacuumedAsMeasured(t *testing.T) {
	t.Parallel()
	measured := map[string]string{
		"webhook_events.autovacuum_vacuum_scale_factor": "0.02",
		"webhook_events.autovacuum_vacuum_threshold":    "1000",
		"sync_log.autovacuum_vacuum_scale_factor":       "0.02",
		"sync_log.autovacuum_vacuum_threshold":          "1000",
	}
	for name, tc := range map[string]struct {
		before string
		// differs has the parameters that differ from the measured ones.
		differs map[string]string
	}{
		"a fresh database":                    {"", nil},
		"a database of the legacy middleware": {legacy.Tables + legacy.Rows, nil},
		"an administrator's parameters stay": {
			legacy.Tables + `ALTER TABLE webhook_events SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.3);
				ALTER TABLE sync_log SET (autovacuum_vacuum_threshold = 7, autovacuum_enabled = off)`,
			map[string]string{
				"webhook_events.fillfactor": "75", "webhook_events.autovacuum_vacuum_scale_factor": "0.3",
				"sync_log.autovacuum_vacuum_threshold": "7", "sync_log.autovacuum_enabled": "off",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &environment{t: t, url: testenv.Postgres(t)}
			b.Store = open(t, b.url)
			if tc.before != "" {
				b.exec(tc.before)
			}
			_, err := store.Migrate(t.Context(), b.url, store.MigrateOptions{Normalise: normalise})
			require.NoError(t, err)
			want := maps.Clone(measured)
			maps.Copy(want, tc.differs)
			assert.Equal(t, want, b.storage())
		})
	}
}

func TestVacuumSettingsAreMigratedWhileEventsAreWritten(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	b.exec(`DELETE FROM verity_sync_schema_version WHERE version_id >= 14`)
	b.exec(`ALTER TABLE webhook_events RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold)`)
	b.exec(`ALTER TABLE sync_log SET (autovacuum_vacuum_scale_factor = 0.5)`)
	id := b.commit(b.writer(store.WriterOptions{}), delivery("w1", "apt1", `{}`))
	tx, err := b.Pool().Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	_, err = tx.Exec(t.Context(), `UPDATE webhook_events SET suspended = true WHERE id = $1`, id)
	require.NoError(t, err)

	require.NoError(t, store.MigrateTo(t.Context(), b.url, 14, store.MigrateOptions{}))

	set := b.storage()
	assert.Equal(t, "0.02", set["webhook_events.autovacuum_vacuum_scale_factor"])
	assert.Equal(t, "0.5", set["sync_log.autovacuum_vacuum_scale_factor"], "an administrator's value stays")
	require.NoError(t, tx.Commit(t.Context()), "the transaction continued meanwhile")
}
