package database_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/advice"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgbouncer"
)

// level is a source of a setting's value, and the advice about it.
type level struct {
	statements, parameters []string
	setBy, action          string
}

// levels are the sources of a bad value. Statements have $name, $bad and $good.
var levels = map[string]level{
	"the role":             {[]string{"ALTER ROLE $role SET $name = '$bad'"}, nil, "for the role role_", `run ALTER ROLE "$role" RESET $name`},
	"the database":         {[]string{"ALTER DATABASE $database SET $name = '$bad'"}, nil, "for the database ", `run ALTER DATABASE "$database" RESET $name`},
	"the role there alone": {[]string{"ALTER ROLE $role IN DATABASE $database SET $name = '$bad'"}, nil, "for the role role_", `run ALTER ROLE "$role" IN DATABASE "$database" RESET $name`},
	"the role, which becomes another one": {
		[]string{
			"CREATE ROLE $role_app", "GRANT $role_app TO $role", "ALTER ROLE $role SET role = $role_app", "ALTER ROLE $role SET $name = '$bad'",
		}, nil, "for the role role_", `run ALTER ROLE "$role" RESET $name`,
	},
	"the role and the database": {
		[]string{"ALTER ROLE $role SET $name = '$bad'", "ALTER DATABASE $database SET $name = '$bad'"}, nil,
		"for the role role_", `run ALTER ROLE "$role" SET $name = $good`,
	},
	"the role there and everywhere": {
		[]string{"ALTER ROLE $role IN DATABASE $database SET $name = '$bad'", "ALTER ROLE $role SET $name = '$bad'"}, nil,
		"for the role role_", `run ALTER ROLE "$role" IN DATABASE "$database" SET $name = $good`,
	},
	"the URL":                  {nil, []string{"$name", "$bad"}, "by the URL", "remove $name from the URL"},
	"options in the URL":       {nil, []string{"options", "-c $option --enable_seqscan=on"}, "by the URL", "remove $name from options in the URL"},
	"long options in the URL":  {nil, []string{"options", "--$option"}, "by the URL", "remove $name from options in the URL"},
	"the URL and the database": {[]string{"ALTER DATABASE $database SET $name = '$bad'"}, []string{"$name", "$bad"}, "by the URL", "set $name="},
	"options in the URL and the role": {
		[]string{"ALTER ROLE $role SET $name = '$bad'"}, []string{"options", "-c $option"}, "by the URL", "remove $name from options in the URL and add $name=",
	},
}

func TestTheAdviceAboutASettingFollowsItsSource(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]struct{ check, name, bad, option, good string }{
		"read-only":          {"writable", "default_transaction_read_only", "on", "default_transaction_read_only=on", "off"},
		"isolation":          {"isolation", "default_transaction_isolation", "repeatable read", `default_transaction_isolation=repeatable\ read`, "'read committed'"},
		"encoding":           {"encoding", "client_encoding", "LATIN1", "client_encoding=LATIN1", "'UTF8'"},
		"synchronous_commit": {"durability", "synchronous_commit", "off", "synchronous_commit=off", "on"},
	} {
		for place, l := range levels {
			t.Run(name+" of "+place, func(t *testing.T) {
				t.Parallel()
				var own []string
				if strings.Contains(fmt.Sprint(l.statements), "ALTER DATABASE") {
					own = []string{"SELECT '$database'"}
				}
				d := newInspected(t, "", own...)
				fill := d.filler("$name", s.name, "$bad", s.bad, "$option", s.option, "$good", s.good)
				for _, statement := range l.statements {
					d.exec(fill(statement))
				}
				var parameters []string
				for _, p := range l.parameters {
					parameters = append(parameters, fill(p))
				}
				url := d.as(parameters...)
				f := inspect(t, url, database.Inspection{})[s.check]
				assert.NotEqual(t, preflight.OK, f.Severity)
				assert.Contains(t, f.Message, s.name+" is "+s.bad+", set "+l.setBy)
				if s.check != "durability" && s.check != "encoding" { // The advice of the first prefers the role, the advice of the second the URL.
					assert.Contains(t, f.Action, fill(l.action))
				}

				for _, statement := range advice.Statements(f.Action) {
					d.exec(statement)
				}
				f = inspect(t, advice.URL(url, f.Action), database.Inspection{})[s.check]
				assert.NotContains(t, f.Message, s.name, "after the advice")
			})
		}
	}
}

