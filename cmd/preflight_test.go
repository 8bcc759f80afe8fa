package main

import (
	"crypto/rand"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/preflight"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgbouncer"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// veritysTables creates the tables of Verity's database.
const veritysTables = `
	CREATE TABLE contacts (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), phone_e164 text, email text);
	CREATE TABLE leads (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), contact_id uuid REFERENCES contacts, ghl_appointment_id text,
	                    created_at timestamptz, last_activity_at timestamptz)`

// verityURL returns the URL of a new database of Verity.
func verityURL(t *testing.T) string {
	t.Helper()
	url := testenv.Postgres(t)
	execute(t, url, veritysTables)
	return url
}

// nowhere returns a database URL with a closed port.
func nowhere(t *testing.T) string {
	t.Helper()
	port, err := proc.FreePort(t.Context())
	require.NoError(t, err)
	return "postgres://nobody:a@127.0.0.1:" + strconv.Itoa(port) + "/m?sslmode=disable"
}

// limited returns the URL of a migrated database with a role that lacks a privilege.
func limited(t *testing.T, lacks string) string {
	t.Helper()
	base := migrated(t)
	role := "role_" + strings.ToLower(rand.Text())
	execute(t, base, "CREATE ROLE "+role+" LOGIN PASSWORD 'a'")
	t.Cleanup(func() { executeAfter(t, base, "DROP OWNED BY "+role+" CASCADE; DROP ROLE "+role) })
	u, err := url.Parse(base)
	require.NoError(t, err)
	schema := u.Query().Get("search_path")
	execute(t, base, "GRANT USAGE ON SCHEMA "+schema+" TO "+role+"; GRANT ALL ON ALL TABLES IN SCHEMA "+schema+" TO "+role+
		"; REVOKE "+lacks+" FROM "+role)
	return changed(t, base, func(u *url.URL) { u.User = url.UserPassword(role, "a") })
}

func adding(t *testing.T, database, name, value string) string {
	t.Helper()
	return changed(t, database, func(u *url.URL) { q := u.Query(); q.Set(name, value); u.RawQuery = q.Encode() })
}

func TestTheExitCodeOfCheckShowsWhatItFound(t *testing.T) {
	t.Parallel()
	ready := migrated(t)
	readOnly := adding(t, ready, "default_transaction_read_only", "on")
	for name, tc := range map[string]struct {
		middleware, verity string
		code               int
		want               []string
	}{
		"no problem":                  {ready, verityURL(t), 0, []string{`middleware +schema +ok`, `verity +writable +ok`}},
		"Verity's is not configured":  {ready, "", 0, []string{`verity +configured +ok +VERITY_DATABASE_URL is not set: leads are not synced`}},
		"a closed port":               {nowhere(t), "", 1, []string{`middleware +reachable +error .*refused`}},
		"a closed port at Verity's":   {ready, nowhere(t), 1, []string{`verity +reachable +error .*refused`, `middleware +schema +ok`}},
		"the password is wrong":       {changed(t, ready, func(u *url.URL) { u.User = url.UserPassword("postgres", "wrong") }), "", 3, []string{`middleware +reachable +error .*28P01`}},
		"the database does not exist": {changed(t, ready, func(u *url.URL) { u.Path = "/nothing" }), "", 3, []string{`middleware +reachable +error .*3D000`}},
		"it is read-only":             {readOnly, "", 3, []string{`middleware +writable +error .*25006`, `-> remove default_transaction_read_only`}},
		"Verity's is read-only":       {ready, adding(t, verityURL(t), "default_transaction_read_only", "on"), 3, []string{`verity +writable +error .*no lead can be written`}},
		"it is not migrated":          {testenv.Postgres(t), "", 3, []string{`middleware +schema +error .*version 0`, "-> run `verity-sync migrate` first"}},
		"the role lacks a privilege":  {limited(t, "UPDATE ON appointments"), "", 3, []string{`middleware +privileges +error .*UPDATE appointments`, `-> run GRANT UPDATE ON "\w+"."appointments" TO "role_`}},
		"it cannot be used":           {ready + "&default_query_exec_mode=exec", "", 3, []string{`middleware +pooler +error .*default_query_exec_mode=exec`}},
		"its URL has a setting of the server": {
			ready + "&ssl_min_protocol_version=TLSv1.2", "", 3,
			[]string{`middleware +pooler +error .*55P02\): remove ssl_min_protocol_version from the URL`},
		},
		"its URL is Prisma's": {
			ready, verityURL(t) + "&schema=public", 3, []string{`verity +pooler +error .*: replace schema in the URL by search_path=public`},
		},
		"temporary tables come first": {
			adding(t, testenv.Postgres(t), "search_path", "pg_temp"), "", 3,
			[]string{`middleware +search-path +error .*temporary tables`, `-> set search_path=public in the URL`},
		},
		"an error and a closed port": {readOnly, nowhere(t), 3, []string{`verity +reachable +error`}},
		"a pooler": {
			pooled(t, testenv.Database(t), pgbouncer.Options{Mode: "transaction"}), "", 3,
			[]string{`middleware +pooler +ok .*behind a pooler that refuses`, `middleware +schema +error`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			environ := []string{"DATABASE_URL=" + tc.middleware, "VERITY_DATABASE_URL=" + tc.verity}
			p := start(t, environ, "check")
			assert.Equal(t, tc.code, p.exitCode(t))
			for _, want := range tc.want {
				assert.Regexp(t, want, p.stdout.String())
			}

			p = start(t, environ, "check", "-o", "json")
			assert.Equal(t, tc.code, p.exitCode(t))
			var printed struct{ Findings []preflight.Finding }
			require.NoError(t, json.Unmarshal(p.stdout.Bytes(), &printed))
			assert.Equal(t, tc.code == 0, count(printed.Findings, preflight.Error) == 0)
			for _, f := range printed.Findings {
				assert.NotEmpty(t, f.Message)
				assert.Contains(t, []preflight.Database{preflight.Middleware, preflight.Verity}, f.Database)
			}
		})
	}
	_, err := run(t, []string{"DATABASE_URL=" + ready}, "check", "-o", "yaml")
	assert.ErrorContains(t, err, "--output: expected text or json")
}

func TestAPreflightThatFindsAnErrorFailsTheStart(t *testing.T) {
	t.Parallel()
	ready, cluster := migrated(t), withoutCluster(t)
	receiver := []string{"receiver", cluster, "--listen-address=127.0.0.1:0", "--health-probe-bind-address=0"}
	controller := []string{"controller", cluster, "--namespace=default", "--health-probe-bind-address=0"}
	readOnly := "default_transaction_read_only"
	for name, tc := range map[string]struct {
		middleware, verity string
		args               []string
		want               string
	}{
		"a receiver that cannot store":    {limited(t, "INSERT ON webhook_events"), "", receiver, "middleware database: privileges: "},
		"a receiver with a read-only URL": {adding(t, ready, readOnly, "on"), "", receiver, "middleware database: writable: "},
		"a controller without its ledger": {limited(t, "SELECT ON sync_log"), "", controller, "SELECT sync_log: events are not processed: run GRANT SELECT"},
		"a controller with a read-only URL of Verity": {
			ready, adding(t, verityURL(t), readOnly, "on"), controller, "verity database: writable: transactions are read-only (SQLSTATE 25006)",
		},
		"a controller behind a statement pooler": {
			ready, pooled(t, testenv.Database(t), pgbouncer.Options{Mode: "statement"}), controller, "verity database: pooler: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, []string{"DATABASE_URL=" + tc.middleware, "VERITY_DATABASE_URL=" + tc.verity, "GHL_WEBHOOK_SECRETS=workflow-secret"}, tc.args...)
			assert.Equal(t, exitPermanent, p.exitCode(t))
			assert.Contains(t, p.log(), "Error: the preflight failed:\n")
			assert.Contains(t, p.log(), tc.want)
		})
	}
}

