package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/legacy"
)

func normalise(payload []byte, receivedAt time.Time) event.Event {
	b, err := ghl.Decode("application/json", payload)
	if err != nil {
		return event.Event{Source: event.SourceGHL, Type: event.TypeUnknown, EntityType: event.EntityUnknown}
	}
	return ghl.Normalise(b, receivedAt)
}

// adopted is a migrated database of the legacy middleware with the rows of insert.
func adopted(t *testing.T, insert string, opts store.MigrateOptions) *environment {
	t.Helper()
	b := &environment{t: t, url: testenv.Postgres(t)}
	b.Store = open(t, b.url)
	b.exec(legacy.Tables)
	b.exec(insert)
	opts.Normalise = normalise
	applied, err := store.Migrate(t.Context(), b.url, opts)
	require.NoError(t, err)
	require.Len(t, applied, 13)
	return b
}

func TestMigrateAdoptsADatabaseOfTheLegacyMiddleware(t *testing.T) {
	t.Parallel()
	b := adopted(t, legacy.Rows, store.MigrateOptions{})

	type row struct {
		Status, Type, Entity, EntityID, Contact, Key, Ordering, Message string
		Forward, Adopted, Finished                                      bool
	}
	want := map[int]row{
		1: {"pending", "appointment.created", "appointment", "apt1", "contact1", "ghl:w1", "appointment:apt1", "", false, true, false},
		2: {"pending", "appointment.created", "appointment", "apt1", "contact1", "hash2", "appointment:apt1", "", false, true, false},
		3: {"pending", "contact.updated", "contact", "contact2", "contact2", "hash3", "contact:contact2", "", false, true, false},
		4: {"done", "contact.updated", "contact", "contact3", "", "ghl:w4", "", "", false, true, true},
		5: {"error", "appointment.created", "appointment", "apt5", "contact4", "ghl:w5", "appointment:apt5", "it broke", false, true, true},
		6: {"error", "unknown", "unknown", "", "", "hash6", "", `adopted with the unknown status "cancelled"`, false, true, true},
		7: {"pending", "lead.created", "lead", "lead1", "", "hash7", "lead:lead1", "", false, true, false},
	}
	for n, w := range want {
		var got row
		id := uuid.MustParse("00000000-0000-4000-8000-00000000000" + string(rune('0'+n)))
		require.NoError(t, b.Pool().QueryRow(t.Context(), `
			SELECT status, event_type, entity_type, coalesce(entity_id, ''), coalesce(contact_id, ''), dedupe_key, coalesce(ordering_key, ''),
			       coalesce(error_message, ''), forward, adopted, processed_at IS NOT NULL
			FROM webhook_events WHERE id = $1`, id).Scan(&got.Status, &got.Type, &got.Entity, &got.EntityID, &got.Contact, &got.Key,
			&got.Ordering, &got.Message, &got.Forward, &got.Adopted, &got.Finished))
		assert.Equal(t, w, got, "row %d", n)
	}
	assert.EqualValues(t, 7, value[int64](b, `SELECT count(*) FROM webhook_events`))
	const occurred = `SELECT coalesce(extract(epoch FROM occurred_at), 0)::bigint FROM webhook_events WHERE dedupe_key = $1`
	assert.Zero(t, value[int64](b, occurred, "ghl:w1"))
	assert.Equal(t, time.Date(2026, 1, 1, 23, 0, 0, 0, time.UTC).Unix(), value[int64](b, occurred, "hash2"))
	assert.EqualValues(t, 1, value[int64](b, `SELECT count(*) FROM sync_log WHERE status = 'completed'`), "its log does not change")
	assert.EqualValues(t, 2, value[int64](b, `SELECT count(*) FROM contact_mappings WHERE created_at IS NOT NULL`))

	t.Run("oldest first", func(t *testing.T) {
		rows, err := b.ListUndispatched(t.Context(), store.DispatchQuery{Limit: 10})
		require.NoError(t, err)
		var order []string
		for _, r := range rows {
			order = append(order, r.ID.String()[35:])
		}
		assert.Equal(t, []string{"1", "2", "3", "7"}, order)
	})
	t.Run("a delivery that is repeated after the adoption is recognised", func(t *testing.T) {
		r, err := b.writer(store.WriterOptions{}).Commit(t.Context(), delivery("w4", "contact3", `{}`))
		require.NoError(t, err)
		assert.True(t, r.Duplicate)
		assert.Equal(t, "00000000-0000-4000-8000-000000000004", r.ID.String())
	})
	t.Run("events in error can be replayed, and done ones cannot", func(t *testing.T) {
		for status, want := range map[store.Status]int64{store.StatusError: 2, store.StatusDone: 0} {
			n, err := b.CountReplayable(t.Context(), store.ReplaySelection{Status: status, Since: 10 * 365 * 24 * time.Hour})
			require.NoError(t, err)
			assert.Equal(t, want, n, status)
			replayed, err := b.ReplayAll(t.Context(), store.ReplaySelection{Status: status, Since: 10 * 365 * 24 * time.Hour}, false)
			require.NoError(t, err)
			assert.Equal(t, want, replayed, status)
		}
		assert.EqualValues(t, 0, value[int64](b, `SELECT count(*) FROM webhook_events WHERE status = 'pending' AND forward`))
	})
	t.Run("rows that the legacy middleware would still store are refused", func(t *testing.T) {
		_, err := b.Pool().Exec(t.Context(), `INSERT INTO webhook_events (source, event_type, entity_type, entity_id, payload_json, dedupe_key)
			VALUES ('ghl', 'appointment.created', 'appointment', 'contact9', '{"appointment":{"id":"apt9"}}', 'hash9')`)
		require.ErrorContains(t, err, "webhook_events_earlier_route_check")
	})
	t.Run("two contacts may share an Aloware contact", func(*testing.T) {
		b.exec(`UPDATE contact_mappings SET aloware_contact_id = 'al1'`)
	})
	t.Run("adopted events are forwarded only on request, also later", func(t *testing.T) {
		_, err := store.Migrate(t.Context(), b.url, store.MigrateOptions{Normalise: normalise, ForwardAdopted: true})
		require.NoError(t, err)
		assert.EqualValues(t, 6, value[int64](b, `SELECT count(*) FROM webhook_events WHERE status = 'pending' AND forward`))
	})
}

