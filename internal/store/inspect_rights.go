package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// insufficientPrivilege is the SQLSTATE of a missing privilege.
const insufficientPrivilege = "42501"

// need is a table and the privileges that processes need on it.
type need struct {
	table string
	// receiver and controller are the privileges that these processes use.
	receiver, controller string
}

// needs has all tables. Only retention needs DELETE.
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

// needsOf returns the privileges that a process uses, as pairs of a table and a privilege.
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

// inspectPrivileges finds the privileges that the role of the connection lacks. A privilege on all columns is as good as one on the table.
func inspectPrivileges(ctx context.Context, pool *database.Pool, p tableSchemas, process Process) ([]preflight.Finding, error) {
	tables, privileges := needsOf(process)
	rows, err := pool.Query(ctx, `
		SELECT n.tab, n.privilege, current_setting('server_version_num')::int,
		       `+database.UninheritedRoles("has_table_privilege(g.oid, to_regclass(n.tab), n.privilege)")+`
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
	var name, privilege string
	var version int
	var groups []string
	_, err = pgx.ForEachRow(rows, []any{&name, &privilege, &version, &groups}, func() error {
		severity, consequence := consequenceOf(name, privilege, process)
		grant := fmt.Sprintf("run GRANT %s ON %s TO %s", privilege, p.table(name), database.Quote(p.role))
		findings = append(findings, newFinding(severity, checkPrivileges,
			fmt.Sprintf("the role %s may not %s %s: %s", p.role, privilege, name, consequence),
			database.OrInherit(grant, p.role, groups, version)))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the privileges: %w", err)
	}
	if len(findings) == 0 {
		findings = append(findings, newFinding(preflight.OK, checkPrivileges, "the role may do what "+process.String(), ""))
	}
	return findings, nil
}

// consequenceOf returns the consequence of a missing privilege.
func consequenceOf(table, privilege string, process Process) (preflight.Severity, string) {
	switch {
	case privilege == "DELETE":
		return preflight.Warning, "finished rows stay longer than RETENTION"
	case table == versionTable, table == "verity_sync_schema_compatibility":
		return preflight.Warning, "an incompatible schema is not detected"
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

// String names the processes, as the subject of "do".
func (p Process) String() string {
	return [...]string{"receivers and controllers do", "a receiver does", "a controller does", "the migration does"}[p]
}
