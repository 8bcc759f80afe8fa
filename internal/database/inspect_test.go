package database_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgbouncer"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
)

// inspected is a database for one test, and a role without superuser rights.
type inspected struct {
	t         *testing.T
	url, role string
}

// newInspected returns a database. It creates a new one if the test changes settings of the database.
func newInspected(t *testing.T, create string, statements ...string) *inspected {
	t.Helper()
	d := &inspected{t: t, role: "role_" + strings.ToLower(rand.Text())}
	switch {
	case create != "":
		base := testenv.Postgres(t)
		name := "test_" + strings.ToLower(rand.Text())
		executeIn(t, base, "CREATE DATABASE "+name+" "+create)
		t.Cleanup(func() { executeIn(t, base, "DROP DATABASE "+name+" WITH (FORCE)") })
		d.url = changed(t, base, func(u *url.URL) { u.Path, u.RawQuery = "/"+name, "sslmode=disable" })
	case strings.Contains(fmt.Sprint(statements), "$database"):
		d.url = testenv.Database(t)
	default:
		d.url = testenv.Postgres(t)
	}
	executeIn(t, d.url, "CREATE ROLE "+d.role+" LOGIN PASSWORD 'a'")
	t.Cleanup(func() {
		executeIn(t, with(t, d.url, "default_transaction_read_only", "off"), "DROP ROLE IF EXISTS "+d.role+"_app", "DROP ROLE "+d.role)
	})
	d.exec(statements...)
	return d
}

// exec runs statements, in which $role and $database stand for the test's role and database.
func (d *inspected) exec(statements ...string) {
	d.t.Helper()
	for _, statement := range statements {
		executeIn(d.t, with(d.t, d.url, "default_transaction_read_only", "off"), d.filler()(statement))
	}
}

// filler replaces $role and $database in a text, and further words.
func (d *inspected) filler(words ...string) func(string) string {
	d.t.Helper()
	u, err := url.Parse(d.url)
	require.NoError(d.t, err)
	return strings.NewReplacer(append(words, "$role", d.role, "$database", u.Path[1:])...).Replace
}

// as returns the URL with the role.
func (d *inspected) as(parameters ...string) string {
	return with(d.t, changed(d.t, d.url, func(u *url.URL) { u.User = url.UserPassword(d.role, "a") }), parameters...)
}

func changed(t *testing.T, database string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(database)
	require.NoError(t, err)
	change(u)
	return u.String()
}

func executeIn(t *testing.T, url string, statements ...string) {
	t.Helper()
	ctx := t.Context()
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	defer conn.Close(ctx)
	for _, statement := range statements {
		_, err = conn.Exec(ctx, statement)
		require.NoError(t, err, statement)
	}
}

// inspect returns the findings by check.
func inspect(t *testing.T, url string, inspection database.Inspection) map[string]preflight.Finding {
	t.Helper()
	if inspection.Database == "" {
		inspection.Database = preflight.Middleware
	}
	if inspection.Timeouts == nil {
		inspection.Timeouts = map[string]time.Duration{"statement_timeout": 15 * time.Second, "lock_timeout": 5 * time.Second}
	}
	if inspection.Clients == nil {
		inspection.Clients = []database.Clients{{Kind: "receiver", Replicas: 2, Conns: 8}, {Kind: "controller", Replicas: 2, Conns: 16}}
	}
	pool, err := database.Open(t.Context(), url, database.Options{Name: "test", MaxConns: 2, ConnectTimeout: 5 * time.Second})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	findings, err := database.Inspect(t.Context(), pool, inspection)
	require.NoError(t, err)
	byCheck := map[string]preflight.Finding{}
	for _, f := range findings {
		assert.NotContains(t, byCheck, f.Check, "once")
		assert.Equal(t, inspection.Database, f.Database)
		assert.NotEmpty(t, f.Message)
		byCheck[f.Check] = f
	}
	return byCheck
}

// assertProblem expects exactly one problem, apart from the durability that the test server lacks.
func assertProblem(t *testing.T, findings map[string]preflight.Finding, severity preflight.Severity, check string, parts ...string) {
	t.Helper()
	for _, f := range findings {
		if f.Check == check {
			assert.Equal(t, severity, f.Severity, f)
			for _, part := range parts {
				assert.Contains(t, f.String(), part)
			}
		} else if f.Check != "durability" {
			assert.Equal(t, preflight.OK, f.Severity, f)
		}
	}
	assert.Contains(t, findings, check)
}