func TestMigrateForwardsAdoptedEventsOnRequest(t *testing.T) {
	t.Parallel()
	b := adopted(t, legacy.Rows, store.MigrateOptions{ForwardAdopted: true})
	assert.EqualValues(t, 4, value[int64](b, `SELECT count(*) FROM webhook_events WHERE status = 'pending' AND forward AND adopted`))
}

func TestMigrationsAtTheSameTimeWaitForEachOther(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	var wg sync.WaitGroup
	counts := make(chan int, 4)
	for range 4 {
		wg.Go(func() {
			applied, err := store.Migrate(t.Context(), url, store.MigrateOptions{Normalise: normalise})
			assert.NoError(t, err)
			counts <- len(applied)
		})
	}
	wg.Wait()
	close(counts)
	total := 0
	for n := range counts {
		total += n
	}
	assert.Equal(t, 13, total, "each migration was applied once")
}

func TestTheSchemaIsChecked(t *testing.T) {
	t.Parallel()
	b := &environment{t: t, url: testenv.Postgres(t)}
	b.Store = open(t, b.url)
	require.ErrorIs(t, b.CheckSchema(t.Context()), store.ErrSchemaOutdated)

	status, err := store.MigrationsOf(t.Context(), b.url)
	require.NoError(t, err)
	require.Len(t, status, 13)
	assert.Equal(t, "compatibility", status[4].Name)
	assert.True(t, status[0].AppliedAt.IsZero())
	assert.Zero(t, value[int64](b, `SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()`), "reading the status changes nothing")

	migrate(t, b.url)
	require.NoError(t, b.CheckSchema(t.Context()))
	assert.Empty(t, migrate(t, b.url), "a second migration does nothing")
	status, err = store.MigrationsOf(t.Context(), b.url)
	require.NoError(t, err)
	assert.False(t, status[1].AppliedAt.IsZero())
}

func TestANewerSchemaIsAcceptedUnlessItIsIncompatible(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	b.exec(`ALTER TABLE webhook_events ADD COLUMN of_a_later_version text NOT NULL DEFAULT ''`)
	b.exec(`INSERT INTO verity_sync_schema_version (version_id, is_applied) VALUES (999, true)`)
	require.NoError(t, b.CheckSchema(t.Context()))
	assert.Empty(t, migrate(t, b.url), "there is nothing to do")
	status, err := store.MigrationsOf(t.Context(), b.url)
	require.NoError(t, err)
	assert.Len(t, status, 13, "those that it knows")
	b.commit(b.writer(store.WriterOptions{}), delivery("w1", "apt1", `{}`))

	for oldest, want := range map[int]error{15: nil, 16: store.ErrSchemaTooNew, 999: store.ErrSchemaTooNew} {
		_, err := b.Pool().Exec(t.Context(), `UPDATE verity_sync_schema_compatibility SET oldest_version = $1`, oldest)
		require.NoError(t, err)
		require.ErrorIs(t, b.CheckSchema(t.Context()), want, "for versions from %d on", oldest)
		_, err = store.Migrate(t.Context(), b.url, store.MigrateOptions{Normalise: normalise})
		require.ErrorIs(t, err, want)
		_, err = store.MigrationsOf(t.Context(), b.url)
		require.ErrorIs(t, err, want)
	}
	b.exec(`UPDATE verity_sync_schema_compatibility SET oldest_version = 16`)
	require.ErrorContains(t, b.CheckSchema(t.Context()),
		"(version 999, for binaries that know at least 16; this one knows 15): run the version of verity-sync that migrated it")
}

func TestQueriesOfUsersStillWork(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	b.commit(b.writer(store.WriterOptions{}), delivery("w1", "apt1", `{}`))
	for _, query := range []string{
		`SELECT * FROM webhook_events WHERE source='ghl' ORDER BY received_at DESC LIMIT 10`,
		`SELECT * FROM sync_log WHERE entity_type='appointment' ORDER BY started_at DESC LIMIT 10`,
	} {
		b.exec(query)
	}
}
