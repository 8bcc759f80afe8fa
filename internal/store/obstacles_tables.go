package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/event"
)

// legacyTable restricts a query with pg_class c to the legacy tables.
const legacyTable = ` c.relnamespace = quote_ident(current_schema())::regnamespace
	AND c.relname IN ('webhook_events', 'sync_log', 'contact_mappings') `

// scanObstacle reads the object, the problem, the statement and what to do afterwards.
func scanObstacle(rows *sql.Rows) (Obstacle, error) {
	var o Obstacle
	var statement string
	err := rows.Scan(&o.Object, &o.Problem, &statement, &o.Afterwards)
	if statement != "" {
		o.Statements = []string{statement}
	}
	return o, err
}

// tableObstacles are legacy tables that are not ordinary tables, or whose rows are hidden.
func tableObstacles(ctx context.Context, tx *sql.Tx, _ plan) ([]Obstacle, error) {
	return rowsOf(ctx, tx, scanObstacle, `
		SELECT pg_describe_object('pg_class'::regclass, c.oid, 0), 'the migration needs an ordinary table here',
		       format('ALTER %s %s RENAME TO %I',
		              CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE'
		                             WHEN 'S' THEN 'SEQUENCE' WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX' WHEN 'c' THEN 'TYPE'
		                                                      ELSE 'TABLE' END, c.oid::regclass, 'other_' || c.relname),
		       'or, to keep its rows, create an ordinary table of its name, with the same columns and rows, before the migration'
		FROM pg_class c WHERE`+legacyTable+`AND c.relkind <> 'r'
		UNION ALL
		SELECT 'table ' || c.oid::regclass, 'it inherits from ' || i.inhparent::regclass || ', so that its columns cannot be altered',
		       CASE WHEN c.relispartition THEN format('ALTER TABLE %s DETACH PARTITION %s', i.inhparent::regclass, c.oid::regclass)
		            ELSE format('ALTER TABLE %s NO INHERIT %s', c.oid::regclass, i.inhparent::regclass) END, ''
		FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE`+legacyTable+`
		UNION ALL
		SELECT 'table ' || c.oid::regclass, 'its row security is forced, so that the migration may not see all rows',
		       format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', c.oid::regclass),
		       'ALTER TABLE … FORCE ROW LEVEL SECURITY only with policies that allow verity-sync to see and change all rows'
		FROM pg_class c WHERE`+legacyTable+`AND c.relrowsecurity AND c.relforcerowsecurity
		UNION ALL
		SELECT pg_describe_object('pg_trigger'::regclass, t.oid, 0),
		       'it is deferred, and the migration alters the table after it updates rows',
		       format('ALTER TABLE %s DISABLE TRIGGER %I', c.oid::regclass, t.tgname),
		       format('ALTER TABLE %s ENABLE TRIGGER %I', c.oid::regclass, t.tgname)
		FROM pg_class c JOIN pg_trigger t ON t.tgrelid = c.oid
		WHERE`+legacyTable+`AND NOT t.tgisinternal AND t.tginitdeferred AND t.tgtype & 16 <> 0 AND t.tgenabled <> 'D'
		ORDER BY 1, 2`)
}

