package cycle

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
)

// History is what a database has kept when the cycle starts.
type History struct {
	// Contacts are the people whose appointments the events are about.
	Contacts int
	// Events are finished ones, with two rows of the ledger each. The Outlived oldest of them are older than Retention.
	Events, Outlived int
}

// historyBodies is how many different payloads a history has.
const historyBodies = 100

// Retention is how long the cycle keeps finished events.
const Retention = 90 * 24 * time.Hour

const contacts = `
	INSERT INTO contact_mappings (ghl_contact_id, phone_number, email, sync_direction, phone_observed_at, email_observed_at)
	SELECT 'contact-' || n, '+1212' || (5550000 + n), 'contact' || n || '@example.com', 'ghl_to_aloware', now() - interval '100 days',
		now() - interval '100 days'
	FROM generate_series(0, $1 - 1) n`

const events = `
	INSERT INTO webhook_events (received_at, processed_at, dispatched_at, started_at, status, reason, result, attempts, claimed_term,
		source, event_type, entity_type, entity_id, contact_id, location_id, appointment_status, verity_contact_id, payload_json, headers,
		dedupe_key, body_hash, ordering_key, occurred_at)
	SELECT t.at, t.at, t.at, t.at, 'done', 'Succeeded', 'lead written', 1, 1, 'ghl', 'appointment.created', 'appointment',
		'history-' || n, 'contact-' || n % $3, 'location-12345678901', 'confirmed', gen_random_uuid()::text,
		($1::text[])[1 + n % cardinality($1::text[])]::json,
		'{"Content-Type":"application/json"}', 'ghl:' || gen_random_uuid(), sha256(int4send(n)), 'appointment:history-' || n, t.at
	FROM generate_series(1, $2::int) n,
		LATERAL (SELECT now() - CASE WHEN n <= $4 THEN interval '91 days' ELSE interval '30 days' END + n * interval '1 ms' AS at) t`

const ledger = `
	INSERT INTO sync_log (webhook_event_id, run, direction, operation, entity_type, entity_id, source_id, target_id, status, attempt,
		started_at, finished_at, correlation_id)
	SELECT e.id, 0, 'ghl_to_verity', o.name, e.entity_type, e.entity_id, e.entity_id, gen_random_uuid()::text, 'success', 1,
		e.processed_at, e.processed_at, e.id::text
	FROM webhook_events e, unnest(ARRAY['verity.forward', 'verity.lead']) AS o(name)`

// Fill gives an empty database its history, and leaves it as a vacuum does.
func (h History) Fill(ctx context.Context, pool *pgxpool.Pool) error {
	bodies := make([]string, historyBodies)
	for i := range bodies {
		bodies[i] = string(Webhook(ghlsender.New(nil), i, h.Contacts, time.Now()).Body)
	}
	for _, statement := range []struct {
		sql       string
		arguments []any
	}{
		{contacts, []any{h.Contacts}},
		{events, []any{bodies, h.Events, h.Contacts, h.Outlived}},
		{ledger, nil},
	} {
		if _, err := pool.Exec(ctx, statement.sql, statement.arguments...); err != nil {
			return fmt.Errorf("make a history: %w", err)
		}
	}
	if _, err := pool.Exec(ctx, "VACUUM ANALYZE webhook_events, sync_log, contact_mappings"); err != nil {
		return fmt.Errorf("vacuum a history: %w", err)
	}
	return nil
}