// warnings returns the log lines of the preflight about a check.
func warnings(t *testing.T, log, check string) (found []map[string]string) {
	t.Helper()
	for line := range strings.Lines(log) {
		var entry map[string]string
		if json.Unmarshal([]byte(line), &entry) == nil && strings.HasSuffix(entry["logger"], ".preflight") && entry["check"] == check {
			found = append(found, entry)
		}
	}
	return found
}

func TestAReceiverServesDespiteTransientFindings(t *testing.T) {
	t.Parallel()
	url := testenv.Database(t)
	_, err := run(t, []string{"DATABASE_URL=" + url}, "migrate")
	require.NoError(t, err)
	name := databaseName(t, url)
	execute(t, url, "ALTER DATABASE "+name+" SET default_transaction_isolation = 'repeatable read'")
	execute(t, url, "ALTER DATABASE "+name+" SET default_transaction_read_only = on")
	p := start(t, []string{"DATABASE_URL=" + url, "GHL_WEBHOOK_SECRETS=workflow-secret"},
		"receiver", "--listen-address=127.0.0.1:0", "--health-probe-bind-address=0", "--drain-delay=100ms", withoutCluster(t))
	code, body := get(t, p.address(t)+"/readyz")
	assert.Equal(t, 200, code, body)
	code, _ = post(t, p.address(t), `{"contact_id":"contact-1"}`)
	assert.Equal(t, 429, code)
	if found := warnings(t, p.log(), "writable"); assert.Len(t, found, 1) {
		assert.Equal(t, "error", found[0]["level"])
		assert.Equal(t, "middleware", found[0]["database"])
		assert.Contains(t, found[0]["finding"], "set for the database "+name)
		assert.Contains(t, found[0]["action"], "RESET default_transaction_read_only")
	}
	if found := warnings(t, p.log(), "isolation"); assert.Len(t, found, 1) {
		assert.Equal(t, "info", found[0]["level"])
		assert.Equal(t, "warning", found[0]["severity"])
	}
	execute(t, adding(t, url, "default_transaction_read_only", "off"), "ALTER DATABASE "+name+" RESET default_transaction_read_only")
	require.Eventually(t, func() bool {
		code, _ = post(t, p.address(t), `{"contact_id":"contact-1"}`)
		return code == 200
	}, eventually, tick)
	assert.Len(t, warnings(t, p.log(), "isolation"), 1, "once")
}

