package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/database"
)

// legacyColumn is a column that a table of the legacy middleware has.
type legacyColumn struct {
	table, name string
	// dataType is what verity-sync needs it to be.
	dataType string
	// null says that verity-sync stores NULL in it, which the first migration does not see to.
	null bool
}

var legacyColumns = func() []legacyColumn {
	var columns []legacyColumn
	// An asterisk marks a column that may have to be NULL.
	for table, list := range map[string]string{
		"webhook_events": "id uuid, received_at timestamptz, source text, event_type text, entity_type text, entity_id text, " +
			"payload_json json, " +
			"dedupe_key text, status text, error_message* text, processed_at* timestamptz",
		"sync_log": "id uuid, direction text, entity_type text, entity_id text, source_id text, target_id* text, status* text, " +
			"started_at* timestamptz, finished_at* timestamptz, error_message* text, correlation_id* text",
		"contact_mappings": "id uuid, aloware_contact_id* text, ghl_contact_id text, phone_number* text, email* text, " +
			"last_synced_at* timestamptz, sync_direction text, created_at timestamptz, updated_at timestamptz",
	} {
		for column := range strings.SplitSeq(list, ", ") {
			name, dataType, _ := strings.Cut(column, " ")
			name, null := strings.CutSuffix(name, "*")
			columns = append(columns, legacyColumn{table, name, dataType, null})
		}
	}
	return columns
}()

// foundColumn is what the catalog says of a column.
type foundColumn struct {
	table, name, dataType         string
	notNull, filled, hasDefault   bool
	generated, inKey, sqlKeyIndex string
}

// isType reports whether a column's type needs no change.
func (c foundColumn) isType(want string) bool {
	switch want {
	case "text":
		return c.dataType == "text" || c.dataType == "character varying"
	case "json":
		return c.dataType == "json" || c.dataType == "jsonb"
	case "timestamptz":
		return c.dataType == "timestamp with time zone"
	default:
		return c.dataType == want
	}
}

// columnObstacles are columns of the legacy tables that are not what the migrations, and verity-sync after them, take them for.
func columnObstacles(ctx context.Context, tx *sql.Tx, p plan) ([]Obstacle, error) {
	columns, err := rowsOf(ctx, tx, func(rows *sql.Rows) (c foundColumn, err error) {
		err = rows.Scan(&c.table, &c.name, &c.dataType, &c.notNull, &c.hasDefault, &c.filled, &c.generated, &c.inKey, &c.sqlKeyIndex)
		return c, err
	}, `
		SELECT c.relname, a.attname, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL), a.attnotnull,
		       a.atthasdef AND a.attgenerated = '', a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,
		              a.attgenerated::text,
		       coalesce(k.object, ''), coalesce(k.statement, '')
		FROM pg_class c
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		JOIN pg_type t ON t.oid = a.atttypid
		LEFT JOIN LATERAL (
		    SELECT pg_describe_object('pg_class'::regclass, i.indexrelid, 0) AS object,
		           CASE WHEN i.indisprimary
		                THEN format('ALTER TABLE %s DROP CONSTRAINT %I, ADD PRIMARY KEY (id)', c.oid::regclass, x.relname)
		                ELSE format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', c.oid::regclass) END AS statement
		    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
		    WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident) AND a.attnum = ANY (i.indkey)
		    LIMIT 1) k ON true
		WHERE c.relnamespace = quote_ident(current_schema())::regnamespace
		  AND c.relname IN ('webhook_events', 'sync_log', 'contact_mappings')
		  AND c.relkind = 'r' ORDER BY c.relname, a.attnum`)
	if err != nil {
		return nil, err
	}
	var found []Obstacle
	for _, table := range []string{"webhook_events", "sync_log", "contact_mappings"} {
		ofTable := slices.DeleteFunc(slices.Clone(columns), func(c foundColumn) bool { return c.table != table })
		if len(ofTable) > 0 {
			found = append(found, obstaclesOfTable(table, ofTable, p)...)
		}
	}
	return found, nil
}

func obstaclesOfTable(table string, columns []foundColumn, p plan) []Obstacle {
	var found []Obstacle
	var missing, additions []string
	required := map[string]bool{}
	for _, want := range legacyColumns {
		if want.table != table {
			continue
		}
		required[want.name] = true
		i := slices.IndexFunc(columns, func(c foundColumn) bool { return c.name == want.name })
		if i >= 0 {
			found = append(found, want.obstacles(columns[i])...)
			continue
		}
		missing = append(missing, want.name)
		additions = append(additions, "ADD COLUMN "+want.name+" "+want.dataType)
	}
	if len(missing) > 0 {
		o := Obstacle{
			Object: "table " + table, Problem: "it lacks " + strings.Join(missing, ", ") + ", which the table of the legacy middleware has",
		}
		if len(missing) <= 3 {
			o.Statements = []string{"ALTER TABLE " + table + " " + strings.Join(additions, ", ")}
		} else { // Another application's.
			o.Statements = []string{"ALTER TABLE " + table + " RENAME TO other_" + table}
			o.Afterwards = "or give verity-sync a schema or a database of its own"
		}
		found = append(found, o)
	}
	for _, c := range columns {
		if c.notNull && !c.filled && !required[c.name] && !slices.Contains(p.columns, [2]string{table, c.name}) {
			found = append(found, Obstacle{
				Object:     "column " + c.name + " of table " + table,
				Problem:    "it is NOT NULL and has no default, and verity-sync does not fill it",
				Statements: []string{fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL", table, database.Quote(c.name))},
			})
		}
	}
	return found
}

// obstacles are what c has in the way of being the column.
func (want legacyColumn) obstacles(c foundColumn) []Obstacle {
	var found []Obstacle
	add := func(problem, afterwards, format string, args ...any) {
		found = append(found, Obstacle{
			Object: "column " + c.name + " of table " + c.table, Problem: problem, Afterwards: afterwards,
			Statements: []string{"ALTER TABLE " + c.table + " " + fmt.Sprintf(format, args...)},
		})
	}
	if c.generated != "" {
		add("it is generated, and verity-sync stores other values", "", "ALTER COLUMN %s DROP EXPRESSION", c.name)
	}
	if !c.isType(want.dataType) {
		drop, using, note := "", fmt.Sprintf("%s::text::%s", c.name, want.dataType), ""
		if c.hasDefault {
			drop = fmt.Sprintf("ALTER COLUMN %s DROP DEFAULT, ", c.name)
		}
		if c.dataType == "timestamp without time zone" {
			using, note = c.name+" AT TIME ZONE 'UTC'", "nothing; where the times are not in UTC, name their time zone in the statement"
		}
		add("it is "+c.dataType+", and verity-sync needs "+want.dataType, note,
			"%sALTER COLUMN %s TYPE %s USING %s", drop, c.name, want.dataType, using)
	}
	changesNull := c.name == "entity_id" || c.name == "source_id"
	switch {
	case changesNull && c.inKey != "":
		found = append(found, Obstacle{
			Object:     c.inKey,
			Problem:    c.table + "." + c.name + " may be NULL after the migration, and cannot be as long as this index has it",
			Statements: []string{c.sqlKeyIndex},
		})
	case want.null && c.notNull:
		add("it is NOT NULL, and verity-sync stores NULL where there is no value", "", "ALTER COLUMN %s DROP NOT NULL", c.name)
	}
	return found
}
