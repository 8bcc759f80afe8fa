package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// insufficientPrivilege is the SQLSTATE of a right that is missing.
const insufficientPrivilege = "42501"

// need is what processes do with a table.
type need struct {
	table string
	// receiver and controller are the privileges that they use.
	receiver, controller string
}

// needs are all tables. DELETE is for retention alone.
var needs = []need{
	{"webhook_events", "SELECT INSERT UPDATE", "SELECT UPDATE DELETE"},
	{"sync_log", "", "SELECT INSERT DELETE"},
	{"contact_mappings", "", "SELECT INSERT UPDATE"},
	{"appointments", "", "SELECT INSERT UPDATE"},
	{"controller_term", "SELECT UPDATE", "SELECT UPDATE"},
	{"controller_heartbeat", "SELECT", "SELECT UPDATE"},
	{"relay_lease", "SELECT UPDATE", ""},
	{"ghl_locations", "", "SELECT INSERT"},
	{"verity_sync_installation", "SELECT", "SELECT"},
	{versionTable, "SELECT", "SELECT"},
	{"verity_sync_schema_compatibility", "SELECT", "SELECT"},
}

func tableNames() []string {
	names := make([]string, len(needs))
	for i, n := range needs {
		names[i] = n.table
	}
	return names
}

// needsOf returns the privileges that a process uses, as tables and what each is for.
func needsOf(process Process) (tables, privileges []string) {
	for _, n := range needs {
		for _, privilege := range []string{"SELECT", "INSERT", "UPDATE", "DELETE"} {
			receiver, controller := strings.Contains(n.receiver, privilege), strings.Contains(n.controller, privilege)
			if receiver && process != ControllerProcess || controller && process != ReceiverProcess {
				tables, privileges = append(tables, n.table), append(privileges, privilege)
			}
		}
	}
	return tables, privileges
}

