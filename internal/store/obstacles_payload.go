package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// payloadObstacles are the dependents of webhook_events.payload_json, whose type the first migration changes from jsonb to json.
func payloadObstacles(ctx context.Context, tx *sql.Tx, _ plan) ([]Obstacle, error) {
	var table uint32
	var attribute int
	var dataType string
	err := tx.QueryRowContext(ctx, `
		SELECT c.oid, a.attnum, format_type(a.atttypid, NULL)
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'payload_json' AND NOT a.attisdropped
		WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relname = 'webhook_events' AND c.relkind = 'r'`).
		Scan(&table, &attribute, &dataType)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found, err := viewObstacles(ctx, tx, table, attribute)
	if err != nil {
		return nil, err
	}
	others, err := dependentObstacles(ctx, tx, table, attribute)
	if err != nil {
		return nil, err
	}
	found = append(found, others...)
	if dataType != "jsonb" { // The type stays json: Postgres rebuilds indexes and constraints.
		return found, nil
	}
	retyped, err := retypedObstacles(ctx, tx, table, attribute)
	return append(found, retyped...), err
}

// definitionOf is SQL for the advice on how to create a view again. alias is that of its pg_class. The name is quoted for a shell.
func definitionOf(alias string) string {
	return strings.ReplaceAll(`format('create it again; pg_dump --schema-only --table=''%s'' prints its definition now',
		           replace(concat(quote_ident(n.nspname), '.', quote_ident(c.relname)),
		                   chr(39), concat(chr(39), chr(92), chr(39), chr(39))))`,
		"c.relname", alias+".relname")
}

// viewObstacles are the views on the column, and the views on these, in the order in which they can be dropped.
func viewObstacles(ctx context.Context, tx *sql.Tx, table uint32, attribute int) ([]Obstacle, error) {
	return rowsOf(ctx, tx, scanObstacle, `
		WITH RECURSIVE uses (view, depth) AS (
		    SELECT r.ev_class, 1
		    FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND r.rulename = '_RETURN'
		    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = $2
		    UNION
		    SELECT r.ev_class, u.depth + 1
		    FROM uses u
		    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = u.view
		    JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND r.rulename = '_RETURN'
		           AND r.ev_class <> u.view)
		SELECT pg_describe_object('pg_class'::regclass, view, 0),
		       CASE max(depth) WHEN 1 THEN 'it reads webhook_events.payload_json, whose type changes'
		                       ELSE 'it reads a view of webhook_events.payload_json' END,
		       format('DROP %s %s', CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, view::regclass),
		       `+definitionOf("c")+`
		FROM uses JOIN pg_class c ON c.oid = view JOIN pg_namespace n ON n.oid = c.relnamespace
		GROUP BY view, c.relkind, n.nspname, c.relname
		ORDER BY max(depth) DESC, 1`, table, attribute)
}

// dependentObstacles are the objects whose existence makes Postgres refuse to change the type of a column.
func dependentObstacles(ctx context.Context, tx *sql.Tx, table uint32, attribute int) ([]Obstacle, error) {
	return rowsOf(ctx, tx, scanObstacle, `
		WITH dependents AS (
		    SELECT DISTINCT d.classid, d.objid
		    FROM pg_depend d
		    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = $2
		           AND d.classid NOT IN ('pg_class'::regclass, 'pg_constraint'::regclass))
		SELECT replace(pg_describe_object(d.classid, d.objid, 0), 'default value for column', 'generated column'),
		       'it uses webhook_events.payload_json, whose type changes', s.statement, s.afterwards
		FROM dependents d
		CROSS JOIN LATERAL (
		    SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) AS statement,
		           'create it again: ' || pg_get_triggerdef(t.oid) AS afterwards
		    FROM pg_trigger t WHERE d.classid = 'pg_trigger'::regclass AND t.oid = d.objid AND NOT t.tgisinternal
		    UNION ALL
		    SELECT format('DROP RULE %I ON %s', r.rulename, r.ev_class::regclass),
		           'create it again: ' || regexp_replace(pg_get_ruledef(r.oid), '\s+', ' ', 'g')
		    FROM pg_rewrite r WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename <> '_RETURN'
		    UNION ALL
		    SELECT format('DROP POLICY %I ON %s', p.polname, p.polrelid::regclass),
		           concat('create it again', ': USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
		                  ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
		    FROM pg_policy p WHERE d.classid = 'pg_policy'::regclass AND p.oid = d.objid
		    UNION ALL
		    SELECT CASE a.attgenerated
		           WHEN 's' THEN format('ALTER TABLE %s ALTER COLUMN %I DROP EXPRESSION', f.adrelid::regclass, a.attname)
		                               ELSE format('ALTER TABLE %s DROP COLUMN %I', f.adrelid::regclass, a.attname) END,
		           format('to make it a generated column again, drop it and add: %I %s GENERATED ALWAYS AS (%s)', a.attname,
		                  format_type(a.atttypid, a.atttypmod), pg_get_expr(f.adbin, f.adrelid))
		    FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
		    WHERE d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid AND a.attgenerated <> ''
		    UNION ALL
		    SELECT format('DROP STATISTICS %I.%I', n.nspname, x.stxname), 'create it again: ' || pg_get_statisticsobjdef(x.oid)
		    FROM pg_statistic_ext x JOIN pg_namespace n ON n.oid = x.stxnamespace
		    WHERE d.classid = 'pg_statistic_ext'::regclass AND x.oid = d.objid
		    UNION ALL
		    SELECT format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname, r.prrelid::regclass),
		           format('add the table to the publication %I again', p.pubname)
		    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
		    WHERE d.classid = 'pg_publication_rel'::regclass AND r.oid = d.objid
		    UNION ALL
		    SELECT format('DROP ROUTINE %s', d.objid::regprocedure),
		           'create it again: ' || regexp_replace(pg_get_functiondef(d.objid), '\s+', ' ', 'g')
		    WHERE d.classid = 'pg_proc'::regclass
		    UNION ALL
		    SELECT '', 'drop it before the migration and create it again'
		    WHERE d.classid NOT IN ('pg_trigger'::regclass, 'pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_attrdef'::regclass,
		        'pg_statistic_ext'::regclass, 'pg_publication_rel'::regclass, 'pg_proc'::regclass)) s
		ORDER BY 1`, table, attribute)
}

