package store_test

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/advice"
)

// ownTenant is a tenant with a separate database, whose tables are in the schema app. $group is a role that owns them.
func ownTenant(t *testing.T) *tenant {
	t.Helper()
	base := testenv.Database(t)
	u, err := url.Parse(base)
	require.NoError(t, err)
	d := &tenant{t: t, schema: "app", role: "role_" + strings.ToLower(rand.Text())}
	u.RawQuery = "sslmode=disable&search_path=app"
	d.url = u.String()
	d.administer("CREATE SCHEMA app", "CREATE ROLE $role LOGIN PASSWORD 'a'", "CREATE ROLE $role_group", "GRANT USAGE ON SCHEMA app TO PUBLIC")
	t.Cleanup(func() {
		d.administer("DROP OWNED BY $role CASCADE", "DROP ROLE $role", "DROP OWNED BY $role_group CASCADE", "DROP ROLE $role_group")
	})
	migrate(t, d.url)
	return d
}

// administer runs statements as an administrator, whose search_path is the default.
func (d *tenant) administer(statements ...string) {
	d.t.Helper()
	ctx := context.WithoutCancel(d.t.Context())
	u, err := url.Parse(d.url)
	require.NoError(d.t, err)
	u.RawQuery = "sslmode=disable"
	conn, err := pgx.Connect(ctx, u.String())
	require.NoError(d.t, err)
	defer conn.Close(ctx)
	for _, statement := range statements {
		statement = strings.NewReplacer("$schema", d.schema, "$role", d.role, "$database", u.Path[1:]).Replace(statement)
		_, err := conn.Exec(ctx, statement)
		require.NoError(d.t, err, statement)
	}
}

// bare returns the URL with the role, without search_path and with further parameters.
func (d *tenant) bare(parameters ...string) string {
	d.t.Helper()
	u, err := url.Parse(d.url)
	require.NoError(d.t, err)
	u.User = url.UserPassword(d.role, "a")
	query := url.Values{"sslmode": {"disable"}}
	for i := 0; i < len(parameters); i += 2 {
		query.Set(parameters[i], parameters[i+1])
	}
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String()
}

// advised is a database with a problem. Each way of the advice solves it.
type advised struct {
	statements, parameters []string
	process                store.Process
	// problem is a part of the first problem.
	problem string
	// ways are parts of statements: a way has the statements with any of its parts, or all. Changes of the URL are always followed.
	ways [][]string
	// granted is true if the role has every privilege at the start.
	granted bool
}

