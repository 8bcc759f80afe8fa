package main

import (
	"context"
	"crypto/rand"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/legacy"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// changed returns a database URL with a part replaced.
func changed(t *testing.T, database string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(database)
	require.NoError(t, err)
	change(u)
	return u.String()
}

func TestTheExitCodeOfAMigrationShowsWhetherARetryCanSucceed(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t)
	role := "role_" + strings.ToLower(rand.Text())
	execute(t, database, "CREATE ROLE "+role+" LOGIN PASSWORD 'a'")
	t.Cleanup(func() { executeAfter(t, database, "DROP ROLE "+role) })
	obstructed := testenv.Postgres(t)
	execute(t, obstructed, legacy.Tables+legacy.Rows+"CREATE VIEW recent AS SELECT payload_json FROM webhook_events")
	closed, err := proc.FreePort(t.Context())
	require.NoError(t, err)
	full := testenv.PostgresServer(t)
	release, err := full.Exhaust(t.Context(), "no application")
	t.Cleanup(release)
	require.NoError(t, err)

	parameter := func(name, value string) string {
		return changed(t, database, func(u *url.URL) { q := u.Query(); q.Set(name, value); u.RawQuery = q.Encode() })
	}
	for name, tc := range map[string]struct {
		database string
		args     []string
		code     int
		want     string
	}{
		"the password is wrong": {
			changed(t, database, func(u *url.URL) { u.User = url.UserPassword("postgres", "wrong") }), nil, 3, "password authentication failed",
		},
		"the role does not exist": {
			changed(t, database, func(u *url.URL) { u.User = url.UserPassword("nobody", "a") }), nil, 3, `for user "nobody"`,
		},
		"the database does not exist": {changed(t, database, func(u *url.URL) { u.Path = "/nothing" }), nil, 3, `database "nothing" does not exist`},
		"the role has no rights": {
			changed(t, database, func(u *url.URL) { u.User = url.UserPassword(role, "a") }), nil, 3, "search_path names no schema that exists",
		},
		"the schema does not exist":      {parameter("search_path", "nowhere"), nil, 3, "search_path names no schema that exists"},
		"a parameter does not exist":     {parameter("no_parameter", "1"), nil, 3, "no_parameter"},
		"a view blocks the migration":    {obstructed, nil, 3, "view recent: "},
		"the URL is ambiguous":           {"postgres://a:b@c@d/e", nil, 3, "DATABASE_URL: ambiguous"},
		"the URL is missing":             {"", nil, 3, "DATABASE_URL: required"},
		"a flag does not exist":          {database, []string{"--force"}, 3, "unknown flag: --force"},
		"an argument is given":           {database, []string{"now"}, 3, `unknown command "now"`},
		"the port is closed":             {changed(t, database, func(u *url.URL) { u.Host = "127.0.0.1:" + strconv.Itoa(closed) }), nil, 1, "refused"},
		"the host does not resolve yet":  {changed(t, database, func(u *url.URL) { u.Host = "nowhere.invalid:5432" }), nil, 1, "nowhere.invalid"},
		"there are too many connections": {full.URL(), nil, 1, "SQLSTATE 53300"},
		"a dry run finds no obstacle":    {database, []string{"--dry-run"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, args := range [][]string{{"migrate"}, {"migrate", "--dry-run"}} {
				begun := time.Now()
				p := start(t, []string{"DATABASE_URL=" + tc.database}, append(args, tc.args...)...)
				assert.Equal(t, tc.code, p.exitCode(t))
				assert.Contains(t, p.log(), tc.want)
				assert.Less(t, time.Since(begun), eventually, "it does not wait")
			}
		})
	}
}

// executeAfter runs SQL when the context of the test has ended.
func executeAfter(t *testing.T, database, sql string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, database)
	require.NoError(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	assert.NoError(t, err)
}

func TestMigrateHelpHasTheExitCodes(t *testing.T) {
	t.Parallel()
	help, err := run(t, nil, "migrate", "--help")
	require.NoError(t, err)
	for _, code := range []int{0, exitFailure, exitPermanent} {
		assert.Contains(t, help, "\n  "+strconv.Itoa(code)+"  ")
	}
}