// dependent is an index or a constraint, which Postgres rebuilds with the new type of a column.
type dependent struct {
	Obstacle
	// plain is true if the column itself is a key of it: json values cannot be compared.
	plain bool
	// expressions are its expressions that may use the column.
	expressions []string
}

// retypedObstacles are the indexes and constraints that do not work with json.
func retypedObstacles(ctx context.Context, tx *sql.Tx, table uint32, attribute int) ([]Obstacle, error) {
	dependents, err := rowsOf(ctx, tx, func(rows *sql.Rows) (d dependent, err error) {
		var statement, expressions string
		err = rows.Scan(&d.Object, &statement, &d.Afterwards, &d.plain, &expressions)
		d.Statements = []string{statement}
		for e := range strings.SplitSeq(expressions, "\x1f") {
			if e != "" {
				d.expressions = append(d.expressions, e)
			}
		}
		return d, err
	}, `
		SELECT pg_describe_object('pg_class'::regclass, i.indexrelid, 0), format('DROP INDEX %s', i.indexrelid::regclass),
		       pg_get_indexdef(i.indexrelid),
		       EXISTS (SELECT FROM generate_series(0, i.indnkeyatts - 1) n WHERE i.indkey[n] = $2),
		       concat_ws(chr(31), pg_get_expr(i.indpred, i.indrelid),
		                 (SELECT string_agg(pg_get_indexdef(i.indexrelid, n, false), chr(31))
		                  FROM generate_series(1, i.indnkeyatts) n WHERE i.indkey[n - 1] = 0))
		FROM pg_index i
		WHERE i.indrelid = $1 AND NOT EXISTS (
		    SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x'))
		  AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
		                AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = $2)
		UNION ALL
		SELECT pg_describe_object('pg_constraint'::regclass, c.oid, 0),
		       format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname),
		       pg_get_constraintdef(c.oid), c.contype <> 'c', CASE c.contype WHEN 'c' THEN pg_get_expr(c.conbin, c.conrelid) ELSE '' END
		FROM pg_constraint c
		WHERE EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_constraint'::regclass AND d.objid = c.oid
		                AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = $2)
		ORDER BY 1`, table, attribute)
	if err != nil {
		return nil, err
	}
	source, err := retypedTable(ctx, tx, table)
	if err != nil {
		return nil, err
	}
	var found []Obstacle
	for _, d := range dependents {
		fails := d.plain
		for _, e := range d.expressions {
			was, err := typeOf(ctx, tx, e, "webhook_events")
			if err != nil {
				return nil, fmt.Errorf("read the definition of %s: %w", d.Object, err)
			}
			becomes, err := typeOf(ctx, tx, e, source)
			fails = fails || err != nil || was != becomes
		}
		if fails {
			d.Problem = "its definition does not work with json, the new type of webhook_events.payload_json"
			d.Afterwards = "create it again with payload_json::jsonb in place of payload_json, in an index ((payload_json::jsonb)): " +
				d.Afterwards
			found = append(found, d.Obstacle)
		}
	}
	return found, nil
}

// retypedTable returns a FROM item that stands for the table after the change.
func retypedTable(ctx context.Context, tx *sql.Tx, table uint32) (string, error) {
	var columns string
	err := tx.QueryRowContext(ctx, `
		SELECT string_agg(CASE attname WHEN 'payload_json' THEN 'payload_json::text::json AS payload_json'
		                               ELSE quote_ident(attname) END, ', ')
		FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped`, table).Scan(&columns)
	return "(SELECT " + columns + " FROM webhook_events) AS webhook_events", err
}

// typeOf returns the type of an expression over a table, or the error of an invalid expression. It reads no rows.
func typeOf(ctx context.Context, tx *sql.Tx, expression, from string) (name string, err error) {
	err = inSavepoint(ctx, tx, func() (err error) {
		//nolint:gosec // The expression comes from an index or a check of the database.
		rows, err := tx.QueryContext(ctx, "SELECT ("+expression+") FROM "+from+" LIMIT 0")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		types, err := rows.ColumnTypes()
		if err != nil {
			return err
		}
		name = types[0].DatabaseTypeName()
		return rows.Err()
	})
	return name, err
}