func databaseName(t *testing.T, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	require.NoError(t, err)
	return u.Path[1:]
}

func TestThePreflightRunsOnceTheDatabaseIsUp(t *testing.T) {
	t.Parallel()
	server := testenv.PostgresServer(t)
	execute(t, server.URL(), "CREATE ROLE limited LOGIN PASSWORD 'a'")
	_, err := run(t, []string{"DATABASE_URL=" + server.URL()}, "migrate")
	require.NoError(t, err)
	execute(t, server.URL(), "GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO limited")
	require.NoError(t, server.Stop(postgres.Fast))

	environ := []string{
		"DATABASE_URL=" + changed(t, server.URL(), func(u *url.URL) { u.User = url.UserPassword("limited", "a") }),
		"GHL_WEBHOOK_SECRETS=workflow-secret",
	}
	cluster := withoutCluster(t)
	receiver := start(t, environ, "receiver", cluster, "--listen-address=127.0.0.1:0", "--health-probe-bind-address=0", "--drain-delay=100ms")
	controller := start(t, environ, "controller", cluster, "--namespace=default", "--health-probe-bind-address=0")
	code, _ := post(t, receiver.address(t), `{"contact_id":"contact-1"}`)
	assert.Equal(t, 429, code)
	require.Eventually(t, func() bool { return strings.Contains(controller.log(), "does not answer yet") }, eventually, tick)
	require.NoError(t, server.Start(t.Context()))

	assert.Equal(t, exitPermanent, controller.exitCode(t))
	assert.Contains(t, controller.log(), "Error: the preflight failed:\nmiddleware database: privileges: the role limited may not INSERT sync_log")
	require.Eventually(t, func() bool {
		return strings.Contains(receiver.log(), "may not INSERT webhook_events: webhooks are answered 429")
	}, eventually, tick)
	code, _ = get(t, receiver.address(t)+"/readyz")
	assert.Equal(t, 200, code, "it continues to answer")
	code, _ = post(t, receiver.address(t), `{"contact_id":"contact-1"}`)
	assert.Equal(t, 429, code)
}

