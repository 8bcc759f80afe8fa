package intake_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// stop and those that follow have Postgres refuse what receivers want to write, each in its own way, and return what ends that. It drops
// the connections of this process that broke meanwhile.
func stop(t *testing.T) func() {
	t.Helper()
	require.NoError(t, middleware.Postgres.Stop(postgres.Fast))
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), systemtest.Timeout)
		defer cancel()
		assert.NoError(t, middleware.Postgres.Start(ctx))
		middleware.Database.Reset()
	}
}

// setReadOnly does what a failover does that leaves clients on the old primary.
func setReadOnly(t *testing.T) func() {
	t.Helper()
	conn := connect(t)
	set := func(statement string) {
		for _, sql := range []string{statement, "SELECT pg_reload_conf()"} {
			_, err := conn.Exec(context.Background(), sql)
			assert.NoError(t, err)
		}
	}
	set("ALTER SYSTEM SET default_transaction_read_only = on")
	return func() { set("ALTER SYSTEM RESET default_transaction_read_only") }
}

// exhaustConnections takes every connection that Postgres has, those of verity-sync too.
func exhaustConnections(t *testing.T) func() {
	t.Helper()
	release, err := middleware.Postgres.Exhaust(t.Context(), "verity-sync %")
	assert.NoError(t, err)
	return func() {
		release()
		middleware.Database.Reset()
	}
}

// lockTable makes every statement on the table wait.
func lockTable(t *testing.T) func() {
	t.Helper()
	return testenv.LockTable(t, middleware.DatabaseURL, "webhook_events", "ACCESS EXCLUSIVE")
}

func connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), middleware.DatabaseURL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
