package store_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// receiversQueries are the files of queries that receivers run, and single queries of other files.
var receiversQueries = []string{"intake.sql", "relay.sql", "ReadStats", "RequestAudit"}

// toolsQueries are the files and queries of tools, which users run with their own role.
var toolsQueries = []string{"erase.sql", "ReadBody", "CountReplayable", "ReplayBatch", "ListReplayableTypes"}

var queryName = regexp.MustCompile(`^-- name: (\w+) :`)

// queries returns the SQL of sqlc's queries, by "file query".
func queries(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("dbsqlc/*.sql.go")
	require.NoError(t, err)
	found := map[string]string{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		parsed, err := parser.ParseFile(token.NewFileSet(), file, source, 0)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			sql, err := strconv.Unquote(literal.Value)
			require.NoError(t, err)
			if match := queryName.FindStringSubmatch(sql); match != nil {
				found[strings.TrimSuffix(filepath.Base(file), ".go")+" "+match[1]] = sql
			}
			return true
		})
	}
	require.Greater(t, len(found), 40)
	return found
}

// refused returns the queries that a role may not run: Postgres checks the privileges before it explains a query.
func refused(t *testing.T, url string, queries map[string]string) (names []string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	for name, sql := range queries {
		n := 0
		for _, match := range regexp.MustCompile(`\$(\d+)`).FindAllStringSubmatch(sql, -1) {
			number, err := strconv.Atoi(match[1])
			require.NoError(t, err)
			n = max(n, number)
		}
		arguments := ""
		if n > 0 {
			arguments = "(" + strings.TrimSuffix(strings.Repeat("NULL,", n), ",") + ")"
		}
		_, err := conn.Exec(t.Context(), fmt.Sprintf("DEALLOCATE ALL; PREPARE q AS %s; EXPLAIN EXECUTE q%s", sql, arguments), pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			require.ErrorContains(t, err, "SQLSTATE 42501", name)
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestTheNeedsOfAProcessAreThoseOfItsQueries grants a role the privileges that the preflight checks, and revokes each of them.
func TestTheNeedsOfAProcessAreThoseOfItsQueries(t *testing.T) {
	t.Parallel()
	all, receivers, controllers := queries(t), map[string]string{}, map[string]string{}
	for name, sql := range all {
		file, query, _ := strings.Cut(name, " ")
		switch {
		case slices.Contains(toolsQueries, file), slices.Contains(toolsQueries, query):
			delete(all, name)
			continue
		case slices.Contains(receiversQueries, file), slices.Contains(receiversQueries, query):
			receivers[name] = sql
		}
		if file != "intake.sql" && file != "relay.sql" || query == "Installation" {
			controllers[name] = sql
		}
	}
	require.Greater(t, len(receivers), 15)
	// These two are read without sqlc, which does not know the tables.
	const version, compatibility = "verity_sync_schema_version", "verity_sync_schema_compatibility"
	for name, tc := range map[string]struct {
		process store.Process
		queries map[string]string
	}{
		"receiver": {store.ReceiverProcess, receivers}, "controller": {store.ControllerProcess, controllers}, "every process": {store.AnyProcess, all},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := emptyTenant(t)
			migrate(t, d.url)
			d.exec("GRANT USAGE ON SCHEMA $schema TO $role")
			tables, privileges := store.NeedsOf(tc.process)
			for i, table := range tables {
				d.exec(fmt.Sprintf("GRANT %s ON %s TO $role", privileges[i], table))
			}
			assert.Empty(t, refused(t, d.as(""), tc.queries), "these need a privilege that is not among the needs")
			for i, table := range tables {
				if table == version || table == compatibility {
					assert.Equal(t, "SELECT", privileges[i])
					continue
				}
				d.exec(fmt.Sprintf("REVOKE %s ON %s FROM $role", privileges[i], table))
				assert.NotEmpty(t, refused(t, d.as(""), tc.queries), "no query needs %s on %s", privileges[i], table)
				d.exec(fmt.Sprintf("GRANT %s ON %s TO $role", privileges[i], table))
			}
		})
	}
}