// inspectPrivileges finds the privileges that the role of the connection lacks. Those of all columns are as good as that of the table.
func inspectPrivileges(ctx context.Context, pool *database.Pool, process Process) ([]preflight.Finding, error) {
	tables, privileges := needsOf(process)
	rows, err := pool.Query(ctx, `
		SELECT quote_ident(current_user), n.tab, to_regclass(n.tab)::text, n.privilege
		FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (tab, privilege, position)
		WHERE NOT has_table_privilege(to_regclass(n.tab), n.privilege)
		  AND (n.privilege = 'DELETE' OR NOT (
		       SELECT bool_and(has_column_privilege(a.attrelid, a.attnum, n.privilege))
		       FROM pg_attribute a WHERE a.attrelid = to_regclass(n.tab) AND a.attnum > 0 AND NOT a.attisdropped))
		ORDER BY n.position`, tables, privileges)
	if err != nil {
		return nil, fmt.Errorf("read the privileges: %w", err)
	}
	var findings []preflight.Finding
	var me, name, table, privilege string
	_, err = pgx.ForEachRow(rows, []any{&me, &name, &table, &privilege}, func() error {
		severity, consequence := lacking(name, privilege, process)
		findings = append(findings, found(severity, checkPrivileges,
			fmt.Sprintf("the role %s may not %s %s: %s", me, privilege, name, consequence),
			fmt.Sprintf("run GRANT %s ON %s TO %s", privilege, table, me)))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the privileges: %w", err)
	}
	if len(findings) == 0 {
		findings = append(findings, found(preflight.OK, checkPrivileges, "the role may do what "+process.String(), ""))
	}
	return findings, nil
}

// lacking says what comes of a table with which something cannot be done.
func lacking(table, privilege string, process Process) (preflight.Severity, string) {
	switch {
	case privilege == "DELETE":
		return preflight.Warning, "finished rows stay longer than RETENTION"
	case table == versionTable, table == "verity_sync_schema_compatibility":
		return preflight.Warning, "a schema that this binary cannot work with is not noticed"
	case table == "controller_term" && process == ReceiverProcess:
		return preflight.Warning, "POST /api/jobs/process-pending answers 500"
	case table == "webhook_events" && process != ControllerProcess:
		return preflight.Error, "webhooks are answered 429"
	case table == "relay_lease", process == ReceiverProcess:
		return preflight.Error, "stored events get no WebhookEvent"
	default:
		return preflight.Error, "events are not processed"
	}
}

// String names the processes.
func (p Process) String() string {
	return [...]string{"receivers and controllers do", "a receiver does", "a controller does", "the migration does"}[p]
}

// inspectRowSecurity finds tables whose policies hide rows from the role of the connection, or forbid it to write them. A policy allows all
// rows if its expression is the constant true, none if it is false, and some rows otherwise.
func inspectRowSecurity(ctx context.Context, pool *database.Pool, process Process) ([]preflight.Finding, error) {
	tables, privileges := needsOf(process)
	rows, err := pool.Query(ctx, `
		WITH needed AS (
		    SELECT n.tab, to_regclass(n.tab)::oid AS oid, n.privilege, n.position,
		           CASE n.privilege WHEN 'SELECT' THEN 'r' WHEN 'INSERT' THEN 'a' WHEN 'UPDATE' THEN 'w' ELSE 'd' END AS command
		    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (tab, privilege, position)
		), policies AS (
		    SELECT n.tab, n.privilege, p.polname, p.polpermissive,
		           ARRAY(SELECT DISTINCT e FROM unnest(ARRAY[
		               CASE WHEN n.command <> 'a' THEN coalesce(pg_get_expr(p.polqual, p.polrelid), 'false') END,
		               CASE WHEN n.command IN ('a', 'w')
		                    THEN coalesce(pg_get_expr(p.polwithcheck, p.polrelid), pg_get_expr(p.polqual, p.polrelid), 'false') END]) e
		               WHERE e IS NOT NULL) AS expressions
		    FROM needed n JOIN pg_policy p ON p.polrelid = n.oid AND p.polcmd IN ('*', n.command)
		    WHERE 0 = ANY (p.polroles) OR EXISTS (SELECT FROM unnest(p.polroles) r WHERE pg_has_role(r, 'USAGE'))
		)
		SELECT quote_ident(current_user), n.tab, n.privilege,
		       coalesce((SELECT string_agg(quote_ident(p.polname), ', ' ORDER BY p.polname) FROM policies p
		                 WHERE p.tab = n.tab AND p.privilege = n.privilege AND NOT 'false' = ANY (p.expressions)), '') AS names,
		       EXISTS (SELECT FROM policies p WHERE p.tab = n.tab AND p.privilege = n.privilege AND p.polpermissive
		                 AND p.expressions = '{true}') AND NOT EXISTS (
		           SELECT FROM policies p WHERE p.tab = n.tab AND p.privilege = n.privilege AND NOT p.polpermissive
		                 AND p.expressions <> '{true}') AS open,
		       NOT EXISTS (SELECT FROM policies p WHERE p.tab = n.tab AND p.privilege = n.privilege AND p.polpermissive
		                 AND NOT 'false' = ANY (p.expressions)) OR EXISTS (
		           SELECT FROM policies p WHERE p.tab = n.tab AND p.privilege = n.privilege AND NOT p.polpermissive
		                 AND 'false' = ANY (p.expressions)) AS closed
		FROM needed n
		WHERE row_security_active(n.oid)
		ORDER BY n.position`, tables, privileges)
	if err != nil {
		return nil, fmt.Errorf("read the policies of row security: %w", err)
	}
	var findings []preflight.Finding
	var me, table, privilege, policies string
	var open, closed bool
	_, err = pgx.ForEachRow(rows, []any{&me, &table, &privilege, &policies, &open, &closed}, func() error {
		if open {
			return nil
		}
		severity, consequence := lacking(table, privilege, process)
		message := fmt.Sprintf("row security of %s allows the role %s no %s: %s", table, me, privilege, consequence)
		if !closed {
			severity = preflight.Warning
			message = fmt.Sprintf("row security of %s allows the role %s %s of some rows only, by the policies %s: for the others, %s",
				table, me, privilege, policies, consequence)
		}
		findings = append(findings, found(severity, checkRowSecurity, message, fmt.Sprintf("run ALTER ROLE %s BYPASSRLS, "+
			"or CREATE POLICY verity_sync ON %s TO %s USING (true) WITH CHECK (true), or ALTER TABLE %s DISABLE ROW LEVEL SECURITY",
			me, table, me, table)))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the policies of row security: %w", err)
	}
	if len(findings) == 0 {
		findings = append(findings, found(preflight.OK, checkRowSecurity, "row security hides nothing from the role", ""))
	}
	return findings, nil
}
