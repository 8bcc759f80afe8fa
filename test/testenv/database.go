package testenv

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/pgbouncer"
)

// Database returns the URL of an empty database of its own in the Postgres that Postgres uses: unlike a schema it needs no
// parameter of the session, which a pooler refuses. It is dropped at the end of the test. Statements are executed in it.
func Database(t testing.TB, statements ...string) string {
	t.Helper()
	base, err := sharedPostgres()
	require.NoError(t, err)
	name := "test_" + strings.ToLower(rand.Text())
	require.NoError(t, execute(base, "CREATE DATABASE "+name))
	t.Cleanup(func() {
		if err := execute(base, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the database of the test: %v", err)
		}
	})
	u, err := url.Parse(base)
	require.NoError(t, err)
	u.Path = "/" + name
	require.NoError(t, execute(u.String(), statements...))
	return u.String()
}

// PgBouncer returns a pooler of the test's own in front of the server of a database, to stop and start again, and the URL of that
// database through it. It is gone at the end of the test.
func PgBouncer(t testing.TB, databaseURL string, options pgbouncer.Options) (*pgbouncer.Pooler, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	pooler, err := pgbouncer.Start(ctx, databaseURL, options)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := pooler.Close(); err != nil {
			t.Errorf("close the pooler of the test: %v", err)
		}
	})
	through, err := pooler.URL(databaseURL)
	require.NoError(t, err)
	return pooler, through
}