// rowTypeObstacles are columns that hold rows of a table that gets a new column, also within an array, a domain or another row type.
func rowTypeObstacles(ctx context.Context, tx *sql.Tx, p plan) ([]Obstacle, error) {
	return rowsOf(ctx, tx, scanObstacle, `
		WITH RECURSIVE uses (type, tab) AS (
		    SELECT c.reltype, c.oid FROM pg_class c
		    WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind = 'r' AND c.relname = ANY ($1::text[])
		    UNION
		    SELECT n.oid, u.tab
		    FROM uses u CROSS JOIN LATERAL (
		        SELECT typarray AS oid FROM pg_type WHERE oid = u.type AND typarray <> 0
		        UNION ALL
		        SELECT t.oid
		        FROM pg_depend d JOIN pg_type t ON t.oid = d.objid AND t.typtype = 'd' AND t.typbasetype = d.refobjid
		        WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid = u.type AND d.classid = 'pg_type'::regclass
		        UNION ALL
		        SELECT c.reltype
		        FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('c', 'v')
		        WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid = u.type AND d.classid = 'pg_class'::regclass) n)
		SELECT 'column ' || a.attname || ' of ' || CASE o.relkind WHEN 'm' THEN 'materialized view ' ELSE 'table ' END || o.oid::regclass,
		       'it holds rows of ' || u.tab::regclass || ', whose type changes',
		       CASE o.relkind WHEN 'm' THEN format('DROP MATERIALIZED VIEW IF EXISTS %s', o.oid::regclass)
		            ELSE format('ALTER TABLE %s ALTER COLUMN %I TYPE jsonb USING to_jsonb(%I)', o.oid::regclass, a.attname, a.attname) END,
		       CASE o.relkind WHEN 'm' THEN `+definitionOf("o")+` ELSE '' END
		FROM uses u
		JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = u.type AND d.classid = 'pg_class'::regclass
		JOIN pg_attribute a ON a.attrelid = d.objid AND a.attnum = d.objsubid AND NOT a.attisdropped
		JOIN pg_class o ON o.oid = a.attrelid AND o.relkind IN ('r', 'p', 'm')
		JOIN pg_namespace n ON n.oid = o.relnamespace
		ORDER BY 1, 2`, p.alters)
}

// keyObstacles are missing unique keys, and foreign keys that verity-sync violates or that need a key that is dropped.
func keyObstacles(ctx context.Context, tx *sql.Tx, _ plan) ([]Obstacle, error) {
	return rowsOf(ctx, tx, scanObstacle, `
		SELECT 'table ' || c.oid::regclass, format('%I is not unique, as verity-sync needs it', k.name),
		       format('ALTER TABLE %s ADD UNIQUE (%I)', c.oid::regclass, k.name), ''
		FROM pg_class c
		JOIN (VALUES ('webhook_events', 'id'), ('webhook_events', 'dedupe_key'), ('contact_mappings', 'ghl_contact_id')) k (tab, name)
		  ON k.tab = c.relname
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = k.name AND NOT a.attisdropped
		WHERE`+legacyTable+`AND c.relkind = 'r' AND NOT EXISTS (
		    SELECT FROM pg_index i
		    WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indnkeyatts = 1
		           AND i.indkey[0] = a.attnum
		      AND i.indpred IS NULL)
		UNION ALL
		SELECT pg_describe_object('pg_constraint'::regclass, f.oid, 0),
		       'it needs contact_mappings.aloware_contact_id to be unique, and several contacts may share one after the migration',
		       format('ALTER TABLE %s DROP CONSTRAINT %I', f.conrelid::regclass, f.conname), ''
		FROM pg_class c
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'aloware_contact_id'
		JOIN pg_constraint f ON f.confrelid = c.oid AND f.contype = 'f' AND a.attnum = ANY (f.confkey)
		WHERE`+legacyTable+`AND c.relname = 'contact_mappings'
		UNION ALL
		SELECT pg_describe_object('pg_constraint'::regclass, f.oid, 0), 'verity-sync stores values that the other table does not have',
		       format('ALTER TABLE %s DROP CONSTRAINT %I', f.conrelid::regclass, f.conname), ''
		FROM pg_class c
		JOIN pg_constraint f ON f.conrelid = c.oid AND f.contype = 'f'
		WHERE`+legacyTable+`AND EXISTS (
		    SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (f.conkey)
		           AND (c.relname || '.' || a.attname) = ANY ($1::text[]))
		ORDER BY 1, 2`, legacyColumnNames())
}

func legacyColumnNames() []string {
	names := make([]string, len(legacyColumns))
	for i, c := range legacyColumns {
		names[i] = c.table + "." + c.name
	}
	return names
}

// sampleID has the longest form of GoHighLevel's ids.
const sampleID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"

