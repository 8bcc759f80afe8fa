package store

import (
	"context"
	"database/sql"
	"strings"
)

// column is a column in the catalog.
type column struct {
	dataType string
	nullable bool
}

// readColumns returns the columns of the adopted tables, by table and name.
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

// changes describes the changes of the migrations to tables with these columns.
func (p plan) changes(found map[string]map[string]column) []string {
	var changes []string
	for _, altered := range p.altered {
		is, ok := found[altered.table][altered.name]
		if !ok {
			continue
		}
		name := altered.table + "." + altered.name
		switch dataType, retyped := strings.CutPrefix(altered.action, "TYPE "); {
		case retyped && is.dataType != dataType:
			changes = append(changes, name+" changes from "+is.dataType+" to "+dataType)
		case altered.action == "SET NOT NULL" && is.nullable:
			changes = append(changes, name+" becomes NOT NULL")
		case altered.action == "DROP NOT NULL" && !is.nullable:
			changes = append(changes, name+" may be NULL")
		}
	}
	for _, table := range []string{"webhook_events", "sync_log", "contact_mappings"} {
		var added []string
		for _, column := range p.columns {
			if _, there := found[table][column[1]]; column[0] == table && !there {
				added = append(added, column[1])
			}
		}
		if found[table] != nil && len(added) > 0 {
			changes = append(changes, table+" gets "+strings.Join(added, ", "))
		}
	}
	return changes
}

// uniqueOnAloware returns the unique indexes of the Aloware contact, which the first migration drops.
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
