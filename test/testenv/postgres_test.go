package testenv_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

func query[T any](t *testing.T, conn *pgx.Conn, sql string, arguments ...any) T {
	t.Helper()
	var value T
	require.NoError(t, conn.QueryRow(t.Context(), sql, arguments...).Scan(&value))
	return value
}

func TestEverySchemaIsEmptyAndOfItsOwn(t *testing.T) {
	t.Parallel()
	first, second := connect(t, testenv.Postgres(t)), connect(t, testenv.Postgres(t))
	const create = "CREATE TABLE things (id int); "

	_, err := first.Exec(t.Context(), create+"INSERT INTO things VALUES (1)")
	require.NoError(t, err)
	_, err = second.Exec(t.Context(), create)
	require.NoError(t, err, "the table of the other schema must not be in the way")

	assert.Equal(t, 1, query[int](t, first, "SELECT count(*) FROM things"))
	assert.Equal(t, 0, query[int](t, second, "SELECT count(*) FROM things"))
}

func TestTheSchemaIsDroppedAtTheEndOfTheTest(t *testing.T) {
	t.Parallel()
	outside := connect(t, testenv.Postgres(t))
	var schema string

	t.Run("which leaves a table and a connection behind", func(t *testing.T) {
		inside := connect(t, testenv.Postgres(t))
		_, err := inside.Exec(t.Context(), "CREATE TABLE things (id int)")
		require.NoError(t, err)
		schema = query[string](t, inside, "SELECT current_schema")
		assert.True(t, query[bool](t, outside, "SELECT to_regnamespace($1) IS NOT NULL", schema))
	})

	assert.False(t, query[bool](t, outside, "SELECT to_regnamespace($1) IS NOT NULL", schema))
}

func TestAServerRestartsWithItsDataUnderTheSameURL(t *testing.T) {
	t.Parallel()
	down := map[string]func(*postgres.Server) error{
		"after a fast shutdown":       func(s *postgres.Server) error { return s.Stop(postgres.Fast) },
		"after an immediate shutdown": func(s *postgres.Server) error { return s.Stop(postgres.Immediate) },
		"after SIGKILL":               (*postgres.Server).Kill,
	}
	for name, goDown := range down {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testenv.PostgresServer(t)
			url := server.URL()
			_, err := connect(t, url).Exec(t.Context(), "CREATE TABLE things AS SELECT 42 AS id")
			require.NoError(t, err)

			require.NoError(t, goDown(server))
			_, err = pgx.Connect(t.Context(), url)
			require.Error(t, err)

			require.NoError(t, server.Start(t.Context()))
			assert.Equal(t, url, server.URL())
			assert.Equal(t, 42, query[int](t, connect(t, url), "SELECT id FROM things"))
		})
	}
}
