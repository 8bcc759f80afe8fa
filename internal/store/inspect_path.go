package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// tableSchemas are the schemas of a database, with respect to the tables of verity-sync.
type tableSchemas struct {
	// path is search_path. role is the current role, which SET ROLE may have changed.
	path database.Setting
	role string
	// named are the schemas of search_path, which need not exist. usable are those that the role may use, including pg_temp, which Postgres
	// creates on its first use; closed are those that exist and that the role may not use.
	named, usable, closed []string
	// resolved has the schemas of the tables that are found by their unqualified names, by table.
	resolved map[string]string
	// homes are the schemas with tables of verity-sync, and visible those of them in search_path, in its order.
	homes, visible []string
}

// readTableSchemas does not call current_schema(): with pg_temp in front, it needs the privilege to create temporary tables.
func readTableSchemas(ctx context.Context, pool *database.Pool, path database.Setting) (tableSchemas, error) {
	p := tableSchemas{path: path, resolved: map[string]string{}}
	if err := pool.QueryRow(ctx, `SELECT current_user`).Scan(&p.role); err != nil {
		return tableSchemas{}, fmt.Errorf("read the role: %w", err)
	}
	p.named = database.SearchPath(path.Value)
	if err := p.readSchemas(ctx, pool); err != nil {
		return tableSchemas{}, fmt.Errorf("read the schemas of search_path: %w", err)
	}
	rows, err := pool.Query(ctx, `
		SELECT n.nspname::text, c.relname::text, pg_table_is_visible(c.oid)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relname = ANY ($1::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\_%'
		ORDER BY coalesce(array_position($2::text[], n.nspname::text), 1000), 1`, tableNames(), p.usable)
	if err != nil {
		return tableSchemas{}, fmt.Errorf("look for the tables: %w", err)
	}
	var schema, table string
	var visible bool
	_, err = pgx.ForEachRow(rows, []any{&schema, &table, &visible}, func() error {
		if visible {
			p.resolved[table] = schema
		}
		if table != versionTable { // A set of tables is verity-sync's if it has this one.
			return nil
		}
		p.homes = append(p.homes, schema)
		if slices.Contains(p.usable, schema) {
			p.visible = append(p.visible, schema)
		}
		return nil
	})
	if err != nil {
		return tableSchemas{}, fmt.Errorf("look for the tables: %w", err)
	}
	return p, nil
}

const (
	ownSchema       = "$user" // The schema of the role's name, in a search_path.
	temporarySchema = "pg_temp"
)

func (p *tableSchemas) readSchemas(ctx context.Context, pool *database.Pool) error {
	names := slices.Clone(p.named)
	for i, name := range names {
		if name == ownSchema {
			names[i] = p.role
		}
	}
	rows, err := pool.Query(ctx, `
		SELECT p.name, coalesce(has_schema_privilege(n.oid, 'USAGE'), true)
		FROM unnest($1::text[]) WITH ORDINALITY AS p (name, position) LEFT JOIN pg_namespace n ON n.nspname = p.name
		WHERE n.oid IS NOT NULL OR p.name = $2
		ORDER BY p.position`, names, temporarySchema)
	if err != nil {
		return err
	}
	var schema string
	var usable bool
	_, err = pgx.ForEachRow(rows, []any{&schema, &usable}, func() error {
		if usable {
			p.usable = append(p.usable, schema)
		} else {
			p.closed = append(p.closed, schema)
		}
		return nil
	})
	return err
}

// current is the schema in which tables are created, or "".
func (p tableSchemas) current() string {
	if len(p.usable) == 0 {
		return ""
	}
	return p.usable[0]
}

// first is the first schema of search_path, or "" for "$user", which need not exist.
func (p tableSchemas) first() string {
	if len(p.named) == 0 || p.named[0] == ownSchema {
		return ""
	}
	return p.named[0]
}

// ofServer reports whether a schema belongs to the server, so that it cannot have permanent tables.
func ofServer(schema string) bool {
	return strings.HasPrefix(schema, "pg_") || schema == "information_schema"
}

// missing returns the tables of verity-sync that are not found.
func (p tableSchemas) missing() []string {
	return slices.DeleteFunc(tableNames(), func(table string) bool { return p.resolved[table] != "" })
}

// table returns the qualified name of a table, quoted for SQL.
func (p tableSchemas) table(name string) string {
	return database.Quote(p.resolved[name], name)
}

