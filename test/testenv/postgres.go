package testenv

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
)

// DatabaseURLVariable is the variable in which a program that runs several test binaries passes the Postgres that they share.
const DatabaseURLVariable = "TESTENV_DATABASE_URL"

// How long a part may take to start on a machine that has much else to do.
const startTimeout = 2 * time.Minute

// Postgres returns the URL of an empty schema of its own in a real Postgres: the one that TESTENV_DATABASE_URL or DATABASE_URL names, else
// one that this test binary starts for all its tests. The schema is the whole search_path of the URL, which is a runtime parameter that
// pgx understands and psql does not. It is dropped at the end of the test.
func Postgres(t testing.TB) string {
	t.Helper()
	base, err := sharedPostgres()
	require.NoError(t, err)
	schema := "test_" + strings.ToLower(rand.Text())
	require.NoError(t, execute(base, "CREATE SCHEMA "+schema))
	t.Cleanup(func() {
		// A connection that the test left in a transaction would block this forever: that is a mistake of the test, and is reported.
		if err := execute(base, "SET lock_timeout = '10s'", "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			t.Errorf("drop the schema of the test: %v", err)
		}
	})
	scoped, err := withParameter(base, "search_path", schema)
	require.NoError(t, err)
	return scoped
}

// PostgresServer returns a server for one test, to stop, kill and restart. It is removed at the end of the test.
func PostgresServer(t testing.TB) *postgres.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	server, err := postgres.Start(ctx, postgres.Options{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("close the Postgres of the test: %v", err)
		}
	})
	return server
}

var sharedPostgres = sync.OnceValues(func() (string, error) {
	for _, variable := range []string{DatabaseURLVariable, "DATABASE_URL"} {
		if given := os.Getenv(variable); given != "" {
			return given, nil
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	server, err := postgres.Start(ctx, postgres.Options{NoSync: true})
	if err != nil {
		return "", err
	}
	AtExit(server.Close)
	return server.URL(), nil
})

func execute(databaseURL string, statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func withParameter(databaseURL, name, value string) (string, error) {
	u, err := url.Parse(databaseURL)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		// The parser's error would print the URL with its password.
		return "", errors.New("DATABASE_URL is not a postgres:// URL")
	}
	query := u.Query()
	query.Set(name, value)
	u.RawQuery = query.Encode()
	return u.String(), nil
}