func TestAnInspectionFindsProblems(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		create     string
		statements []string
		parameters []string
		inspection database.Inspection
		severity   preflight.Severity
		check      string
		parts      []string
	}{
		"no problem": {check: "reachable", severity: preflight.OK, parts: []string{"answers: database ", ", role role_"}},
		"a role that is read-only": {
			statements: []string{"ALTER ROLE $role SET default_transaction_read_only = on"}, severity: preflight.Error, check: "writable",
			parts: []string{"25006", "set for the role", "webhooks are answered 429", `RESET default_transaction_read_only`},
		},
		"a role that is read-only in this database": {
			statements: []string{"ALTER ROLE $role IN DATABASE $database SET default_transaction_read_only = on"}, severity: preflight.Error,
			check: "writable", parts: []string{"set for the role", "IN DATABASE"},
		},
		"a database that is read-only": {
			statements: []string{"ALTER DATABASE $database SET default_transaction_read_only = on"}, severity: preflight.Error, check: "writable",
			parts: []string{"set for the database", "run ALTER DATABASE "},
		},
		"a URL that is read-only": {
			parameters: []string{"default_transaction_read_only", "on"}, severity: preflight.Error, check: "writable",
			parts: []string{"set by the URL", "remove default_transaction_read_only from the URL"},
		},
		"options that are read-only": {
			parameters: []string{"options", "-c default_transaction_read_only=on"}, severity: preflight.Error, check: "writable",
			parts: []string{"set by the URL"},
		},
		"a database of Verity that is read-only": {
			statements: []string{"ALTER DATABASE $database SET default_transaction_read_only = on"}, severity: preflight.Error, check: "writable",
			inspection: database.Inspection{Database: preflight.Verity}, parts: []string{"no lead can be written"},
		},
		"a database in LATIN1": {
			create:   "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
			severity: preflight.Error, check: "encoding", parts: []string{"the database has the encoding LATIN1, and payloads need UTF8", "create a database"},
		},
		"a database without an encoding": {
			create:   "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
			severity: preflight.Error, check: "encoding", parts: []string{"SQL_ASCII"},
		},
		"a database of Verity in LATIN1, to which clients write LATIN1": {
			create:     "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
			inspection: database.Inspection{Database: preflight.Verity}, severity: preflight.Warning, check: "encoding",
			parts: []string{"client_encoding is LATIN1", "add client_encoding=UTF8 to the URL"},
		},
		"a database of Verity in LATIN1": {
			create: "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0", parameters: []string{"client_encoding", "UTF8"},
			inspection: database.Inspection{Database: preflight.Verity}, severity: preflight.Warning, check: "encoding",
			parts: []string{"the database has the encoding LATIN1"},
		},
		"a database of Verity without an encoding": {
			create:     "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
			inspection: database.Inspection{Database: preflight.Verity}, severity: preflight.Warning, check: "encoding", parts: []string{"SQL_ASCII"},
		},
		"a role that writes LATIN1": {
			statements: []string{"ALTER ROLE $role SET client_encoding = 'LATIN1'"}, severity: preflight.Error, check: "encoding",
			parts: []string{"client_encoding is LATIN1, set for the role", "RESET client_encoding"},
		},
		"a role that writes without an encoding": {
			statements: []string{"ALTER ROLE $role SET client_encoding = 'SQL_ASCII'"}, severity: preflight.OK, check: "encoding",
		},
		"a URL that writes LATIN1": {
			parameters: []string{"client_encoding", "LATIN1"}, severity: preflight.Error, check: "encoding", parts: []string{"set by the URL"},
		},
		"too few connections of the role": {
			statements: []string{"ALTER ROLE $role CONNECTION LIMIT 47"}, severity: preflight.Warning, check: "connections",
			parts: []string{"is limited to 47 connections", "2 receivers with 8 each and 2 controllers with 16 each use 48 at most", "53300"},
		},
		"just enough connections of the role": {
			statements: []string{"ALTER ROLE $role CONNECTION LIMIT 48"}, severity: preflight.OK, check: "connections",
			parts: []string{"is limited to 48 connections", "0 more remain"},
		},
		"too few connections of the database": {
			statements: []string{"ALTER DATABASE $database CONNECTION LIMIT 20"}, severity: preflight.Warning, check: "connections",
			parts: []string{"the database test_", "is limited to 20 connections"},
		},
		"more clients than the server has connections": {
			inspection: database.Inspection{Clients: []database.Clients{{Kind: "receiver", Replicas: 10_000, Conns: 8}}},
			severity:   preflight.Warning, check: "connections", parts: []string{"max_connections is ", "are reserved", "10000 receivers with 8 each use 80000 at most"},
		},
		"a role that is serializable": {
			statements: []string{"ALTER ROLE $role SET default_transaction_isolation = 'serializable'"}, severity: preflight.Warning, check: "isolation",
			parts: []string{"is serializable, set for the role", "40001", "RESET default_transaction_isolation"},
		},
		"a database with repeatable reads": {
			statements: []string{"ALTER DATABASE $database SET default_transaction_isolation = 'repeatable read'"}, severity: preflight.Warning,
			check: "isolation", parts: []string{"set for the database"},
		},
		"a role with a short statement timeout": {
			statements: []string{"ALTER ROLE $role SET statement_timeout = '5s'", "ALTER DATABASE $database SET lock_timeout = '100ms'"},
			severity:   preflight.Warning, check: "timeouts",
			parts: []string{"statement_timeout is 5s, set for the role", "lock_timeout is 100ms, set for the database", "RESET lock_timeout"},
		},
		"a role with a longer statement timeout than verity-sync's": {
			statements: []string{"ALTER ROLE $role SET statement_timeout = '16s'"}, severity: preflight.OK, check: "timeouts",
		},
		"a URL with a short statement timeout, which is intended": {
			parameters: []string{"statement_timeout", "1s"}, severity: preflight.OK, check: "timeouts",
		},
		"a migration with a statement timeout": {
			statements: []string{"ALTER ROLE $role SET statement_timeout = '1h'"}, inspection: database.Inspection{Timeouts: map[string]time.Duration{}},
			severity: preflight.Warning, check: "timeouts", parts: []string{"statement_timeout is 1h0m0s", "a migration that takes longer fails"},
		},
		"commits without a flush": {
			statements: []string{"ALTER ROLE $role SET synchronous_commit = off"}, severity: preflight.Warning, check: "durability",
			parts: []string{"synchronous_commit is off, set for the role", "a webhook that was answered 200 can be lost", "SET synchronous_commit = on"},
		},
		"commits without a flush in this database": {
			statements: []string{"ALTER ROLE $role IN DATABASE $database SET synchronous_commit = off"}, severity: preflight.Warning,
			check: "durability", parts: []string{"set for the role", "IN DATABASE", "RESET synchronous_commit"},
		},
		"leads without a flush": {
			parameters: []string{"synchronous_commit", "off"}, severity: preflight.Warning, check: "durability",
			inspection: database.Inspection{Database: preflight.Verity},
			parts:      []string{"set by the URL", "a lead that was written can be lost", "remove synchronous_commit from the URL"},
		},
		"a clock that is behind": {
			inspection: database.Inspection{Now: func() time.Time { return time.Now().Add(time.Minute) }}, severity: preflight.Warning,
			check: "clock-skew", parts: []string{"clock is 1m0s behind this process's", "NTP"},
		},
		"a clock that is ahead": {
			inspection: database.Inspection{Now: func() time.Time { return time.Now().Add(-6 * time.Second) }}, severity: preflight.Warning,
			check: "clock-skew", parts: []string{"clock is 6s ahead of this process's"},
		},
		"a clock that is a little ahead": {
			inspection: database.Inspection{Now: func() time.Time { return time.Now().Add(-4 * time.Second) }}, severity: preflight.OK, check: "clock-skew",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newInspected(t, tc.create, tc.statements...)
			findings := inspect(t, d.as(tc.parameters...), tc.inspection)
			assertProblem(t, findings, tc.severity, tc.check, tc.parts...)
			assert.NotContains(t, fmt.Sprint(findings), "(SQLSTATE 42")
		})
	}
}