func TestTheAdviceOfAnInspectionHelps(t *testing.T) {
	t.Parallel()
	const (
		all      = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO "
		restrict = "CREATE POLICY q ON app.webhook_events AS RESTRICTIVE FOR SELECT USING (source = 'ghl')"
		secure   = "ALTER TABLE app.webhook_events ENABLE ROW LEVEL SECURITY"
	)
	member := []string{"ALTER ROLE $role NOINHERIT", "ALTER ROLE $role SET search_path = app", all + "$role_group", "GRANT $role_group TO $role"}
	inApp := []string{"search_path", "app"}
	everywhere := [][]string{nil}
	for name, tc := range map[string]advised{
		"search_path of the server": {granted: true, problem: `error schema: `, ways: everywhere},
		"search_path of the role": {
			granted: true, statements: []string{"ALTER ROLE $role SET search_path = public"}, problem: `run ALTER ROLE "role_`, ways: everywhere,
		},
		"search_path of the role in the database": {
			granted: true, statements: []string{"ALTER ROLE $role IN DATABASE $database SET search_path = public", "ALTER ROLE $role SET search_path = public"},
			problem: ` IN DATABASE "`, ways: everywhere,
		},
		"search_path of the database": {
			granted: true, statements: []string{"ALTER DATABASE $database SET search_path = public"}, problem: `run ALTER ROLE "role_`, ways: everywhere,
		},
		"search_path of the URL": {granted: true, parameters: []string{"search_path", "public"}, problem: "set search_path=app in the URL", ways: everywhere},
		"search_path in options of the URL": {
			granted: true, parameters: []string{"options", "-c search_path=public"}, ways: everywhere,
			problem: "remove search_path from options in the URL and add search_path=app to the URL",
		},
		"search_path of a role that becomes another one": {
			statements: []string{"ALTER ROLE $role SET role = $role_group", "GRANT $role_group TO $role", all + "$role_group"},
			problem:    `run ALTER ROLE "role_`, ways: everywhere,
		},
		"search_path that names nothing": {granted: true, parameters: []string{"search_path", "nowhere"}, problem: "names no schema that exists", ways: everywhere},
		"search_path that is empty":      {granted: true, parameters: []string{"search_path", `""`}, problem: "names no schema that exists", ways: everywhere},
		"a schema that may not be used": {
			granted: true, statements: []string{"REVOKE ALL ON SCHEMA app FROM PUBLIC"}, parameters: inApp,
			problem: `run GRANT USAGE ON SCHEMA "app" TO "role_`, ways: everywhere,
		},
		"search_path whose first schema is missing": {
			granted: true, parameters: []string{"search_path", "a.b,app"}, problem: "a.b, does not exist", ways: everywhere,
		},
		"search_path with tables of another schema in front": {
			granted: true, statements: []string{"CREATE TABLE public.sync_log ()", "ALTER ROLE $role SET search_path = public, app"},
			problem: "mixes the tables of two schemas", ways: everywhere,
		},
		"temporary tables first": {granted: true, parameters: []string{"search_path", "pg_temp, app"}, problem: "is pg_temp: a migration would create temporary", ways: everywhere},
		"temporary tables first, which the role may not have": {
			granted: true, statements: []string{"REVOKE TEMPORARY ON DATABASE $database FROM PUBLIC", "ALTER ROLE $role SET search_path = pg_temp, app"},
			problem: "warning search-path: the first schema of search_path is pg_temp", ways: everywhere,
		},
		"temporary tables after what does not exist, for a migration": {
			granted: true, statements: []string{"ALTER ROLE $role SET search_path = nowhere, pg_temp, app"}, process: store.MigrationProcess,
			problem: "error search-path: the first schema of search_path is pg_temp", ways: everywhere,
		},
		"the server's own schema first, for a migration": {
			granted: true, parameters: []string{"search_path", "pg_catalog,app"}, process: store.MigrationProcess,
			problem: "error search-path: the first schema of search_path is pg_catalog: a migration can create no tables there", ways: everywhere,
		},

		"no privilege on a table that another schema has too": {
			granted: true, statements: []string{"CREATE TABLE public.webhook_events ()", "REVOKE INSERT ON app.webhook_events FROM $role"}, parameters: inApp,
			problem: `run GRANT INSERT ON "app"."webhook_events" TO "role_`, ways: everywhere,
		},
		"no privilege on any table": {parameters: inApp, problem: "may not SELECT webhook_events", ways: everywhere},
		"the privileges of a role that are not inherited": {
			statements: member, problem: `as the role is a member of role_`, ways: [][]string{{"GRANT "}, {" INHERIT"}, {"SET role = "}},
		},

		"row security without a policy": {
			granted: true, statements: []string{secure}, parameters: inApp, problem: "error row-security",
			ways: [][]string{{"BYPASSRLS"}, {"CREATE POLICY"}, {"DISABLE"}},
		},
		"row security with a restrictive policy": {
			granted: true, statements: []string{secure, "CREATE POLICY p ON app.webhook_events USING (true)", restrict}, parameters: inApp,
			problem: `ALTER POLICY "q" ON "app"."webhook_events" TO other roles than "role_`,
			ways:    [][]string{{"BYPASSRLS"}, {"ALTER POLICY"}, {"DISABLE"}},
		},
		"row security with a restrictive policy alone": {
			granted: true, statements: []string{secure, restrict}, parameters: inApp, problem: "error row-security",
			ways: [][]string{{"BYPASSRLS"}, {"ALTER POLICY", "CREATE POLICY"}},
		},
		"row security that is off for the role": {
			granted: true, statements: []string{secure, "CREATE POLICY p ON app.webhook_events USING (true)", "ALTER ROLE $role SET row_security = off"},
			parameters: inApp, problem: "error row-security: row_security is off, set for the role role_", ways: [][]string{{"RESET"}, {"BYPASSRLS"}},
		},
		"row security that is off in the URL": {
			granted: true, statements: []string{secure, "CREATE POLICY p ON app.webhook_events USING (true)"},
			parameters: []string{"search_path", "app", "row_security", "off"}, problem: "remove row_security from the URL", ways: [][]string{{"nothing"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, way := range tc.ways {
				tc.follow(t, way)
			}
		})
	}
}

// follow creates the problem in a new database, and follows one way of the advice.
func (tc advised) follow(t *testing.T, way []string) {
	t.Helper()
	d := ownTenant(t)
	if tc.granted {
		d.administer("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO $role")
	}
	d.administer(tc.statements...)
	address := d.bare(tc.parameters...)
	got := problems(inspect(t, address, tc.process))
	require.NotEmpty(t, got)
	assert.Contains(t, strings.Join(got, "\n"), tc.problem)
	for range 2 { // The second round finds problems that the search_path hid.
		for _, f := range inspect(t, address, tc.process) {
			if f.Check == "durability" {
				continue
			}
			var followed []string
			for _, statement := range advice.Statements(f.Action) {
				for _, part := range way {
					if strings.Contains(statement, part) {
						followed = append(followed, statement)
						break
					}
				}
				if way == nil {
					followed = append(followed, statement)
				}
			}
			for _, statement := range followed {
				statement = strings.ReplaceAll(statement, `other roles than "`+d.role+`"`, "pg_monitor")
				if !strings.HasPrefix(statement, "CREATE POLICY") || !d.hasPolicy() {
					d.administer(statement)
				}
			}
			address = advice.URL(address, f.Action)
		}
	}
	assert.Empty(t, problems(inspect(t, address, tc.process)), "after the advice, by %v", way)
}

// hasPolicy reports whether the policy of the advice exists: each missing privilege leads to the same one.
func (d *tenant) hasPolicy() (there bool) {
	d.t.Helper()
	conn, err := pgx.Connect(d.t.Context(), d.url)
	require.NoError(d.t, err)
	defer conn.Close(d.t.Context())
	require.NoError(d.t, conn.QueryRow(d.t.Context(), `SELECT EXISTS (SELECT FROM pg_policy WHERE polname = 'verity_sync')`).Scan(&there))
	return there
}
