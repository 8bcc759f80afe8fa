package store_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/preflight"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

// tenant is a migrated schema, and a role with the privileges of receivers and controllers in docs/security.md.
type tenant struct {
	t                 *testing.T
	url, schema, role string
}

func newTenant(t *testing.T) *tenant {
	t.Helper()
	d := emptyTenant(t)
	migrate(t, d.url)
	d.exec("GRANT USAGE ON SCHEMA $schema TO $role", "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA $schema TO $role")
	return d
}

func emptyTenant(t *testing.T) *tenant {
	t.Helper()
	d := &tenant{t: t, url: testenv.Postgres(t), role: "role_" + strings.ToLower(rand.Text())}
	u, err := url.Parse(d.url)
	require.NoError(t, err)
	d.schema = u.Query().Get("search_path")
	d.exec("CREATE ROLE $role LOGIN PASSWORD 'a'")
	t.Cleanup(func() { d.exec("DROP OWNED BY $role CASCADE", "DROP ROLE $role") })
	return d
}

// exec runs statements, in which $schema and $role stand for the test's schema and role.
func (d *tenant) exec(statements ...string) {
	d.t.Helper()
	ctx := context.WithoutCancel(d.t.Context())
	conn, err := pgx.Connect(ctx, d.url)
	require.NoError(d.t, err)
	defer conn.Close(ctx)
	for _, statement := range statements {
		statement = strings.NewReplacer("$schema", d.schema, "$role", d.role).Replace(statement)
		_, err := conn.Exec(ctx, statement)
		require.NoError(d.t, err, statement)
	}
}

// as returns the URL with the role and, unless it is empty, another search_path.
func (d *tenant) as(searchPath string) string {
	d.t.Helper()
	u, err := url.Parse(d.url)
	require.NoError(d.t, err)
	u.User = url.UserPassword(d.role, "a")
	if searchPath != "" {
		q := u.Query()
		q.Set("search_path", searchPath)
		u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	}
	return u.String()
}

// other creates another schema that the role may use, and returns its name.
func (d *tenant) other(tables string) string {
	d.t.Helper()
	name := "other_" + strings.ToLower(rand.Text())
	d.exec("CREATE SCHEMA "+name, "GRANT USAGE, CREATE ON SCHEMA "+name+" TO $role", "SET search_path TO "+name+"; "+tables)
	d.t.Cleanup(func() { d.exec("DROP SCHEMA IF EXISTS " + name + " CASCADE") })
	return name
}

func inspect(t *testing.T, url string, process store.Process) []preflight.Finding {
	t.Helper()
	var findings []preflight.Finding
	var err error
	if process == store.MigrationProcess {
		_, findings, err = store.InspectMigration(t.Context(), url, nil)
	} else {
		findings, err = open(t, url).Inspect(t.Context(), process, nil)
	}
	require.NoError(t, err)
	return findings
}

// problems returns the problems apart from those of the connection, as "severity check: message: action".
func problems(findings []preflight.Finding) (found []string) {
	for _, f := range findings {
		if f.Severity != preflight.OK && f.Check != "durability" {
			found = append(found, fmt.Sprintf("%s %s: %s: %s", f.Severity, f.Check, f.Message, f.Action))
		}
	}
	return found
}

// assertProblems expects a problem for each line of parts, which it contains in this order.
func assertProblems(t *testing.T, findings []preflight.Finding, want ...[]string) {
	t.Helper()
	got := problems(findings)
	if !assert.Len(t, got, len(want)) {
		return
	}
	for i, parts := range want {
		rest := got[i]
		for _, part := range parts {
			_, after, found := strings.Cut(rest, part)
			assert.True(t, found, "%q in %q", part, got[i])
			rest = after
		}
	}
}

func TestARoleWithThePrivilegesOfTheDocsHasNoProblem(t *testing.T) {
	t.Parallel()
	d := newTenant(t)
	for _, process := range []store.Process{store.AnyProcess, store.ReceiverProcess, store.ControllerProcess} {
		findings := inspect(t, d.as(""), process)
		assertProblems(t, findings)
		var checks []string
		for _, f := range findings {
			checks = append(checks, f.Check)
		}
		assert.Subset(t, checks, []string{"reachable", "search-path", "schema", "privileges", "row-security"})
	}
	assertProblems(t, inspect(t, d.url, store.MigrationProcess))
}

