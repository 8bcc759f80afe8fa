package testenv

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// LockTable locks a table in another session until unlock is called, at the latest at the end of the test. mode is one of Postgres's, for
// example "ACCESS EXCLUSIVE", which makes every statement on the table wait. unlock may be called from any goroutine, and more than once.
func LockTable(t testing.TB, databaseURL, table, mode string) (unlock func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	unlock = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
			t.Errorf("unlock table %s: %v", table, err)
		}
		_ = conn.Close(ctx)
	})
	t.Cleanup(unlock)
	_, err = conn.Exec(t.Context(), "BEGIN; LOCK TABLE "+table+" IN "+mode+" MODE")
	require.NoError(t, err)
	return unlock
}
