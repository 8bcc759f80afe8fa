package postgres_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
)

// It makes this test binary a program that starts a server, says where, and does not stop it until it is killed.
const carelessVariable = "TESTENV_START_AND_HANG"

func TestMain(m *testing.M) {
	if os.Getenv(carelessVariable) == "" {
		os.Exit(m.Run())
	}
	server, err := postgres.Start(context.Background(), postgres.Options{NoSync: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.URL(), server.Dir())
	select {}
}

func TestNothingOutlivesAProcessThatIsKilled(t *testing.T) {
	t.Parallel()
	careless := exec.Command(os.Args[0])
	careless.Env = append(os.Environ(), carelessVariable+"=yes")
	careless.Stderr = os.Stderr
	output, err := careless.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, careless.Start())
	t.Cleanup(func() { _ = careless.Process.Kill() })

	var url, dir string
	_, err = fmt.Fscanln(output, &url, &dir)
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	require.DirExists(t, dir)

	require.NoError(t, careless.Process.Kill())
	require.Error(t, careless.Wait(), "it must have been killed")

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
