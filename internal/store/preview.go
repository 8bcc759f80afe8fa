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

// Preview says what Migrate would do to a database.
type Preview struct {
	// Pending are the migrations that would be applied.
	Pending []MigrationStatus
	// Adoption is what they would make of a database of the earlier middleware; nil where there is none.
	Adoption *Adoption
}

// Adoption says what becomes of a database of the earlier middleware. No row is lost, and all ids stay.
type Adoption struct {
	// Statuses are the rows of webhook_events by status.
	Statuses []AdoptedStatus
	// Unfinished counts the rows that would be worked on.
	Unfinished int64
	// Types are those of GoHighLevel that are not done, whose payloads are read again, by type.
	Types []AdoptedType
	// Keys counts the rows that get the dedupe key that a delivery of today has.
	Keys int64
	// RewrittenBytes is the size of webhook_events and its indexes where all of it is written anew, else 0. Nobody can read
	// or write it meanwhile.
	RewrittenBytes int64
	// Changes are what becomes different in tables that are there, a sentence each.
	Changes []string
}

// AdoptedStatus says what becomes of the rows that have a status.
type AdoptedStatus struct {
	// Was is "NULL" where there is none.
	Was, Becomes string
	Rows         int64
}

// AdoptedType says which type rows of one type turn out to be.
type AdoptedType struct {
	Was, Becomes string
	Rows         int64
	// OtherEntity counts those of them that turn out to be about another entity, such as an appointment in place of its
	// contact.
	OtherEntity int64
}

// PreviewMigration says what Migrate would do to the database at url, which it reads and does not change. Where Migrate would
// return an ObstructedError, it returns that, along with what is pending.
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
		return opts.reported("read what would be adopted", func() error {
			tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
			if err != nil {
				return err
			}
			defer tx.Rollback() //nolint:errcheck // It was only read.
			p.Adoption, err = previewAdoption(ctx, tx, plan, opts)
			return err
		})
	})
	if err != nil {
		return Preview{}, fmt.Errorf("look at what would be adopted: %w", err)
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

// previewTypes reads payloads as normaliseAdopted would.
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

// previewCounts counts what keyAdopted would change, and what is unfinished.
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
