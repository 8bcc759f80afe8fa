package main

import (
	"net/url"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// commands are the commands that connect to the database.
var commands = map[string][]string{
	"receiver":   {"receiver", "--listen-address=127.0.0.1:0"},
	"controller": {"controller"},
	"migrate":    {"migrate"},
	"dry run":    {"migrate", "--dry-run"},
	"status":     {"migrate", "status"},
	"replay":     {"replay", "--since=24h"},
	"check":      {"check"},
}

// requireNothingOf requires that no four consecutive bytes of a secret are in text.
func requireNothingOf(t *testing.T, secret, text string) {
	t.Helper()
	for i := 0; i+4 <= len(secret); i++ {
		require.NotContains(t, text, secret[i:i+4])
	}
}

func TestAProcessDoesNotStartWithAnAmbiguousDatabaseURL(t *testing.T) {
	t.Parallel()
	const password = "QXZJ@KV01/89QQ"
	for name, args := range commands {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, value := range []string{
				"postgres://sync:" + password + "@127.0.0.1/m", "postgres://sync:" + password + "@127.0.0.1/m?sslmode=disable",
				"host=127.0.0.1 user=sync:" + password, "mysql://sync:" + password + "@127.0.0.1/m?a=b",
			} {
				p := start(t, []string{"DATABASE_URL=" + value, "GHL_WEBHOOK_SECRETS=workflow-secret"}, args...)
				assert.NotZero(t, p.exitCode(t))
				assert.Contains(t, p.log(), "DATABASE_URL: ")
				assert.Contains(t, p.log(), "percent-encode special characters in the user name and the password: @ is %40")
				requireNothingOf(t, password, p.log()+p.stdout.String())
			}
		})
	}
	t.Run("nor with one of Verity", func(t *testing.T) {
		t.Parallel()
		p := start(t, []string{"DATABASE_URL=" + testenv.Postgres(t), "VERITY_DATABASE_URL=postgres://sync:" + password + "@127.0.0.1/m"}, "controller")
		assert.NotZero(t, p.exitCode(t))
		assert.Contains(t, p.log(), "VERITY_DATABASE_URL: ambiguous")
		requireNothingOf(t, password, p.log())
	})
}

// TestNoOutputShowsThePasswordOfADatabase makes the server, the resolver and the network refuse a URL whose password has every special
// character.
func TestNoOutputShowsThePasswordOfADatabase(t *testing.T) {
	t.Parallel()
	const password = `QXZJ@KV01/89QQ?ZJXK#V0Z1%QJ89:XVZ0 K=18&ZZ`
	closed, err := proc.FreePort(t.Context())
	require.NoError(t, err)
	at := func(host, database string) string {
		u := url.URL{Scheme: "postgres", User: url.UserPassword("nobody", password), Host: host, Path: "/" + database, RawQuery: "sslmode=disable"}
		return u.String()
	}
	server, err := pgx.ParseConfig(testenv.Postgres(t))
	require.NoError(t, err)
	for destination, database := range map[string]string{
		"a wrong password":        at(server.Host+":"+strconv.Itoa(int(server.Port)), "postgres"),
		"the port is closed":      at("127.0.0.1:"+strconv.Itoa(closed), "middleware"),
		"the host does not exist": at("nowhere.invalid", "middleware"),
	} {
		for name, args := range map[string][]string{
			"migrate": commands["migrate"], "dry run": commands["dry run"], "replay": commands["replay"], "check": commands["check"],
		} {
			t.Run(destination+", "+name, func(t *testing.T) {
				t.Parallel()
				p := start(t, []string{"DATABASE_URL=" + database}, args...)
				assert.NotZero(t, p.exitCode(t))
				assert.Contains(t, p.log()+p.stdout.String(), "nobody", "the user name is shown")
				requireNothingOf(t, password, p.log()+p.stdout.String())
			})
		}
	}
}

func TestAnArgumentThatMayContainAPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	const secret = "QXZJ@KV01/89QQ"
	for name, args := range map[string][]string{
		"a URL":                   {"migrate", "postgres://sync:" + secret + "@db/m"},
		"a URL in a command":      {"postgres://sync:" + secret + "@db/m"},
		"an assignment":           {"replay", "DATABASE_URL=" + secret},
		"a flag":                  {"migrate", "--database-url=" + secret},
		"a short flag":            {"migrate", "-d" + secret},
		"a flag of another type":  {"receiver", "--drain-delay=postgres://sync:" + secret + "@db/m"},
		"the value of a boolean":  {"migrate", "--dry-run=" + secret},
		"an argument of a status": {"migrate", "status", "password=" + secret},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, nil, args...)
			require.Error(t, err)
			requireNothingOf(t, secret, out+err.Error())
		})
	}
	_, err := run(t, nil, "listen")
	assert.EqualError(t, err, `unknown command "listen" for "verity-sync", see --help`)
}
