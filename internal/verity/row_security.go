package verity

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/database"
)

// restriction is a table on which row security is active for a role, and the commands of verity-sync that may not see every row.
type restriction struct {
	// table is the name that verity-sync uses. schema and relation name the table with row security: the same one, or one behind a view.
	table, schema, relation string
	behindView              bool
	// role is the role to which the policies apply: the session's, or the owner of a view.
	role     string
	commands []string
	// permitted is true if permissive policies show all rows. restrictive are the policies that hide some of them again.
	permitted   bool
	restrictive []string
}

// restrictions reads where row security may hide rows from verity-sync. Row security does not apply to superusers, to roles with BYPASSRLS,
// and to the owner of a table that does not force it. If it applies, a command sees all rows if one permissive policy is USING (true) and
// every restrictive policy is, too. The query follows views: a view reads tables with the privileges of its owner, or of the session if the
// view is security_invoker.
const restrictions = secured + `
	SELECT j.name, n.nspname::text, j.relname::text, j.oid IS DISTINCT FROM to_regclass(j.name)::oid, j.rolname::text,
		array_agg(DISTINCT j.command ORDER BY j.command DESC), bool_and(j.permitted),
		array_agg(DISTINCT p.name) FILTER (WHERE p.name IS NOT NULL)
	FROM applicable j JOIN pg_namespace n ON n.oid = j.relnamespace LEFT JOIN LATERAL unnest(j.restrictive) AS p(name) ON true
	WHERE NOT j.permitted OR j.restrictive IS NOT NULL
	GROUP BY j.name, n.nspname, j.relname, j.oid, j.rolname ORDER BY j.name DESC, j.relname, n.nspname`

// activeRowSecurity reads where row security is active, regardless of its policies.
const activeRowSecurity = secured + `
	SELECT DISTINCT j.name, n.nspname::text, j.relname::text, j.oid IS DISTINCT FROM to_regclass(j.name)::oid, j.rolname::text,
		'{}'::text[], false, '{}'::text[]
	FROM applicable j JOIN pg_namespace n ON n.oid = j.relnamespace ORDER BY 1 DESC, 3, 2`

// secured begins a query. Its table applicable has a row for each table on which row security is active, and each command.
const secured = `
	WITH RECURSIVE used(name, relation, role) AS (
		SELECT t.name, to_regclass(t.name)::oid, (SELECT oid FROM pg_roles WHERE rolname = current_user)
		FROM unnest($1::text[]) AS t(name)
		UNION
		SELECT u.name, d.refobjid,
			CASE WHEN EXISTS (SELECT FROM pg_options_to_table(v.reloptions) WHERE option_name = 'security_invoker' AND option_value::bool)
				THEN u.role ELSE v.relowner END
		FROM used u JOIN pg_class v ON v.oid = u.relation AND v.relkind = 'v'
		JOIN pg_rewrite w ON w.ev_class = v.oid AND w.ev_type = '1'
		JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
			AND d.refobjid <> v.oid
	), needed(name, command, polcmd, checks) AS (
		VALUES ('contacts', 'SELECT', 'r', false), ('leads', 'SELECT', 'r', false), ('leads', 'UPDATE', 'w', false),
			('leads', 'UPDATE', 'w', true), ('leads', 'INSERT', 'a', true)
	), applicable AS (
		SELECT u.name, c.oid, c.relname, c.relnamespace, r.rolname, n.command,
			coalesce(bool_or(says = 'true') FILTER (WHERE p.polpermissive), false) AS permitted,
			array_agg(p.polname::text) FILTER (WHERE NOT p.polpermissive AND says <> 'true') AS restrictive
		FROM used u JOIN pg_class c ON c.oid = u.relation JOIN pg_roles r ON r.oid = u.role JOIN needed n ON n.name = u.name
		LEFT JOIN pg_policy p ON p.polrelid = c.oid AND p.polcmd IN ('*', n.polcmd::"char")
			AND EXISTS (SELECT FROM unnest(p.polroles) AS g(role) WHERE g.role = 0 OR pg_has_role(u.role, g.role, 'USAGE'))
		LEFT JOIN LATERAL (
			SELECT pg_get_expr(CASE WHEN n.checks AND p.polwithcheck IS NOT NULL THEN p.polwithcheck ELSE p.polqual END, p.polrelid) AS says
		) s ON true
		WHERE c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
			AND (c.relforcerowsecurity OR NOT pg_has_role(u.role, c.relowner, 'USAGE'))
		GROUP BY u.name, c.oid, c.relname, c.relnamespace, r.rolname, n.command, n.checks
	)`

func readRestrictions(ctx context.Context, db querier, tables ...string) ([]restriction, error) {
	return collectRestrictions(ctx, db, restrictions, tables)
}

// readSecured reads the tables on which row security is active, regardless of its policies.
func readSecured(ctx context.Context, db querier, tables ...string) ([]restriction, error) {
	return collectRestrictions(ctx, db, activeRowSecurity, tables)
}

func collectRestrictions(ctx context.Context, db querier, query string, tables []string) ([]restriction, error) {
	rows, err := db.Query(ctx, query, tables)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r restriction, err error) {
		err = row.Scan(&r.table, &r.schema, &r.relation, &r.behindView, &r.role, &r.commands, &r.permitted, &r.restrictive)
		return r, err
	})
}

// checkVisible returns an error if row security may hide rows of the tables: a row that is not found may exist.
func checkVisible(ctx context.Context, db querier, tables ...string) error {
	found, err := readRestrictions(ctx, db, tables...)
	if err != nil || len(found) == 0 {
		return err
	}
	return &hiddenError{found[0]}
}

// hiddenError says that row security may hide the row that a statement did not find.
type hiddenError struct{ restriction restriction }

func (e *hiddenError) Error() string {
	return e.restriction.String() + "; " + e.restriction.consequence() + ": " + e.restriction.action()
}

func (r restriction) String() string {
	return fmt.Sprintf("row security restricts %s on %s for the role %s", strings.Join(r.commands, ", "), r.on(), r.role)
}

// on names the relation with row security.
func (r restriction) on() string {
	if r.behindView {
		return r.schema + "." + r.relation + " (through the view " + r.table + ")"
	}
	return r.relation
}

// consequence describes what happens because of the restriction.
func (r restriction) consequence() string {
	if r.table == contactsTable {
		return "contacts may be hidden, a contact that is not found may exist, and appointment events wait"
	}
	return "leads may be hidden, an INSERT could create a second lead, and appointment events wait"
}

func (r restriction) action() string {
	return database.PolicyAdvice(database.Quote(r.role), database.Quote(r.schema, r.relation), r.permitted, r.restrictive)
}