// sampleValues are values that verity-sync stores in columns that the legacy middleware may have restricted.
var sampleValues = map[string][]string{
	"webhook_events.status": {"pending", "processing", "done", "error"},
	"webhook_events.source": event.Sources,
	"webhook_events.event_type": {"appointment.created", "contact.tag_updated", "opportunity.updated", "unknown",
		"a_type_of_its_own"},
	"webhook_events.entity_type":      {"appointment", "contact", "opportunity", "user", "unknown"},
	"webhook_events.dedupe_key":       {"ghl:1", sampleID, "ghl:unparseable:" + strings.Repeat("f", 64)},
	"webhook_events.entity_id":        {sampleID},
	"webhook_events.error_message":    {strings.Repeat("long ", 200)},
	"sync_log.entity_id":              {sampleID},
	"sync_log.source_id":              {sampleID},
	"sync_log.target_id":              {sampleID},
	"sync_log.error_message":          {strings.Repeat("long ", 200)},
	"sync_log.status":                 {LedgerSuccess, LedgerError, LedgerSkipped},
	"sync_log.direction":              directions,
	"sync_log.entity_type":            {"appointment", "contact", "opportunity", "user", "unknown"},
	"contact_mappings.sync_direction": {DirectionToAloware},
}

// constraintObstacles are CHECK constraints of one column that refuse values of verity-sync.
func constraintObstacles(ctx context.Context, tx *sql.Tx, p plan) ([]Obstacle, error) {
	type check struct{ table, column, name, expression, object, statement string }
	checks, err := rowsOf(ctx, tx, func(rows *sql.Rows) (c check, err error) {
		return c, rows.Scan(&c.table, &c.column, &c.name, &c.expression, &c.object, &c.statement)
	}, `
		SELECT c.relname, a.attname, k.conname, pg_get_expr(k.conbin, k.conrelid),
		       pg_describe_object('pg_constraint'::regclass, k.oid, 0),
		       format('ALTER TABLE %s DROP CONSTRAINT %I', c.oid::regclass, k.conname)
		FROM pg_class c
		JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'c' AND cardinality(k.conkey) = 1
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
		WHERE`+legacyTable+`AND format_type(a.atttypid, NULL) IN ('text', 'character varying') ORDER BY k.conname`)
	if err != nil {
		return nil, err
	}
	var found []Obstacle
	for _, c := range checks {
		named := false
		for _, added := range p.constraints {
			named = named || added == [2]string{c.table, c.name} // nameObstacles reports it.
		}
		for _, value := range sampleValues[c.table+"."+c.column] {
			var refused bool
			err := inSavepoint(ctx, tx, func() error {
				return tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT NOT coalesce((%s), true) FROM (SELECT $1::text) AS %s (%s)`,
					c.expression, database.Quote(c.table), database.Quote(c.column)), value).Scan(&refused)
			})
			if err == nil && refused && !named {
				found = append(found, Obstacle{
					Object:     c.object,
					Problem:    fmt.Sprintf("it refuses %s, which verity-sync stores in %s.%s", sample(value), c.table, c.column),
					Statements: []string{c.statement},
				})
				break
			}
		}
	}
	return found, nil
}

// sample returns a value, or its length if it is long.
func sample(value string) string {
	const shown = 80
	if len(value) > shown {
		return fmt.Sprintf("a text of %d characters", len(value))
	}
	return strconv.Quote(value)
}

// inSavepoint runs f in a savepoint, so that its failure does not abort the transaction.
func inSavepoint(ctx context.Context, tx *sql.Tx, f func() error) error {
	if _, err := tx.ExecContext(ctx, "SAVEPOINT attempt"); err != nil {
		return err
	}
	if err := f(); err != nil {
		if _, undone := tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT attempt"); undone != nil {
			return undone
		}
		return err
	}
	_, err := tx.ExecContext(ctx, "RELEASE SAVEPOINT attempt")
	return err
}