func TestAnInspectionFindsMissingPrivileges(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		statements []string
		process    store.Process
		want       [][]string
	}{
		"a table that cannot be written": {
			[]string{"REVOKE INSERT ON webhook_events FROM $role"}, store.ReceiverProcess,
			[][]string{{"error privileges", "may not INSERT webhook_events: webhooks are answered 429", "GRANT INSERT ON ", `."webhook_events" TO "role_`}},
		},
		"which a controller does not need": {[]string{"REVOKE INSERT ON webhook_events FROM $role"}, store.ControllerProcess, nil},
		"a ledger that cannot be read": {
			[]string{"REVOKE SELECT ON sync_log FROM $role"}, store.ControllerProcess,
			[][]string{{"error privileges", "may not SELECT sync_log: events are not processed"}},
		},
		"which a receiver does not need": {[]string{"REVOKE ALL ON sync_log FROM $role"}, store.ReceiverProcess, nil},
		"columns that can be read and written one by one": {
			[]string{
				"REVOKE ALL ON relay_lease FROM $role", "GRANT SELECT (one, holder, expires_at), UPDATE (one, holder, expires_at) ON relay_lease TO $role",
			},
			store.ReceiverProcess, nil,
		},
		"a column that cannot be written": {
			[]string{"REVOKE UPDATE ON relay_lease FROM $role", "GRANT UPDATE (holder) ON relay_lease TO $role"},
			store.ReceiverProcess, [][]string{{"error privileges", "may not UPDATE relay_lease: stored events get no WebhookEvent"}},
		},
		"rows that cannot be deleted": {
			[]string{"REVOKE DELETE ON ALL TABLES IN SCHEMA $schema FROM $role"}, store.AnyProcess,
			[][]string{{"warning privileges", "DELETE webhook_events", "RETENTION"}, {"warning privileges", "DELETE sync_log"}},
		},
		"a table of a later migration": {
			[]string{"REVOKE ALL ON ghl_locations FROM $role"}, store.AnyProcess,
			[][]string{{"error privileges", "SELECT ghl_locations"}, {"error privileges", "INSERT ghl_locations"}},
		},
		"a version that cannot be read": {
			[]string{"REVOKE SELECT ON verity_sync_schema_version FROM $role"}, store.ReceiverProcess,
			[][]string{{"warning privileges", "SELECT verity_sync_schema_version", "is not detected", "GRANT SELECT ON ", `."verity_sync_schema_version" TO "role_`}},
		},
		"a privilege by way of another role": {
			[]string{"REVOKE ALL ON webhook_events FROM $role", "GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_events TO PUBLIC"}, store.AnyProcess, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newTenant(t)
			d.exec(tc.statements...)
			assertProblems(t, inspect(t, d.as(""), tc.process), tc.want...)
		})
	}
}

func TestAnInspectionFindsRowSecurity(t *testing.T) {
	t.Parallel()
	const enabled = "ALTER TABLE webhook_events ENABLE ROW LEVEL SECURITY"
	none := func(privilege string) []string {
		return []string{"error row-security", "the role role_", " no " + privilege + ": "}
	}
	some := func(privilege string) []string {
		return []string{"warning row-security", privilege + " of some rows only, by the policies "}
	}
	for name, tc := range map[string]struct {
		statements []string
		want       [][]string
	}{
		"no policy": {nil, [][]string{none("SELECT"), none("INSERT"), none("UPDATE")}},
		"a policy for INSERT": {
			[]string{"CREATE POLICY p ON webhook_events FOR INSERT WITH CHECK (true)"}, [][]string{none("SELECT"), none("UPDATE")},
		},
		"a policy for SELECT": {
			[]string{"CREATE POLICY p ON webhook_events FOR SELECT USING (true)"}, [][]string{none("INSERT"), none("UPDATE")},
		},
		"a policy for everything":                      {[]string{"CREATE POLICY p ON webhook_events USING (true)"}, nil},
		"a policy for everything, of the role":         {[]string{"CREATE POLICY p ON webhook_events TO $role USING (true) WITH CHECK (true)"}, nil},
		"a policy for everything, of another role":     {[]string{"CREATE POLICY p ON webhook_events TO CURRENT_USER USING (true)"}, [][]string{none("SELECT"), none("INSERT"), none("UPDATE")}},
		"a policy for nothing":                         {[]string{"CREATE POLICY p ON webhook_events USING (false)"}, [][]string{none("SELECT"), none("INSERT"), none("UPDATE")}},
		"a policy for some rows":                       {[]string{"CREATE POLICY p ON webhook_events USING (source = 'ghl')"}, [][]string{some("SELECT"), some("INSERT"), some("UPDATE")}},
		"a policy that reads all and writes some":      {[]string{"CREATE POLICY p ON webhook_events USING (true) WITH CHECK (source = 'ghl')"}, [][]string{some("INSERT"), some("UPDATE")}},
		"a policy that hides rows of another":          {[]string{"CREATE POLICY p ON webhook_events USING (true)", "CREATE POLICY q ON webhook_events AS RESTRICTIVE FOR SELECT USING (source = 'ghl')"}, [][]string{some("SELECT")}},
		"a policy that hides all rows":                 {[]string{"CREATE POLICY p ON webhook_events USING (true)", "CREATE POLICY q ON webhook_events AS RESTRICTIVE FOR INSERT WITH CHECK (false)"}, [][]string{none("INSERT")}},
		"a policy for some and another one for all":    {[]string{"CREATE POLICY p ON webhook_events USING (true)", "CREATE POLICY q ON webhook_events USING (source = 'ghl')"}, nil},
		"a policy that only restricts":                 {[]string{"CREATE POLICY p ON webhook_events AS RESTRICTIVE USING (true)"}, [][]string{none("SELECT"), none("INSERT"), none("UPDATE")}},
		"no policy, and a role that none applies to":   {[]string{"ALTER ROLE $role BYPASSRLS"}, nil},
		"no policy, and row security that is not on":   {[]string{"ALTER TABLE webhook_events DISABLE ROW LEVEL SECURITY"}, nil},
		"another table, which a receiver does not use": {[]string{"ALTER TABLE webhook_events DISABLE ROW LEVEL SECURITY", "ALTER TABLE sync_log ENABLE ROW LEVEL SECURITY"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newTenant(t)
			d.exec(append([]string{enabled}, tc.statements...)...)
			assertProblems(t, inspect(t, d.as(""), store.ReceiverProcess), tc.want...)
		})
	}
}