func TestTheLimitOfARoleDoesNotBindASuperuser(t *testing.T) {
	t.Parallel()
	d := newInspected(t, "", "ALTER ROLE $role SUPERUSER CONNECTION LIMIT 5", "ALTER DATABASE $database CONNECTION LIMIT 5")
	assertProblem(t, inspect(t, d.as(), database.Inspection{}), preflight.OK, "connections", "max_connections is ")
}

func TestAStandbyIsReported(t *testing.T) {
	t.Parallel()
	server := testenv.PostgresServer(t)
	executeIn(t, server.URL(), "CREATE ROLE reader LOGIN PASSWORD 'a'")
	require.NoError(t, server.Stop(postgres.Fast))
	require.NoError(t, os.WriteFile(filepath.Join(server.Dir(), "data", "standby.signal"), nil, 0o644)) // The server has its own user.
	require.NoError(t, server.Start(t.Context()))
	findings := inspect(t, server.URL(), database.Inspection{})
	assertProblem(t, findings, preflight.Error, "writable", "is a standby", "webhooks are answered 429", "target_session_attrs=read-write")
	assert.True(t, findings["writable"].MayPass)

	pooled := through(t, server.URL(), &pgbouncer.Options{Mode: "transaction"})
	assertProblem(t, inspect(t, pooled, database.Inspection{}), preflight.Error, "writable", "is a standby")
}

