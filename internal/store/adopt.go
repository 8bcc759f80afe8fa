package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
)

// adoptPage is the number of adopted rows that are normalised at a time.
const adoptPage = 1000

// normaliseAdopted decodes the payloads of adopted rows that are unfinished or in error again: the legacy middleware stored contact
// ids as appointment ids and knew few types. Rows of a source other than GoHighLevel stay unchanged.
func normaliseAdopted(ctx context.Context, tx *sql.Tx, normalise func([]byte, time.Time) event.Event) error {
	failpoint.Hit(failpoint.MigrationBegun)
	if _, err := tx.ExecContext(ctx, `
		UPDATE webhook_events SET ordering_key = entity_type || ':' || entity_id
		WHERE adopted AND status IN ('pending', 'error') AND source <> 'ghl' AND entity_id <> ''`); err != nil {
		return fmt.Errorf("order adopted events: %w", err)
	}
	last := uuid.Nil
	for {
		rows, err := adoptedAfter(ctx, tx, last)
		if err != nil {
			return fmt.Errorf("read adopted events: %w", err)
		}
		if err := updateAdopted(ctx, tx, rows, normalise); err != nil {
			return fmt.Errorf("normalise adopted events: %w", err)
		}
		if len(rows) < adoptPage {
			break
		}
		last = rows[len(rows)-1].id
	}
	if err := keyAdopted(ctx, tx); err != nil {
		return err
	}
	failpoint.Hit(failpoint.MigrationDone)
	return nil
}

type adoptedRow struct {
	id         uuid.UUID
	receivedAt time.Time
	payload    []byte
}

func adoptedAfter(ctx context.Context, tx *sql.Tx, last uuid.UUID) ([]adoptedRow, error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT id, received_at, payload_json::text FROM webhook_events
		WHERE adopted AND status IN ('pending', 'error') AND source = 'ghl' AND id > $1
		ORDER BY id LIMIT $2`, last, adoptPage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []adoptedRow
	for rows.Next() {
		var row adoptedRow
		if err := rows.Scan(&row.id, &row.receivedAt, &row.payload); err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, rows.Err()
}

// updateAdopted updates a page in one statement: one for each row would take as many round trips.
func updateAdopted(ctx context.Context, tx *sql.Tx, rows []adoptedRow, normalise func([]byte, time.Time) event.Event) error {
	n := len(rows)
	ids, truncated, occurred := make([]uuid.UUID, n), make([]bool, n), make([]*time.Time, n)
	types, entityTypes, entityIDs, locations := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	contacts, appointmentStatuses, orderingKeys := make([]string, n), make([]string, n), make([]string, n)
	for i, row := range rows {
		e := normalise(row.payload, row.receivedAt)
		ids[i], truncated[i] = row.id, e.Truncated
		if !e.OccurredAt.IsZero() {
			occurred[i] = &e.OccurredAt
		}
		types[i], entityTypes[i], entityIDs[i], locations[i] = e.Type, e.EntityType, e.EntityID, e.LocationID
		contacts[i], appointmentStatuses[i], orderingKeys[i] = e.ContactID, e.AppointmentStatus, e.OrderingKey
	}
	_, err := tx.ExecContext(ctx, `
		UPDATE webhook_events e
		SET event_type = n.event_type, entity_type = n.entity_type, entity_id = nullif(n.entity_id, ''),
		    location_id = nullif(n.location_id, ''), contact_id = nullif(n.contact_id, ''),
		    appointment_status = nullif(n.appointment_status, ''), ordering_key = nullif(n.ordering_key, ''),
		    occurred_at = n.occurred_at, truncated = n.truncated
		FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::timestamptz[],
		            $10::boolean[]) AS n (id, event_type, entity_type, entity_id, location_id, contact_id, appointment_status, ordering_key,
		            occurred_at, truncated)
		WHERE e.id = n.id`,
		ids, types, entityTypes, entityIDs, locations, contacts, appointmentStatuses, orderingKeys, occurred, truncated)
	return err
}

// keyAdopted gives adopted rows the dedupe key of a new delivery of the same webhook, so that a delivery that GoHighLevel repeats after the
// adoption is recognised. If the legacy middleware stored a delivery twice, the first row gets the key.
func keyAdopted(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE webhook_events e SET dedupe_key = first.key
		FROM (
			SELECT DISTINCT ON (key) id, key
			FROM (
				SELECT id, received_at, 'ghl:' || (payload_json ->> 'webhookId') AS key
				FROM webhook_events
				WHERE adopted AND source = 'ghl' AND json_typeof(payload_json) = 'object' AND payload_json ->> 'webhookId' <> ''
			) keyed
			ORDER BY key, received_at, id
		) first
		WHERE e.id = first.id AND e.dedupe_key <> first.key
		  AND NOT EXISTS (SELECT 1 FROM webhook_events o WHERE o.dedupe_key = first.key)`)
	if err != nil {
		return fmt.Errorf("key adopted events by their delivery: %w", err)
	}
	return nil
}
