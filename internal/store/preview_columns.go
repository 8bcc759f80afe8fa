package store

import (
	"context"
	"database/sql"
	"slices"
	"strings"
)

// column is what the catalog says of one.
type column struct {
	dataType string
	nullable bool
}

// adoptedColumn is what the migrations make of a column that the earlier middleware has.
type adoptedColumn struct {
	table, name string
	column
}

// adoptedColumns are those that they change.
var adoptedColumns = []adoptedColumn{
	{"webhook_events", "payload_json", column{"json", false}},
	{"webhook_events", "received_at", column{"timestamp with time zone", false}},
	{"webhook_events", "entity_id", column{"text", true}},
	{"webhook_events", "status", column{"text", false}},
	{"sync_log", "entity_id", column{"text", true}},
	{"sync_log", "source_id", column{"text", true}},
	{"contact_mappings", "created_at", column{"timestamp with time zone", false}},
	{"contact_mappings", "updated_at", column{"timestamp with time zone", false}},
}

// addedColumns are those that they add, by table.
var addedColumns = []struct {
	table   string
	columns []string
}{
	{"webhook_events", []string{
		"adopted", "location_id", "contact_id", "appointment_status", "payload_raw", "truncated", "headers", "body_hash", "ordering_key",
		"run", "ledger_run", "replay_request", "attempts", "next_attempt_at", "claimed_term", "suspended", "parked", "forward", "reason",
		"result", "verity_contact_id", "occurred_at", "dispatched_at", "started_at", "held_by", "unanswered", "erased_at",
	}},
	{"sync_log", []string{"webhook_event_id", "run", "operation", "attempt", "details"}},
	{"contact_mappings", []string{"location_id", "synced_occurred_at", "phone_observed_at", "email_observed_at",
		"aloware_phone_number", "aloware_contact_since", "former_aloware_contact_ids"}},
}

// readColumns returns the columns of the tables that are adopted, by table and name.
func readColumns(ctx context.Context, tx *sql.Tx) (map[string]map[string]column, error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT table_name, column_name, data_type, is_nullable = 'YES'
		FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name IN ('webhook_events', 'sync_log', 'contact_mappings')`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]map[string]column{}
	for rows.Next() {
		var table, name string
		var c column
		if err := rows.Scan(&table, &name, &c.dataType, &c.nullable); err != nil {
			return nil, err
		}
		if found[table] == nil {
			found[table] = map[string]column{}
		}
		found[table][name] = c
	}
	return found, rows.Err()
}

// changesOf says what the first migration changes in tables that have these columns.
func changesOf(found map[string]map[string]column) []string {
	var changes []string
	for _, want := range adoptedColumns {
		is, ok := found[want.table][want.name]
		if !ok {
			continue
		}
		name := want.table + "." + want.name
		if is.dataType != want.dataType {
			changes = append(changes, name+" becomes "+want.dataType+", it is "+is.dataType)
		}
		switch {
		case is.nullable && !want.nullable:
			changes = append(changes, name+" becomes NOT NULL")
		case !is.nullable && want.nullable:
			changes = append(changes, name+" may be NULL")
		}
	}
	for _, added := range addedColumns {
		if columns, ok := found[added.table]; ok {
			missing := slices.DeleteFunc(slices.Clone(added.columns), func(name string) bool { _, there := columns[name]; return there })
			if len(missing) > 0 {
				changes = append(changes, added.table+" gets "+strings.Join(missing, ", "))
			}
		}
	}
	return changes
}

// uniqueOnAloware names what makes an Aloware contact unique, which the first migration drops.
func uniqueOnAloware(ctx context.Context, tx *sql.Tx) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT i.indexrelid::regclass::text
		FROM pg_index i
		JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
		WHERE i.indrelid = to_regclass('contact_mappings') AND i.indisunique AND NOT i.indisprimary AND i.indnatts = 1
		  AND a.attname = 'aloware_contact_id'
		ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}
