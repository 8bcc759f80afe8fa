package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/database"
)

// legacyColumn is a column of a table of the legacy middleware.
type legacyColumn struct {
	table, name string
	// dataType is the type that verity-sync needs.
	dataType string
	// null is true if verity-sync stores NULL in it and the first migration does not allow that.
	null bool
	// usual is the length in characters of values of ordinary events, longest the maximum length that verity-sync stores, or noBound.
	usual, longest int
}

// noBound is the length of a text that verity-sync does not limit.
const noBound = 1 << 30

var legacyColumns = func() []legacyColumn {
	var columns []legacyColumn
	// An asterisk marks a column that must allow NULL. Ids and addresses have ghl.MaxIDLen bytes at most; a dedupe key also has its source.
	for table, list := range map[string]string{
		"webhook_events": "id uuid, received_at timestamptz, source text 3 32, event_type text 40 255, entity_type text 16 128, " +
			"entity_id text 36 256, payload_json json, dedupe_key text 80 260, status text 10 10, error_message* text 1000, " +
			"processed_at* timestamptz",
		"sync_log": "id uuid, direction text 14 14, entity_type text 16 128, entity_id text 36 256, source_id text 36 256, " +
			"target_id* text 36 256, status* text 7 7, started_at* timestamptz, finished_at* timestamptz, error_message* text 1000, " +
			"correlation_id* text 36 36",
		"contact_mappings": "id uuid, aloware_contact_id* text 20 256, ghl_contact_id text 24 256, phone_number* text 16 256, " +
			"email* text 64 256, last_synced_at* timestamptz, sync_direction text 14 14, created_at timestamptz, updated_at timestamptz",
	} {
		for column := range strings.SplitSeq(list, ", ") {
			fields := append(strings.Fields(column), strconv.Itoa(noBound), strconv.Itoa(noBound))
			name, null := strings.CutSuffix(fields[0], "*")
			usual, _ := strconv.Atoi(fields[2])
			longest, _ := strconv.Atoi(fields[3])
			columns = append(columns, legacyColumn{table, name, fields[1], null, usual, longest})
		}
	}
	return columns
}()

// foundColumn is a column in the catalog.
type foundColumn struct {
	table, name string
	// dataType is the type of the values; for a domain, its base type.
	dataType string
	// length is the maximum length in characters, 0 if unlimited.
	length int
	// domain is the name of a domain with constraints. caseless is true if the collation treats different texts as equal.
	domain                        string
	caseless                      bool
	notNull, filled, hasDefault   bool
	identity                      bool
	generated, inKey, sqlKeyIndex string
}

// isType reports whether the type of a column needs no change.
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