func TestOnlyAReadOnlyURLIsALastingError(t *testing.T) {
	t.Parallel()
	d := newInspected(t, "")
	assert.False(t, inspect(t, d.as("default_transaction_read_only", "on"), database.Inspection{})["writable"].MayPass)
	d.exec("ALTER ROLE $role SET default_transaction_read_only = on")
	assert.True(t, inspect(t, d.as(), database.Inspection{})["writable"].MayPass)
}

func TestAServerThatDoesNotWaitForItsStandbysIsReported(t *testing.T) {
	t.Parallel()
	server := testenv.PostgresServer(t)
	executeIn(t, server.URL(), "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
	for commit, want := range map[string]string{"local": "synchronous_commit is local", "remote_write": "synchronous_commit is remote_write", "on": "fsync is off"} {
		f := inspect(t, with(t, server.URL(), "synchronous_commit", commit), database.Inspection{})["durability"]
		assert.Contains(t, f.Message, want)
		assert.Equal(t, commit != "on", strings.Contains(f.Message, "synchronous_commit"), f.Message)
	}
}

func TestAPoolerIsReportedWithItsConsequences(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options pgbouncer.Options
		want    string
	}{
		"a strict pooler":     {pgbouncer.Options{Mode: "transaction"}, "behind a pooler"},
		"a session pooler":    {pgbouncer.Options{Mode: "session"}, "behind a pooler"},
		"a permissive pooler": {pgbouncer.Options{Mode: "transaction", Settings: permissive}, "behind a pooler: transactions set the timeouts themselves"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			findings := inspect(t, through(t, testenv.Database(t), &tc.options), database.Inspection{})
			assertProblem(t, findings, preflight.OK, "pooler", tc.want)
			assert.Contains(t, findings["connections"].Message, "max_client_conn")
		})
	}
	t.Run("a pooler that cannot be used", func(t *testing.T) {
		t.Parallel()
		findings := inspect(t, through(t, testenv.Database(t), &pgbouncer.Options{Mode: "statement"}), database.Inspection{})
		require.Len(t, findings, 1)
		assert.Equal(t, preflight.Error, findings["pooler"].Severity)
		assert.Contains(t, findings["pooler"].Message, "pool_mode=statement")
	})
	t.Run("a timeout of the database, behind a pooler", func(t *testing.T) {
		t.Parallel()
		base := testenv.Database(t)
		u, err := url.Parse(base)
		require.NoError(t, err)
		executeIn(t, base, "ALTER DATABASE "+u.Path[1:]+" SET statement_timeout = '2s'")
		findings := inspect(t, through(t, base, &pgbouncer.Options{Mode: "transaction"}), database.Inspection{})
		assertProblem(t, findings, preflight.Warning, "timeouts", "statement_timeout is 2s, set for the database")
	})
}

func TestConnectionsFollowFromTheURL(t *testing.T) {
	t.Parallel()
	const base = "postgres://db/m?sslmode=disable"
	assert.Equal(t, 8, database.Conns(base, 8))
	assert.Equal(t, 3, database.Conns(base+"&pool_max_conns=3", 8))
	assert.Equal(t, 3, database.Conns(base+"&pool_max_conns=3", 0))
	assert.GreaterOrEqual(t, database.Conns(base, 0), 4)
}
