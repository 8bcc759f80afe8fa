package store

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pressly/goose/v3"
)

// plan has the actions of pending migrations that can conflict with objects of the database.
type plan struct {
	// tables, indexes and types are the objects that they create, alters the tables that they alter.
	tables, indexes, types, alters []string
	// columns and constraints are the ones that they add, as {table, name}.
	columns, constraints [][2]string
	// altered are the columns that they alter, in this order.
	altered []alteredColumn
}

// alteredColumn is a column that a migration changes: to NOT NULL, from NOT NULL, or to another type.
type alteredColumn struct{ table, name, action string }

func (p plan) empty() bool { return len(p.tables)+len(p.indexes)+len(p.types)+len(p.alters) == 0 }

var (
	comments      = regexp.MustCompile(`(?m)--.*$`)
	createTable   = regexp.MustCompile(`^CREATE TABLE (\w+)`)
	createIndex   = regexp.MustCompile(`^CREATE (?:UNIQUE )?INDEX (?:CONCURRENTLY )?(\w+) ON`)
	createType    = regexp.MustCompile(`^CREATE TYPE (\w+)`)
	alterTable    = regexp.MustCompile(`^ALTER TABLE (?:IF EXISTS )?(\w+)`)
	addColumn     = regexp.MustCompile(`ADD COLUMN (\w+) `)
	alterColumn   = regexp.MustCompile(`ALTER COLUMN (\w+) (SET NOT NULL|DROP NOT NULL|TYPE \w+)`)
	addConstraint = regexp.MustCompile(`ADD CONSTRAINT (\w+) `)
	dropped       = regexp.MustCompile(`DROP (?:INDEX|TABLE|TYPE|CONSTRAINT|COLUMN) (?:CONCURRENTLY )?(?:IF EXISTS )?(\w+)`)
)

// planAfter reads the SQL of the migrations after version. It leaves out objects that they drop again.
func planAfter(provider *goose.Provider, version int64) (plan, error) {
	var p plan
	gone := map[string]bool{}
	first := func(list *[]string, pattern *regexp.Regexp, statement string) {
		if match := pattern.FindStringSubmatch(statement); match != nil && match[1] != "IF" && !gone[match[1]] {
			*list = append(*list, match[1])
		}
	}
	for _, source := range provider.ListSources() {
		if source.Version <= version || source.Type != goose.TypeSQL {
			continue
		}
		content, err := fs.ReadFile(migrationFiles, "migrations/"+filepath.Base(source.Path))
		if err != nil {
			return plan{}, err
		}
		for statement := range strings.SplitSeq(comments.ReplaceAllString(string(content), ""), ";") {
			statement = strings.Join(strings.Fields(statement), " ")
			for _, match := range dropped.FindAllStringSubmatch(statement, -1) {
				gone[match[1]] = true
			}
			first(&p.tables, createTable, statement)
			first(&p.indexes, createIndex, statement)
			first(&p.types, createType, statement)
			first(&p.alters, alterTable, statement)
			if table := alterTable.FindStringSubmatch(statement); table != nil {
				p.columns = appendAdded(p.columns, table[1], addColumn, statement, gone)
				for _, match := range alterColumn.FindAllStringSubmatch(statement, -1) {
					p.altered = append(p.altered, alteredColumn{table[1], match[1], match[2]})
				}
				p.constraints = appendAdded(p.constraints, table[1], addConstraint, statement, gone)
			}
		}
	}
	return p, nil
}

func appendAdded(list [][2]string, table string, pattern *regexp.Regexp, statement string, gone map[string]bool) [][2]string {
	for _, match := range pattern.FindAllStringSubmatch(statement, -1) {
		if match[1] != "IF" && !gone[match[1]] {
			list = append(list, [2]string{table, match[1]})
		}
	}
	return list
}