func TestAnInspectionFindsASearchPathToOtherTables(t *testing.T) {
	t.Parallel()
	const legacy = "CREATE TABLE webhook_events (id int); GRANT SELECT ON webhook_events TO PUBLIC"
	t.Run("a table of another schema hides one of verity-sync", func(t *testing.T) {
		t.Parallel()
		d := newTenant(t)
		other := d.other(legacy)
		findings := inspect(t, d.as(other+","+d.schema), store.AnyProcess)
		require.NotEmpty(t, problems(findings))
		assertProblems(t, findings[:searchPathAt(findings)+1],
			[]string{"error search-path", other + ".webhook_events would be used with those of " + d.schema, "set search_path=" + d.schema + " in the URL"})
	})
	t.Run("a table of another schema is behind", func(t *testing.T) {
		t.Parallel()
		d := newTenant(t)
		assertProblems(t, inspect(t, d.as(d.schema+","+d.other(legacy)), store.AnyProcess))
	})
	t.Run("verity-sync has tables in two schemas", func(t *testing.T) {
		t.Parallel()
		d, second := newTenant(t), newTenant(t)
		d.exec("GRANT USAGE ON SCHEMA " + second.schema + " TO $role")
		t.Cleanup(func() { d.exec("REVOKE USAGE ON SCHEMA " + second.schema + " FROM $role") })
		assertProblems(t, inspect(t, d.as(d.schema+","+second.schema), store.AnyProcess),
			[]string{"warning search-path", d.schema + ", " + second.schema, "those of " + d.schema + " are used"})
	})
	t.Run("the first schema does not exist", func(t *testing.T) {
		t.Parallel()
		d := newTenant(t)
		assertProblems(t, inspect(t, d.as(`"No, where",`+d.schema), store.AnyProcess),
			[]string{"warning search-path", "No, where, does not exist, or the role ", d.schema + " is used"})
	})
	t.Run("the first schema is that of the role's name, which does not exist", func(t *testing.T) {
		t.Parallel()
		d := newTenant(t)
		assertProblems(t, inspect(t, d.as(`"$user",`+d.schema), store.AnyProcess))
	})
	t.Run("no schema exists", func(t *testing.T) {
		t.Parallel()
		d := newTenant(t)
		findings := inspect(t, d.as("nowhere"), store.AnyProcess)
		assertProblems(t, findings[:searchPathAt(findings)+1], []string{"error search-path", "names no schema that exists", "nowhere"})
	})
	t.Run("the role may not use the schema", func(t *testing.T) {
		t.Parallel()
		d := newTenant(t)
		d.exec("REVOKE USAGE ON SCHEMA $schema FROM $role")
		findings := inspect(t, d.as(""), store.AnyProcess)
		assertProblems(t, findings[:searchPathAt(findings)+1], []string{"error search-path", "that the role " + d.role + " may use", "GRANT USAGE ON SCHEMA"})
	})
	t.Run("the tables are in a schema that it does not name", func(t *testing.T) {
		t.Parallel()
		d := newTenant(t)
		assertProblems(t, inspect(t, d.as(d.other("")), store.AnyProcess), []string{
			"error schema", "older than this binary (version 0", "run `verity-sync migrate` first. There are tables of verity-sync in the schema ", "set search_path=",
		})
	})
	t.Run("a migration would create tables beside the existing ones", func(t *testing.T) {
		t.Parallel()
		d := newTenant(t)
		other := d.other("")
		assertProblems(t, inspect(t, d.as(other+","+d.schema), store.MigrationProcess),
			[]string{"error search-path", "creates tables in the schema " + other + ", and the tables of verity-sync are in " + d.schema})
	})
	t.Run("a migration would not adopt the existing table", func(t *testing.T) {
		t.Parallel()
		d := emptyTenant(t)
		d.exec("GRANT USAGE, CREATE ON SCHEMA $schema TO $role")
		other := d.other(legacy)
		assertProblems(t, inspect(t, d.as(d.schema+","+other), store.MigrationProcess),
			[]string{"warning search-path", other + ".webhook_events is not adopted", "schema " + d.schema, "set search_path=" + other + " in the URL"})
	})
}

