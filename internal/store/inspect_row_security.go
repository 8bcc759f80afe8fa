package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// secured is a table with active row security for the role, and a privilege that a process needs on it.
type secured struct {
	table, privilege string
	// policies are the policies that allow some or all rows; restrictive are the policies that hide rows.
	policies, restrictive []string
	// permitted is true if a permissive policy allows all rows, closed if no row is allowed.
	permitted, closed bool
}

// inspectRowSecurity finds tables whose policies hide rows from the role of the connection, or forbid it to write rows.
func inspectRowSecurity(
	ctx context.Context, pool *database.Pool, p tableSchemas, setting database.Setting, process Process,
) ([]preflight.Finding, error) {
	all, err := readSecured(ctx, pool, process)
	if err != nil {
		return nil, fmt.Errorf("read the policies of row security: %w", err)
	}
	if setting.Value == "off" && len(all) > 0 {
		return []preflight.Finding{refusedByRowSecurity(all, p, setting, process)}, nil
	}
	role := database.Quote(p.role)
	var findings []preflight.Finding
	for _, s := range all {
		if s.permitted && len(s.restrictive) == 0 {
			continue
		}
		severity, consequence := consequenceOf(s.table, s.privilege, process)
		message := fmt.Sprintf("row security of %s allows the role %s no %s: %s", s.table, p.role, s.privilege, consequence)
		if !s.closed {
			severity = preflight.Warning
			message = fmt.Sprintf("row security of %s allows the role %s %s of some rows only, by the policies %s: for the others, %s",
				s.table, p.role, s.privilege, strings.Join(s.policies, ", "), consequence)
		}
		findings = append(findings, newFinding(severity, checkRowSecurity, message, fmt.Sprintf(
			"run %s, or ALTER TABLE %s DISABLE ROW LEVEL SECURITY",
			database.PolicyAdvice(role, p.table(s.table), s.permitted, s.restrictive), p.table(s.table))))
	}
	if len(findings) == 0 {
		findings = append(findings, newFinding(preflight.OK, checkRowSecurity, "row security hides nothing from the role", ""))
	}
	return findings, nil
}

// refusedByRowSecurity reports that Postgres refuses every statement, because row_security is off and a policy would apply.
func refusedByRowSecurity(all []secured, p tableSchemas, setting database.Setting, process Process) preflight.Finding {
	worst := newFinding(preflight.Warning, checkRowSecurity, "", "")
	var tables, consequences []string
	for _, s := range all {
		severity, consequence := consequenceOf(s.table, s.privilege, process)
		if severity == preflight.Error {
			worst.Severity = severity
		}
		if !slices.Contains(tables, s.table) {
			tables = append(tables, s.table)
		}
		if !slices.Contains(consequences, consequence) {
			consequences = append(consequences, consequence)
		}
	}
	worst.Message = fmt.Sprintf("row_security is off, set %s, and row security of %s applies to the role %s: Postgres refuses the "+
		"statements (SQLSTATE 42501): %s", setting.SetBy(), strings.Join(tables, ", "), p.role, strings.Join(consequences, "; "))
	worst.Action = setting.Reset("on") + fmt.Sprintf(", or run ALTER ROLE %s BYPASSRLS", database.Quote(p.role))
	return worst
}

// readSecured reads the policies. A policy allows all rows if its expression is the constant true, none if it is false, and some rows
// otherwise.
func readSecured(ctx context.Context, pool *database.Pool, process Process) ([]secured, error) {
	tables, privileges := needsOf(process)
	rows, err := pool.Query(ctx, `
		WITH needed AS (
		    SELECT n.tab, to_regclass(n.tab)::oid AS oid, n.privilege, n.position,
		           CASE n.privilege WHEN 'SELECT' THEN 'r' WHEN 'INSERT' THEN 'a' WHEN 'UPDATE' THEN 'w' ELSE 'd' END AS command
		    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (tab, privilege, position)
		), policies AS (
		    SELECT n.tab, n.privilege, p.polname::text, p.polpermissive,
		           ARRAY(SELECT DISTINCT e FROM unnest(ARRAY[
		               CASE WHEN n.command <> 'a' THEN coalesce(pg_get_expr(p.polqual, p.polrelid), 'false') END,
		               CASE WHEN n.command IN ('a', 'w')
		                    THEN coalesce(pg_get_expr(p.polwithcheck, p.polrelid), pg_get_expr(p.polqual, p.polrelid), 'false') END]) e
		               WHERE e IS NOT NULL) AS expressions
		    FROM needed n JOIN pg_policy p ON p.polrelid = n.oid AND p.polcmd IN ('*', n.command)
		    WHERE 0 = ANY (p.polroles) OR EXISTS (SELECT FROM unnest(p.polroles) r WHERE pg_has_role(r, 'USAGE'))
		)
		SELECT n.tab, n.privilege,
		       coalesce(array_agg(quote_ident(p.polname) ORDER BY p.polname) FILTER (WHERE NOT 'false' = ANY (p.expressions)), '{}'),
		       coalesce(array_agg(p.polname ORDER BY p.polname) FILTER (WHERE NOT p.polpermissive AND p.expressions <> '{true}'), '{}'),
		       coalesce(bool_or(p.polpermissive AND p.expressions = '{true}'), false),
		       NOT coalesce(bool_or(p.polpermissive AND NOT 'false' = ANY (p.expressions)), false)
		       OR coalesce(bool_or(NOT p.polpermissive AND 'false' = ANY (p.expressions)), false)
		FROM needed n LEFT JOIN policies p ON p.tab = n.tab AND p.privilege = n.privilege
		WHERE row_security_active(n.oid)
		GROUP BY n.tab, n.privilege, n.position
		ORDER BY n.position`, tables, privileges)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s secured, err error) {
		err = row.Scan(&s.table, &s.privilege, &s.policies, &s.restrictive, &s.permitted, &s.closed)
		return s, err
	})
}