// TestTheAdviceAboutASettingOfAllRoles uses a separate server.
func TestTheAdviceAboutASettingOfAllRoles(t *testing.T) {
	t.Parallel()
	server := testenv.PostgresServer(t)
	executeIn(t, server.URL(), "ALTER ROLE ALL SET default_transaction_isolation = 'serializable'")
	f := inspect(t, server.URL(), database.Inspection{})["isolation"]
	assert.Contains(t, f.Message, "set for all roles")
	assert.Equal(t, "run ALTER ROLE ALL RESET default_transaction_isolation", f.Action)
	executeIn(t, server.URL(), "ALTER ROLE ALL SET default_transaction_read_only = on")
	read := inspect(t, server.URL(), database.Inspection{})["writable"]
	writable := with(t, server.URL(), "default_transaction_read_only", "off")
	for _, statement := range append(advice.Statements(f.Action), advice.Statements(read.Action)...) {
		executeIn(t, writable, statement)
	}
	findings := inspect(t, server.URL(), database.Inspection{})
	assert.Equal(t, preflight.OK, findings["isolation"].Severity)
	assert.Equal(t, preflight.OK, findings["writable"].Severity)

	executeIn(t, server.URL(), "ALTER ROLE ALL SET default_transaction_isolation = 'serializable'",
		"ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'")
	f = inspect(t, server.URL(), database.Inspection{})["isolation"]
	executeIn(t, server.URL(), advice.Statements(f.Action)...)
	assert.Equal(t, preflight.OK, inspect(t, server.URL(), database.Inspection{})["isolation"].Severity)
}

func TestTheAdviceAboutASettingBehindAPooler(t *testing.T) {
	t.Parallel()
	d := newInspected(t, "", "ALTER ROLE $role IN DATABASE $database SET default_transaction_isolation = 'serializable'")
	pooler, pooled := testenv.PgBouncer(t, d.as(), pgbouncer.Options{Mode: "transaction"})
	f := inspect(t, pooled, database.Inspection{})["isolation"]
	assert.Contains(t, f.Action, ", and have the pooler reconnect to Postgres")
	for _, statement := range advice.Statements(f.Action) {
		d.exec(statement)
	}
	require.NoError(t, pooler.Stop())
	require.NoError(t, pooler.Start(t.Context()))
	assert.Equal(t, preflight.OK, inspect(t, pooled, database.Inspection{})["isolation"].Severity)

	_, given := testenv.PgBouncer(t, d.as(), pgbouncer.Options{Mode: "transaction", Settings: map[string]string{
		"server_reset_query": "", "server_check_query": "SET default_transaction_isolation = serializable", "server_check_delay": "0",
	}})
	f = inspect(t, given, database.Inspection{})["isolation"]
	if assert.Equal(t, preflight.Warning, f.Severity) {
		assert.Contains(t, f.Message, "set by the pooler")
		assert.Equal(t, "remove default_transaction_isolation from the pooler's configuration", f.Action)
	}
}

func TestASearchPathIsParsedAsPostgresDoes(t *testing.T) {
	t.Parallel()
	for path, want := range map[string][]string{
		"":                          nil,
		`""`:                        nil,
		`"$user", public`:           {"$user", "public"},
		`Crm,"Crm" , "a.b", "x""y"`: {"crm", "Crm", "a.b", `x"y`},
		`"a, b",my-schema`:          {"a, b", "my-schema"},
	} {
		assert.Equal(t, want, database.SearchPath(path), path)
	}
}

// TestTheAdviceAboutASettingOfTheEnvironment is not parallel: the environment applies to every connection.
func TestTheAdviceAboutASettingOfTheEnvironment(t *testing.T) {
	t.Setenv("PGOPTIONS", "-c default_transaction_isolation=serializable")
	f := inspect(t, newInspected(t, "").as(), database.Inspection{})["isolation"]
	assert.Contains(t, f.Message, "set by the environment variable PGOPTIONS")
	assert.Equal(t, "remove default_transaction_isolation from PGOPTIONS", f.Action)
}
