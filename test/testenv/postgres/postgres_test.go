package postgres_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
)

func TestMain(m *testing.M) {
	testenv.MainOrServer(m, func(ctx context.Context) (address, dir string, err error) {
		server, err := postgres.Start(ctx, postgres.Options{NoSync: true})
		if err != nil {
			return "", "", err
		}
		return server.URL(), server.Dir(), nil
	})
}

func TestNothingOutlivesAProcessThatIsKilled(t *testing.T) {
	t.Parallel()
	url, dir, kill := testenv.StartServerProcess(t)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	require.DirExists(t, dir)

	kill()

	assert.Eventually(t, func() bool { return conn.Ping(t.Context()) != nil }, time.Minute, 10*time.Millisecond, "the connection is cut")
	assert.Eventually(t, func() bool {
		_, err := pgx.Connect(t.Context(), url)
		return err != nil
	}, time.Minute, 10*time.Millisecond, "no server listens any more")
	assert.Eventually(t, func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	}, time.Minute, 10*time.Millisecond, "the data is gone")
}

func TestAServerThatCannotStartSaysWhyAndLeavesNothing(t *testing.T) {
	temporary, err := os.MkdirTemp("", "") //nolint:usetesting // the user that Postgres runs as for root cannot enter t.TempDir
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(temporary)) })
	require.NoError(t, os.Chmod(temporary, 0o755))
	t.Setenv("TMPDIR", temporary)

	_, err = postgres.Start(t.Context(), postgres.Options{Settings: map[string]string{"shared_buffers": "none"}})

	require.ErrorContains(t, err, "shared_buffers")
	left, err := os.ReadDir(temporary)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestAServerTakesHundredsOfConnections(t *testing.T) {
	t.Parallel()
	server, err := postgres.Start(t.Context(), postgres.Options{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	conn, err := pgx.Connect(t.Context(), server.URL())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })

	var connections int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT current_setting('max_connections')::int").Scan(&connections))
	assert.GreaterOrEqual(t, connections, 300)
}
