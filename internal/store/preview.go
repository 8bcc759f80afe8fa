package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Preview has what Migrate would do to a database.
type Preview struct {
	// Pending are the migrations that would be applied.
	Pending []MigrationStatus
	// Adoption is how they would change a database of the legacy middleware; nil for another database.
	Adoption *Adoption
}

// Adoption has the changes to a database of the legacy middleware. No row is lost, and all ids stay.
type Adoption struct {
	// Statuses are the rows of webhook_events by status.
	Statuses []AdoptedStatus
	// Unfinished counts the rows that would be processed.
	Unfinished int64
	// Types are GoHighLevel's events that are not done, by type. Their payloads are decoded again.
	Types []AdoptedType
	// Keys counts the rows that get the dedupe key of a new delivery of the same webhook.
	Keys int64
	// RewrittenBytes is the size of webhook_events and its indexes if Postgres rewrites the table, else 0. The table is locked
	// meanwhile.
	RewrittenBytes int64
	// Changes are the changes to existing tables, a sentence each.
	Changes []string
}

// AdoptedStatus counts the rows with a status, and has their new status.
type AdoptedStatus struct {
	// Was is "NULL" for rows without a status.
	Was, Becomes string
	Rows         int64
}

// AdoptedType counts the rows with a type, and has their new type.
type AdoptedType struct {
	Was, Becomes string
	Rows         int64
	// OtherEntity counts the rows whose entity changes, for example from the contact to the appointment.
	OtherEntity int64
}

// PreviewMigration returns what Migrate would do to the database at url, which it does not change. If Migrate would return an
// ObstructedError, it returns that, together with the pending migrations.
func PreviewMigration(ctx context.Context, url string, opts MigrateOptions) (Preview, error) {
	db, provider, version, err := openProvider(ctx, url, opts)
	if err != nil {
		return Preview{}, err
	}
	defer db.Close() //nolint:errcheck // Its work is done.
	known, err := migrationsOf(ctx, provider, version)
	if err != nil {
		return Preview{}, err
	}
	p := Preview{Pending: slices.DeleteFunc(known, func(m MigrationStatus) bool { return !m.AppliedAt.IsZero() })}
	if err := checkObstacles(ctx, db.DB, provider); err != nil {
		return p, err
	}
	if !slices.ContainsFunc(p.Pending, func(m MigrationStatus) bool { return m.Version == adoptVersion }) {
		return p, nil
	}
	plan, err := planAfter(provider, version)
	if err != nil {
		return Preview{}, err
	}
	err = whileAlive(ctx, db, func(ctx context.Context) error {
		return opts.reported("read the rows to adopt", func() error {
			tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
			if err != nil {
				return err
			}
			defer tx.Rollback() //nolint:errcheck // Nothing was changed.
			p.Adoption, err = previewAdoption(ctx, tx, plan, opts)
			return err
		})
	})
	if err != nil {
		return Preview{}, fmt.Errorf("preview the adoption: %w", err)
	}
	return p, nil
}

func previewAdoption(ctx context.Context, tx *sql.Tx, pending plan, opts MigrateOptions) (*Adoption, error) {
	columns, err := readColumns(ctx, tx)
	if err != nil || columns["webhook_events"] == nil {
		return nil, err
	}
	a := &Adoption{Changes: pending.changes(columns)}
	unique, err := uniqueOnAloware(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, name := range unique {
		a.Changes = append(a.Changes, "contact_mappings.aloware_contact_id need not be unique any more: "+name+" is dropped")
	}
	if columns["webhook_events"]["payload_json"].dataType == "jsonb" {
		err = tx.QueryRowContext(ctx, `SELECT pg_total_relation_size('webhook_events')`).Scan(&a.RewrittenBytes)
		if err != nil {
			return nil, err
		}
	}
	if a.Statuses, err = previewStatuses(ctx, tx); err != nil {
		return nil, err
	}
	if a.Types, err = previewTypes(ctx, tx, opts.Normalise); err != nil {
		return nil, err
	}
	return a, previewCounts(ctx, tx, a)
}

func previewStatuses(ctx context.Context, tx *sql.Tx) ([]AdoptedStatus, error) {
	rows, err := tx.QueryContext(ctx, `SELECT coalesce(status, 'NULL'), count(*) FROM webhook_events GROUP BY status ORDER BY 2 DESC, 1`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []AdoptedStatus
	for rows.Next() {
		var s AdoptedStatus
		if err := rows.Scan(&s.Was, &s.Rows); err != nil {
			return nil, err
		}
		switch s.Was {
		case "NULL", "pending", "processing":
			s.Becomes = "pending"
		case "done":
			s.Becomes = "done"
		default:
			s.Becomes = "error"
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

// previewTypes decodes payloads as normaliseAdopted would.
func previewTypes(ctx context.Context, tx *sql.Tx, normalise func([]byte, time.Time) event.Event) ([]AdoptedType, error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT coalesce(received_at, processed_at, now()), payload_json::text, event_type, coalesce(entity_id, '')
		FROM webhook_events
		WHERE source = 'ghl' AND status IS DISTINCT FROM 'done'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[[2]string]*AdoptedType{}
	for rows.Next() {
		var row adoptedRow
		var eventType, entityID string
		if err := rows.Scan(&row.receivedAt, &row.payload, &eventType, &entityID); err != nil {
			return nil, err
		}
		e := normalise(row.payload, row.receivedAt)
		t := found[[2]string{eventType, e.Type}]
		if t == nil {
			t = &AdoptedType{Was: eventType, Becomes: e.Type}
			found[[2]string{eventType, e.Type}] = t
		}
		t.Rows++
		if e.EntityID != entityID {
			t.OtherEntity++
		}
	}
	var out []AdoptedType
	for t := range maps.Values(found) {
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b AdoptedType) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Was, b.Was), cmp.Compare(a.Becomes, b.Becomes))
	})
	return out, rows.Err()
}

// previewCounts counts the rows that keyAdopted would change, and the unfinished rows.
func previewCounts(ctx context.Context, tx *sql.Tx, a *Adoption) error {
	return tx.QueryRowContext(ctx, `
		SELECT (SELECT count(*)
		        FROM (SELECT DISTINCT 'ghl:' || (payload_json::json ->> 'webhookId') AS key
		              FROM webhook_events
		              WHERE source = 'ghl' AND json_typeof(payload_json::json) = 'object'
		                AND payload_json::json ->> 'webhookId' <> '') keyed
		        WHERE NOT EXISTS (SELECT 1 FROM webhook_events o WHERE o.dedupe_key = keyed.key)),
		       (SELECT count(*) FROM webhook_events WHERE status IS NULL OR status IN ('pending', 'processing'))`,
	).Scan(&a.Keys, &a.Unfinished)
}
