package store_test

import (
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/legacy"
)

// within is a new database whose connections use one empty schema.
func within(t *testing.T, schema string) *environment {
	t.Helper()
	u, err := url.Parse(testenv.Database(t))
	require.NoError(t, err)
	quoted := `"` + strings.ReplaceAll(schema, `"`, `""`) + `"`
	query := u.Query()
	query.Set("search_path", quoted)
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	b := &environment{t: t, url: u.String()}
	b.Store = open(t, b.url)
	b.exec("CREATE SCHEMA " + quoted)
	return b
}

func TestASchemaOfAnyNameIsMigrated(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{
		"a name with a capital letter": "Middleware",
		"a name with a blank":          "mid dle",
		"a name with a dot":            "a.b",
		"a name with a double quote":   `a"b`,
		"a name with a single quote":   "a'b",
		"a name that is a keyword":     "select",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := within(t, schema)
			decoy := strings.ToLower(schema)
			if decoy != schema {
				b.exec("CREATE SCHEMA " + decoy)
				b.exec("CREATE TABLE " + decoy + ".webhook_events (id int)")
			}
			b.exec(legacy.Tables)
			b.exec(legacy.Rows)
			b.exec("CREATE VIEW recent AS SELECT payload_json FROM webhook_events; CREATE TABLE copies (event webhook_events); CREATE VIEW appointments AS SELECT 1")
			obstructed := b.requireObstructed()
			require.Len(t, obstructed.Obstacles, 3, obstructed.Error())
			for _, o := range obstructed.Obstacles {
				b.exec(o.Statements[0])
			}
			b.requireMigrated()
			findings, err := b.Inspect(t.Context(), store.AnyProcess, nil)
			require.NoError(t, err)
			for _, f := range findings {
				if f.Check == "schema" || f.Check == "privileges" || f.Check == "search-path" {
					assert.EqualValues(t, "ok", f.Severity, f)
				}
			}
		})
	}
}

func TestNamesAndDefinitionsOfObstaclesAreShownSafely(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		sql, want string
	}{
		"a name that a shell would run": {
			`CREATE VIEW "x'; touch pwned; echo '" AS SELECT payload_json FROM webhook_events`, `"x'; touch pwned; echo '"`,
		},
		"a name that a shell would run, of a materialized view of rows": {
			`CREATE MATERIALIZED VIEW "$(touch pwned)'" AS SELECT w FROM webhook_events w`, `"$(touch pwned)'"`,
		},
		"a name with terminal escapes": {
			"CREATE VIEW \"a\x1b[2J\u202eb\" AS SELECT payload_json FROM webhook_events", `"a\u001b[2J\u202eb"`,
		},
		"a definition of several lines": {
			"CREATE INDEX g ON webhook_events ((CASE WHEN payload_json @> '{}' THEN 1 ELSE 2 END))", "CASE WHEN",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := unmigrated(t)
			b.exec(tc.sql)
			obstructed := b.requireObstructed()
			require.Len(t, obstructed.Obstacles, 1)
			assert.Contains(t, obstructed.Error(), tc.want)
			assert.Equal(t, 1, strings.Count(obstructed.Error(), "\n"), "one line")
			command, found := strings.CutPrefix(obstructed.Obstacles[0].Afterwards, "create it again; ")
			command, _ = strings.CutSuffix(command, " prints its definition now")
			if found {
				shell := exec.CommandContext(t.Context(), "sh", "-c", "pg_dump() { printf '%s' \"$2\"; }; "+command)
				shell.Dir = dir
				out, err := shell.CombinedOutput()
				require.NoError(t, err)
				assert.True(t, strings.HasPrefix(string(out), "--table="), string(out))
				assert.Contains(t, event.VisibleLine(string(out)), tc.want)
				assert.NoFileExists(t, filepath.Join(dir, "pwned"))
			}
			b.exec(obstructed.Obstacles[0].Statements[0])
			b.requireMigrated()
		})
	}
}