// privilegeObstacles are privileges that the role of the migration lacks.
func privilegeObstacles(ctx context.Context, tx *sql.Tx, p plan) ([]Obstacle, error) {
	var found []Obstacle
	var role, schema string
	var creates bool
	err := tx.QueryRowContext(ctx, `
		SELECT quote_ident(current_user), quote_ident(current_schema()), has_schema_privilege(current_schema(), 'CREATE')`).
		Scan(&role, &schema, &creates)
	if err != nil {
		return nil, err
	}
	if !creates {
		found = append(found, Obstacle{
			Object: "schema " + schema, Problem: "the role " + role + " may not create tables in it",
			Statements: []string{"GRANT CREATE ON SCHEMA " + schema + " TO " + role},
		})
	}
	others, err := rowsOf(ctx, tx, func(rows *sql.Rows) (Obstacle, error) {
		var table, owner string
		err := rows.Scan(&table, &owner)
		return Obstacle{
			Object: "table " + table, Problem: "only its owner " + owner + " may change it, and the role of the migration is " + role,
			Statements: []string{"GRANT " + owner + " TO " + role},
		}, err
	}, `
		SELECT c.oid::regclass::text, quote_ident(pg_get_userbyid(c.relowner))
		FROM pg_class c
		WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relname = ANY ($1::text[])
		  AND NOT pg_has_role(c.relowner, 'USAGE')
		ORDER BY 1`, p.alters)
	return append(found, others...), err
}

// nameObstacles are objects with the name of an object that a migration creates.
func nameObstacles(ctx context.Context, tx *sql.Tx, p plan) ([]Obstacle, error) {
	found, err := rowsOf(ctx, tx, func(rows *sql.Rows) (Obstacle, error) {
		var o Obstacle
		var kind, object, renamed string
		err := rows.Scan(&o.Object, &kind, &object, &renamed)
		o.Problem = "a migration creates an object of this name"
		o.Statements = []string{fmt.Sprintf("ALTER %s %s RENAME TO %s", kind, object, renamed)}
		return o, err
	}, `
		SELECT pg_describe_object('pg_class'::regclass, c.oid, 0),
		       CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX'
		                      WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END,
		       c.oid::regclass::text, quote_ident('other_' || c.relname)
		FROM pg_class c
		WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relname = ANY ($1::text[] || $2::text[] || $3::text[])
		  AND NOT EXISTS ( -- The first migration drops this one.
		      SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
		      WHERE i.indexrelid = c.oid AND i.indrelid = to_regclass('contact_mappings') AND i.indisunique AND NOT i.indisprimary
		        AND i.indnatts = 1 AND a.attname = 'aloware_contact_id')
		UNION ALL
		SELECT pg_describe_object('pg_type'::regclass, t.oid, 0), CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END,
		       t.oid::regtype::text, quote_ident('other_' || t.typname)
		FROM pg_type t
		WHERE t.typnamespace = quote_ident(current_schema())::regnamespace AND t.typname = ANY ($1::text[] || $3::text[]) AND t.typrelid = 0
		ORDER BY 1`, p.tables, p.indexes, p.types)
	if err != nil {
		return nil, err
	}
	added, err := rowsOf(ctx, tx, func(rows *sql.Rows) (Obstacle, error) {
		var o Obstacle
		var statement string
		err := rows.Scan(&o.Object, &o.Problem, &statement, &o.Afterwards)
		o.Statements = []string{statement}
		return o, err
	}, `
		WITH columns AS (SELECT * FROM unnest($1::text[], $2::text[]) AS n (tab, name)),
		     constraints AS (SELECT * FROM unnest($3::text[], $4::text[]) AS n (tab, name))
		SELECT pg_describe_object('pg_class'::regclass, a.attrelid, a.attnum), 'a migration adds a column of this name',
		       format('ALTER TABLE %s RENAME COLUMN %I TO %I', a.attrelid::regclass, a.attname, 'other_' || a.attname), ''
		FROM columns n JOIN pg_attribute a ON a.attrelid = to_regclass(quote_ident(current_schema()) || '.' || n.tab)
		       AND a.attname = n.name
		WHERE NOT a.attisdropped
		UNION ALL
		SELECT pg_describe_object('pg_constraint'::regclass, c.oid, 0), 'a migration adds a constraint of this name',
		       format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname),
		       'nothing, unless your own rows need it under another name: ' || pg_get_constraintdef(c.oid)
		FROM constraints n
		JOIN pg_constraint c ON c.conrelid = to_regclass(quote_ident(current_schema()) || '.' || n.tab) AND c.conname = n.name
		ORDER BY 1`, firsts(p.columns), seconds(p.columns), firsts(p.constraints), seconds(p.constraints))
	return append(found, added...), err
}

func firsts(pairs [][2]string) []string  { return each(pairs, 0) }
func seconds(pairs [][2]string) []string { return each(pairs, 1) }

func each(pairs [][2]string, n int) []string {
	out := make([]string, len(pairs))
	for i, p := range pairs {
		out[i] = p[n]
	}
	return out
}
