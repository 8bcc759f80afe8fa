package store_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/legacy"
)

// unmigrated is a database of the legacy middleware.
func unmigrated(t *testing.T) *environment {
	t.Helper()
	b := &environment{t: t, url: testenv.Postgres(t)}
	b.Store = open(t, b.url)
	b.exec(legacy.Tables)
	b.exec(legacy.Rows)
	return b
}

func (b *environment) preview() store.Preview {
	b.t.Helper()
	p, err := store.PreviewMigration(b.t.Context(), b.url, store.MigrateOptions{Normalise: normalise})
	require.NoError(b.t, err)
	return p
}

func TestAPreviewReportsTheAdoptionOfLegacyRows(t *testing.T) {
	t.Parallel()
	p := unmigrated(t).preview()
	require.Len(t, p.Pending, 13)
	a := p.Adoption
	require.NotNil(t, a)
	assert.Equal(t, []store.AdoptedStatus{
		{"pending", "pending", 2}, {"NULL", "pending", 1}, {"cancelled", "error", 1}, {"done", "done", 1}, {"error", "error", 1},
		{"processing", "pending", 1},
	}, a.Statuses)
	assert.Equal(t, []store.AdoptedType{
		{"unknown", "appointment.created", 2, 2}, {"appointment.created", "appointment.created", 1, 1},
		{"contact.updated", "contact.updated", 1, 0}, {"contact.updated", "unknown", 1, 1},
	}, a.Types)
	assert.EqualValues(t, 4, a.Unfinished)
	assert.EqualValues(t, 3, a.Keys)
	assert.Positive(t, a.RewrittenBytes)
	assert.Contains(t, a.Changes, "webhook_events.payload_json changes from jsonb to json")
	assert.Contains(t, a.Changes, "webhook_events.entity_id may be NULL")
	assert.Contains(t, a.Changes, "contact_mappings.created_at becomes NOT NULL")
	assert.Contains(t, a.Changes, "contact_mappings.aloware_contact_id need not be unique any more: contact_mappings_aloware_contact_id_key is dropped")
	assert.Contains(t, a.Changes, "contact_mappings.aloware_contact_id need not be unique any more: contact_mappings_aloware_idx is dropped")
}

func TestAPreviewChangesNothing(t *testing.T) {
	t.Parallel()
	b := unmigrated(t)
	before := b.dump()
	b.preview()
	assert.Equal(t, before, b.dump())
}

// dump returns everything that a migration could change.
func (b *environment) dump() []string {
	b.t.Helper()
	// A table that is rewritten has another file, and a row that was updated another ctid.
	return values(b, `
		SELECT relname || ' ' || relfilenode FROM pg_class WHERE relnamespace = quote_ident(current_schema())::regnamespace
			UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()
			UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = quote_ident(current_schema())::regnamespace
			UNION ALL SELECT table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '')
			          FROM information_schema.columns WHERE table_schema = current_schema()
			UNION ALL SELECT ctid || ' ' || e FROM webhook_events e
			UNION ALL SELECT ctid || ' ' || l FROM sync_log l
			UNION ALL SELECT ctid || ' ' || m FROM contact_mappings m
			ORDER BY 1`)
}

// TestAPreviewMatchesTheMigration compares a preview with the migration.
func TestAPreviewMatchesTheMigration(t *testing.T) {
	t.Parallel()
	b := unmigrated(t)
	a := b.preview().Adoption
	columns, keys := columnsOf(b), dedupeKeysOf(b)
	_, err := store.Migrate(t.Context(), b.url, store.MigrateOptions{Normalise: normalise})
	require.NoError(t, err)

	statuses := map[string]int64{}
	for _, s := range a.Statuses {
		statuses[s.Becomes] += s.Rows
	}
	for status, rows := range statuses {
		assert.Equal(t, rows, value[int64](b, `SELECT count(*) FROM webhook_events WHERE status = $1`, status), status)
	}
	types := map[string]int64{}
	for _, typ := range a.Types {
		types[typ.Becomes] += typ.Rows
	}
	for typ, rows := range types {
		const query = `SELECT count(*) FROM webhook_events WHERE source = 'ghl' AND status <> 'done' AND event_type = $1`
		assert.Equal(t, rows, value[int64](b, query, typ), typ)
	}
	assert.Equal(t, a.Unfinished, value[int64](b, `SELECT count(*) FROM webhook_events WHERE status = 'pending'`))
	changed := 0
	for id, key := range dedupeKeysOf(b) {
		if keys[id] != key {
			changed++
		}
	}
	assert.EqualValues(t, changed, a.Keys)

	var different []string
	for name, is := range columnsOf(b) {
		if columns[name] != is {
			different = append(different, name)
		}
	}
	assert.ElementsMatch(t, different, columnsNamedBy(a.Changes))
	p := b.preview()
	assert.Empty(t, p.Pending)
	assert.Nil(t, p.Adoption)
}

func TestAPreviewOfANewDatabaseNamesTheMigrations(t *testing.T) {
	t.Parallel()
	b := &environment{t: t, url: testenv.Postgres(t)}
	p := b.preview()
	assert.Len(t, p.Pending, 13)
	assert.Nil(t, p.Adoption)
}

// columnsOf returns the type and the nullability of the columns of adopted tables, by table and name.
func columnsOf(b *environment) map[string]string {
	b.t.Helper()
	found := map[string]string{}
	for _, line := range values(b, `
		SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name IN ('webhook_events', 'sync_log', 'contact_mappings')`) {
		name, is, _ := strings.Cut(line, " ")
		found[name] = is
	}
	return found
}

// columnsNamedBy returns the columns that a preview names as new or changed.
func columnsNamedBy(changes []string) []string {
	names := map[string]bool{}
	for _, change := range changes {
		if table, added, ok := strings.Cut(change, " gets "); ok {
			for name := range strings.SplitSeq(added, ", ") {
				names[table+"."+name] = true
			}
		} else if !strings.Contains(change, "unique") {
			name, _, _ := strings.Cut(change, " ")
			names[name] = true
		}
	}
	return slices.Collect(maps.Keys(names))
}

func dedupeKeysOf(b *environment) map[string]string {
	b.t.Helper()
	found := map[string]string{}
	for _, line := range values(b, `SELECT id || ' ' || dedupe_key FROM webhook_events`) {
		id, key, _ := strings.Cut(line, " ")
		found[id] = key
	}
	return found
}

// values returns the rows of a query with one column.
func values(b *environment, sql string) []string {
	b.t.Helper()
	rows, err := b.Pool().Query(b.t.Context(), sql)
	require.NoError(b.t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(b.t, err)
	return found
}