func TestAMigrationBeginsWithAPreflight(t *testing.T) {
	t.Parallel()
	readOnly := "default_transaction_read_only"
	for name, tc := range map[string]struct {
		middleware, verity string
		code               int
		stdout, stderr     string
	}{
		"no problem": {testenv.Postgres(t), verityURL(t), 0, "applied 1: ", ""},
		"a warning": {
			adding(t, testenv.Postgres(t), "default_transaction_isolation", "serializable"), "", 0,
			"warning: middleware database: isolation: default_transaction_isolation is serializable, set by the URL", "",
		},
		"a warning of Verity's database": {
			testenv.Postgres(t), adding(t, verityURL(t), "synchronous_commit", "off"), 0,
			"warning: verity database: durability: synchronous_commit is off", "",
		},
		"Verity's database is down":             {testenv.Postgres(t), nowhere(t), 0, "warning: verity database: reachable: ", ""},
		"Verity's database is read-only":        {testenv.Postgres(t), adding(t, verityURL(t), readOnly, "on"), 3, "", "verity database: writable: "},
		"Verity's URL has an unknown parameter": {testenv.Postgres(t), verityURL(t) + "&lock_tiemout=1s", 3, "", "lock_tiemout"},
		"the database is read-only":             {adding(t, testenv.Postgres(t), readOnly, "on"), "", 3, "", "middleware database: writable: "},
		"the tables would be temporary": {
			adding(t, testenv.Postgres(t), "search_path", "pg_temp,public"), "", 3, "",
			"the first schema of search_path is pg_temp: a migration would create temporary tables",
		},
		"Verity's URL is invalid": {testenv.Postgres(t), "verity", 3, "", "VERITY_DATABASE_URL: expected a Postgres URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, args := range [][]string{{"migrate", "--dry-run"}, {"migrate"}} {
				p := start(t, []string{"DATABASE_URL=" + tc.middleware, "VERITY_DATABASE_URL=" + tc.verity}, args...)
				assert.Equal(t, tc.code, p.exitCode(t))
				if args = args[1:]; len(args) == 0 || !strings.HasPrefix(tc.stdout, "applied") {
					assert.Contains(t, p.stdout.String(), tc.stdout)
				}
				assert.Contains(t, p.log(), tc.stderr)
			}
			status, err := run(t, []string{"DATABASE_URL=" + tc.middleware}, "migrate", "status")
			require.NoError(t, err)
			assert.Equal(t, tc.code != 0, strings.Contains(status, "pending"), "nothing was changed: %s", status)
		})
	}
	t.Run("a database that is read-only for now can be migrated later", func(t *testing.T) {
		t.Parallel()
		url := testenv.Database(t)
		execute(t, url, "ALTER DATABASE "+databaseName(t, url)+" SET default_transaction_read_only = on")
		for _, args := range [][]string{{"migrate", "--dry-run"}, {"migrate"}} {
			p := start(t, []string{"DATABASE_URL=" + url}, args...)
			assert.Equal(t, exitFailure, p.exitCode(t))
			assert.Contains(t, p.log(), "middleware database: writable: ")
		}
	})
}