// columnObstacles are columns of the legacy tables with which the migrations, or verity-sync after them, would fail.
func columnObstacles(ctx context.Context, tx *sql.Tx, p plan) ([]Obstacle, error) {
	columns, err := readLegacyColumns(ctx, tx)
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

// readLegacyColumns returns the columns of the legacy tables.
func readLegacyColumns(ctx context.Context, tx *sql.Tx) ([]foundColumn, error) {
	return rowsOf(ctx, tx, func(rows *sql.Rows) (c foundColumn, err error) {
		err = rows.Scan(&c.table, &c.name, &c.dataType, &c.length, &c.domain, &c.caseless, &c.notNull, &c.hasDefault, &c.identity,
			&c.filled, &c.generated, &c.inKey, &c.sqlKeyIndex)
		return c, err
	}, `
		SELECT c.relname, a.attname, format_type(v.type, NULL),
		       CASE WHEN v.type = 'varchar'::regtype AND v.typmod > 4 THEN v.typmod - 4 ELSE 0 END,
		       CASE WHEN v.constrained THEN format_type(a.atttypid, NULL) ELSE '' END,
		       EXISTS (SELECT FROM pg_collation l WHERE l.oid = a.attcollation AND NOT l.collisdeterministic),
		       a.attnotnull, a.atthasdef AND a.attgenerated = '', a.attidentity <> '',
		       a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, a.attgenerated::text,
		       coalesce(k.object, ''), coalesce(k.statement, '')
		FROM pg_class c
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		JOIN pg_type t ON t.oid = a.atttypid
		CROSS JOIN LATERAL (
		    WITH RECURSIVE values_of (type, typmod, constrained, depth) AS (
		        SELECT a.atttypid, a.atttypmod, false, 0
		        UNION ALL
		        SELECT d.typbasetype, greatest(v.typmod, d.typtypmod), v.constrained OR d.typnotnull OR EXISTS (
		                   SELECT FROM pg_constraint k WHERE k.contypid = d.oid), v.depth + 1
		        FROM values_of v JOIN pg_type d ON d.oid = v.type AND d.typtype = 'd')
		    SELECT * FROM values_of ORDER BY depth DESC LIMIT 1) v
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
		} else { // The table belongs to another application.
			o.Statements = []string{"ALTER TABLE " + table + " RENAME TO other_" + table}
			o.Afterwards = "or use a separate schema or database for verity-sync"
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

// obstacles are the differences of c that prevent its use as the column.
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
	switch {
	case !c.isType(want.dataType):
		action, note := want.retyped(c)
		add("it is "+c.dataType+", and verity-sync needs "+want.dataType, note, "%s", action)
		if c.identity { // Postgres does not accept both in one statement.
			o := &found[len(found)-1]
			o.Statements = slices.Insert(o.Statements, 0, "ALTER TABLE "+c.table+" ALTER COLUMN "+c.name+" DROP IDENTITY")
		}
	case want.dataType == "text" && c.caseless:
		add("its collation treats different texts as equal, and verity-sync does not", "",
			`ALTER COLUMN %s TYPE text COLLATE "default"`, c.name)
	case c.length > 0 && c.length < want.longest:
		add(want.tooShort(c), "", "ALTER COLUMN %s TYPE text", c.name)
	case c.domain != "":
		add("it is of the domain "+c.domain+", whose constraints may refuse values of verity-sync", "",
			"ALTER COLUMN %s TYPE %s", c.name, want.dataType)
	}
	changesNull := c.name == "entity_id" || c.name == "source_id"
	switch {
	case changesNull && c.inKey != "":
		found = append(found, Obstacle{
			Object:     c.inKey,
			Problem:    c.table + "." + c.name + " may be NULL after the migration, which this index does not allow",
			Statements: []string{c.sqlKeyIndex},
		})
	case want.null && c.notNull:
		add("it is NOT NULL, and verity-sync stores NULL where there is no value", "", "ALTER COLUMN %s DROP NOT NULL", c.name)
	}
	return found
}

// tooShort describes a column that cannot hold all values.
func (want legacyColumn) tooShort(c foundColumn) string {
	stores := "texts of any length"
	if want.longest < noBound {
		stores = fmt.Sprintf("up to %d", want.longest)
	}
	return fmt.Sprintf("it holds %d characters, and verity-sync stores %s", c.length, stores)
}

// retyped returns the action that changes the type of a column, and a note about it.
func (want legacyColumn) retyped(c foundColumn) (action, note string) {
	using := fmt.Sprintf("%s::text::%s", c.name, want.dataType)
	switch {
	case want.dataType == "uuid" && slices.Contains([]string{"smallint", "integer", "bigint"}, c.dataType):
		using = fmt.Sprintf("lpad(to_hex(%s), 32, '0')::uuid", c.name)
		note = "nothing; foreign keys of your own to it need the same statement"
	case c.dataType == "timestamp without time zone":
		using, note = c.name+" AT TIME ZONE 'UTC'", "nothing; if the times are not in UTC, use their time zone in the statement"
	}
	if c.hasDefault {
		action = fmt.Sprintf("ALTER COLUMN %s DROP DEFAULT, ", c.name)
	}
	return action + fmt.Sprintf("ALTER COLUMN %s TYPE %s USING %s", c.name, want.dataType, using), note
}