// setPath returns how to set search_path to a schema.
func (p tableSchemas) setPath(schema string) string { return p.path.Set(database.Quote(schema)) }

// searchPath checks that search_path selects the tables of one schema.
func (p tableSchemas) searchPath(process Process) preflight.Finding {
	migrated, current := p.resolved[versionTable] != "", p.current()
	home := cmp.Or(p.resolved[versionTable], current)
	var strays []string
	var elsewhere string
	for _, table := range tableNames() {
		if schema := p.resolved[table]; schema != "" && schema != home {
			strays, elsewhere = append(strays, schema+"."+table), schema
		}
	}
	stray := strings.Join(strays, ", ")
	finding := func(severity preflight.Severity, action, format string, args ...any) preflight.Finding {
		return newFinding(severity, checkSearchPath, fmt.Sprintf(format, args...), action)
	}
	switch {
	case current == "":
		return finding(preflight.Error, p.openSchema(process),
			"search_path names no schema that exists and that the role %s may use: it is %s", p.role, p.path.Value)
	case ofServer(current) && (process == MigrationProcess || !migrated):
		kept := "a migration can create no tables there"
		if strings.HasPrefix(current, temporarySchema) {
			kept = "a migration would create temporary tables, which end with its session"
		}
		return finding(preflight.Error, p.setPath(p.keeping()), "the first schema of search_path is %s: %s", current, kept)
	case process == MigrationProcess && home != current:
		return finding(preflight.Error, p.setPath(home),
			"a migration creates tables in the schema %s, and the tables of verity-sync are in %s", current, home)
	case migrated && stray != "":
		return finding(preflight.Error, p.setPath(home),
			"search_path mixes the tables of two schemas: %s would be used with those of %s", stray, home)
	case process == MigrationProcess && stray != "":
		return finding(preflight.Warning, "to adopt it, "+p.setPath(elsewhere),
			"%s is not adopted: the migration creates new tables in the schema %s", stray, current)
	case len(p.visible) > 1:
		return finding(preflight.Warning, "name only one of them in search_path: "+p.setPath(home),
			"search_path names several schemas with tables of verity-sync (%s): those of %s are used", strings.Join(p.visible, ", "), home)
	case strings.HasPrefix(current, temporarySchema):
		return finding(preflight.Warning, p.setPath(home),
			"the first schema of search_path is %s: a migration would create temporary tables, and refuses to; the tables are those of %s",
			current, home)
	case p.first() != "" && p.first() != current:
		return finding(preflight.Warning, p.openFirst()+", or "+p.setPath(current),
			"the first schema of search_path, %s, does not exist, or the role %s may not use it: %s is used", p.first(), p.role, current)
	case !migrated:
		return finding(preflight.OK, "", "tables are created in the schema %s", home)
	default:
		return finding(preflight.OK, "", "the tables are those of the schema %s", home)
	}
}

// keeping returns a schema for permanent tables: that of verity-sync's tables, else the first suitable one of search_path.
func (p tableSchemas) keeping() string {
	for _, schema := range slices.Concat([]string{p.resolved[versionTable]}, p.usable) {
		if schema != "" && !ofServer(schema) {
			return schema
		}
	}
	return "public"
}

// openSchema returns how to give search_path a schema that the role may use.
func (p tableSchemas) openSchema(process Process) string {
	role, privilege := database.Quote(p.role), "USAGE"
	if process == MigrationProcess {
		privilege = "USAGE, CREATE"
	}
	grant := func(schema string) string {
		return fmt.Sprintf("GRANT %s ON SCHEMA %s TO %s", privilege, database.Quote(schema), role)
	}
	switch {
	case len(p.closed) > 0:
		return "run " + grant(p.closed[0])
	case len(p.homes) > 0:
		return p.setPath(p.homes[0]) + ", where there are tables of verity-sync; if the role may not use it, " + grant(p.homes[0])
	case p.first() != "":
		return fmt.Sprintf("run CREATE SCHEMA %s and %s, or %s",
			database.Quote(p.first()), grant(p.first()), p.setPath("public"))
	default:
		return "create a schema for verity-sync, or " + p.setPath("public")
	}
}

// openFirst returns how to give the role the first schema of search_path.
func (p tableSchemas) openFirst() string {
	schema, role := database.Quote(p.first()), database.Quote(p.role)
	grant := fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", schema, role)
	if slices.Contains(p.closed, p.first()) {
		return "run " + grant
	}
	return fmt.Sprintf("run CREATE SCHEMA %s and %s", schema, grant)
}
