// Package intake tests how webhooks are accepted, with real processes: two receivers, a controller and a Postgres that fails in every way that it
// can. The rules for answers are tested in internal/receiver, those for what is read from a body in internal/ghl.
package intake_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// middleware is the system that all tests of this package share. Tests that break its Postgres are not parallel.
var middleware *system.System

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), systemtest.StartTimeout)
	defer cancel()
	options := system.Options{Receivers: 2, Controllers: 1, Env: map[string]string{
		// Every WebhookEvent stays, to be counted.
		"FINISHED_HISTORY_LIMIT": "100000",
	}}
	if middleware, err = system.Start(ctx, options); err != nil {
		return 0, err
	}
	if err := middleware.SeedSamples(ctx); err != nil {
		return 0, errors.Join(err, middleware.Close())
	}
	code = m.Run()
	if code != 0 {
		printLogs()
	}
	return code, middleware.Close()
}

// printLogs prints the logs of the processes after a failure.
func printLogs() {
	for _, p := range slices.Concat(middleware.Receivers, middleware.Controllers) {
		log, err := p.Log()
		fmt.Fprintf(os.Stderr, "--- %s (%v)\n%s\n", p.Name, err, log)
	}
}

// note is a webhook without a contact, for which nothing is synced.
func note() ghlsender.Webhook {
	return middleware.Sender.Marketplace("NoteCreate", map[string]any{"id": ghlsender.NewID(), "body": "Prefers the afternoon"})
}

// post sends w to a receiver, which must accept it.
func post(t *testing.T, receiver *system.Process, w ghlsender.Webhook) system.Answer {
	t.Helper()
	answer, err := middleware.Post(t.Context(), receiver, w)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.Status, answer.Error)
	require.NotEmpty(t, answer.ID)
	return answer
}

// stored returns the ids of the rows that hold these bytes.
func stored(t *testing.T, body []byte) []string {
	t.Helper()
	rows, err := middleware.Database.Query(t.Context(), `SELECT id::text FROM webhook_events WHERE payload_json::text = $1`, string(body))
	require.NoError(t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return ids
}

// requireDoneOnce waits until the events are done and demands that each was forwarded once and has one WebhookEvent.
func requireDoneOnce(t *testing.T, ids ...string) {
	t.Helper()
	systemtest.Eventually(t, func(c *assert.CollectT) {
		rows, err := middleware.Database.Query(t.Context(), `SELECT id || ' is ' || status || ': ' || coalesce(error_message, '')
			FROM webhook_events WHERE id = ANY($1::uuid[]) AND status <> 'done'`, ids)
		require.NoError(c, err)
		unfinished, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(c, err)
		assert.Empty(c, unfinished)
	})

	forwards, objects := map[string]int{}, map[string]int{}
	for _, d := range middleware.Verity.Deliveries() {
		forwards[d.Key] = len(d.Times)
	}
	var list v1alpha1.WebhookEventList
	require.NoError(t, middleware.Kubernetes.List(t.Context(), &list, client.InNamespace(middleware.Namespace)))
	for i := range list.Items {
		objects[list.Items[i].Spec.EventID]++
	}
	for _, id := range ids {
		assert.Equal(t, 1, forwards[id], "forwards of %s", id)
		assert.Equal(t, 1, objects[id], "WebhookEvents of %s", id)
	}
}
