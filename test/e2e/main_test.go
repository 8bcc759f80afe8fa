// Package e2e tests verity-sync as its users meet it: real processes on a real API server and a real Postgres, webhooks over HTTP, kubectl
// and SQL. What talks to the outside talks to simulators. Each test has databases, a namespace and processes of its own; the servers
// below are shared, but for those that a test takes down.
package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

func TestMain(m *testing.M) { systemtest.Main(m) }

// start starts a system on the shared servers, with short delays.
func start(t *testing.T, options system.Options) *system.System {
	t.Helper()
	options.Env = systemtest.ShortRetries(options.Env)
	return systemtest.Start(t, options)
}

// startOnOwnPostgres starts a system whose Postgres can be taken down, with short delays.
func startOnOwnPostgres(t *testing.T, options system.Options) *system.System {
	t.Helper()
	options.Env = systemtest.ShortRetries(options.Env)
	return systemtest.StartOnOwnPostgres(t, options)
}

func nameOf(id string) string { return v1alpha1.NameOf("ghl", id) }

// row is what the tests look at of a row of webhook_events.
type row struct {
	Status   string
	Attempts int
	Reason   string
}

func rowOf(t *testing.T, s *system.System, id string) row {
	t.Helper()
	var r row
	require.NoError(t, s.Database.QueryRow(t.Context(),
		"SELECT status, attempts, coalesce(reason, '') FROM webhook_events WHERE id = $1", id).Scan(&r.Status, &r.Attempts, &r.Reason))
	return r
}

// ledgerOf returns what the ledger has of an event: how often each operation ended how.
func ledgerOf(t *testing.T, s *system.System, id string) map[string]int {
	t.Helper()
	rows, err := s.Database.Query(t.Context(), "SELECT operation || ' ' || status FROM sync_log WHERE webhook_event_id = $1", id)
	require.NoError(t, err)
	entries := map[string]int{}
	for rows.Next() {
		var entry string
		require.NoError(t, rows.Scan(&entry))
		entries[entry]++
	}
	require.NoError(t, rows.Err())
	return entries
}