func searchPathAt(findings []preflight.Finding) int {
	for i, f := range findings {
		if f.Check == "search-path" {
			return i
		}
	}
	return -1
}

func TestAnInspectionFindsASchemaOfAnotherBinary(t *testing.T) {
	t.Parallel()
	d := emptyTenant(t)
	d.exec("GRANT USAGE ON SCHEMA $schema TO $role")
	findings := inspect(t, d.as(""), store.AnyProcess)
	assertProblems(t, findings, []string{"error schema", "older than this binary (version 0, this binary needs ", "run `verity-sync migrate` first"})
	assert.True(t, findings[len(findings)-1].MayPass, "a migration may be in progress")

	d = newTenant(t)
	d.exec("INSERT INTO verity_sync_schema_version (version_id, is_applied) VALUES (999, true)")
	assertProblems(t, inspect(t, d.as(""), store.AnyProcess))
	d.exec("UPDATE verity_sync_schema_compatibility SET oldest_version = 999")
	findings = inspect(t, d.as(""), store.AnyProcess)
	assertProblems(t, findings, []string{"error schema", "too new for this binary", "run the version of verity-sync that migrated it"})
	assert.False(t, findings[len(findings)-1].MayPass)
}

func TestAnInspectionFindsAMissingTable(t *testing.T) {
	t.Parallel()
	d := newTenant(t)
	d.exec("DROP TABLE relay_lease")
	assertProblems(t, inspect(t, d.as(""), store.AnyProcess), []string{"error schema", "lacks the tables relay_lease", "restore"})
}

func TestTheInspectionOfAMigrationReportsEveryTimeout(t *testing.T) {
	t.Parallel()
	d := emptyTenant(t)
	d.exec("GRANT USAGE, CREATE ON SCHEMA $schema TO $role", "ALTER ROLE $role SET statement_timeout = '20s'")
	assertProblems(t, inspect(t, d.as(""), store.MigrationProcess), []string{"warning timeouts", "statement_timeout is 20s", "a migration that takes longer fails"})
}

func TestAnInspectionFindsColumnsThatAreTooShort(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		sql  string
		want []string
	}{
		"a column too short for a status": {"ALTER TABLE webhook_events ALTER status TYPE varchar(9)", []string{"error columns: column status of table webhook_events: it holds 9 characters, and verity-sync stores up to 10: webhooks are answered 429", "run ALTER TABLE webhook_events ALTER COLUMN status TYPE text"}},
		"a column too short for rare ids": {"ALTER TABLE webhook_events ALTER entity_id TYPE varchar(255)", []string{"warning columns: column entity_id of table webhook_events: it holds 255 characters, and verity-sync stores up to 256: an event with such a value"}},
		"a direction of the log":          {"ALTER TABLE sync_log ALTER direction TYPE varchar(5)", []string{"error columns: column direction of table sync_log: it holds 5 characters, and verity-sync stores up to 14: events are not processed"}},
		"a domain":                        {"CREATE DOMAIN way AS varchar(10); ALTER TABLE contact_mappings ALTER sync_direction DROP DEFAULT, ALTER sync_direction TYPE way", []string{"error columns: column sync_direction of table contact_mappings: it holds 10 characters"}},
		"a domain with a check":           {"CREATE DOMAIN way AS text CHECK (VALUE <> ''); ALTER TABLE sync_log ALTER direction TYPE way", []string{"warning columns: column direction of table sync_log: it is of the domain way"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEnvironment(t)
			b.exec(tc.sql)
			assertProblems(t, inspect(t, b.url, store.AnyProcess), tc.want)
			if !strings.Contains(tc.sql, "webhook_events") {
				assertProblems(t, inspect(t, b.url, store.ReceiverProcess))
			}
		})
	}
}
