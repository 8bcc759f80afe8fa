package system_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// TestASystem goes through the life of one system, since starting it is most of the work.
func TestASystem(t *testing.T) {
	t.Parallel()
	var said []string
	s := systemtest.StartOnOwnServers(t, system.Options{Receivers: 1, Controllers: 1, Say: func(what string) { said = append(said, what) }})
	receiver := s.Receivers[0]
	assert.Contains(t, said, "starting a Postgres")

	answer, err := s.Post(t.Context(), receiver, s.Sender.Marketplace("NoteCreate", map[string]any{"id": "note"}))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, answer.Status, answer.Error)
	output, err := s.Kubectl(t.Context(), "wait", "--for=create", "webhookevent/ghl-"+answer.ID, "--timeout=120s")
	require.NoError(t, err)
	assert.Contains(t, output, answer.ID)
	output, err = s.Kubectl(t.Context(), "wait", "--for=condition=Ready", "webhookevent/ghl-"+answer.ID, "--timeout=120s")
	require.NoError(t, err)
	assert.Contains(t, output, "condition met")

	t.Run("a process that is paused does not answer until it continues", func(t *testing.T) {
		require.NoError(t, receiver.Pause())
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := s.Post(ctx, receiver, s.Sender.Marketplace("NoteCreate", nil))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, receiver.Continue())
		_, err = s.Post(t.Context(), receiver, s.Sender.Marketplace("NoteCreate", nil))
		require.NoError(t, err)
	})
	t.Run("a process that was killed starts again with another environment", func(t *testing.T) {
		pid, url := receiver.PID(), receiver.URL
		require.NoError(t, receiver.Kill())
		assert.False(t, receiver.Running())
		receiver.Env["GHL_WEBHOOK_SECRETS"] = "another"
		require.NoError(t, receiver.Start(t.Context()))
		assert.True(t, receiver.Running())
		assert.NotEqual(t, pid, receiver.PID())
		assert.Equal(t, url, receiver.URL)
		answer, err := s.Post(t.Context(), receiver, s.Sender.WorkflowContact(ghlsender.Contact{ID: "contact"}, nil))
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, answer.Status)
		log, err := receiver.Log()
		require.NoError(t, err)
		assert.Equal(t, 2, strings.Count(log, "listening for webhooks"), "the log has both starts")
	})
	t.Run("a process that cannot start says why", func(t *testing.T) {
		require.NoError(t, receiver.Stop())
		flags := receiver.Flags
		receiver.Flags = append(flags, "--max-in-flight=0")
		require.ErrorContains(t, receiver.Start(t.Context()), "--max-in-flight: expected at least 1")
		receiver.Flags = flags
		require.NoError(t, receiver.Start(t.Context()))
	})
	t.Run("a system on another one's servers goes and leaves them as they were", func(t *testing.T) {
		guest := systemtest.StartOnOwnServers(t, system.Options{Receivers: 1, Binary: s.Binary, DatabaseURL: s.DatabaseURL, Kubeconfig: s.Kubeconfig})
		assert.Nil(t, guest.Postgres)
		assert.NotEqual(t, s.Namespace, guest.Namespace)
		assert.Len(t, databases(t, s), 4)
		require.NoError(t, guest.Close())
		assert.Len(t, databases(t, s), 2)
	})
	t.Run("nothing is left of a system that was closed", func(t *testing.T) {
		require.NoError(t, s.Close())
		assert.False(t, receiver.Running())
		assert.False(t, s.Controllers[0].Running())
		for _, url := range []string{receiver.URL, s.VerityURL, s.GHLURL, s.AlowareURL} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
			require.NoError(t, err)
			_, err = http.DefaultClient.Do(request)
			require.ErrorContains(t, err, "refused")
		}
		for _, dir := range []string{s.Dir, s.Postgres.Dir(), s.ControlPlane.Dir()} {
			assert.NoDirExists(t, dir)
		}
	})
}

// databases lists those that systems have made.
func databases(t *testing.T, s *system.System) []string {
	t.Helper()
	rows, err := s.Database.Query(t.Context(), "SELECT datname::text FROM pg_database WHERE datname LIKE 'verity%'")
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return names
}

func TestEverySampleIsThere(t *testing.T) {
	t.Parallel()
	samples, err := system.Samples()
	require.NoError(t, err)
	assert.Len(t, samples, 15)
	signed := 0
	for _, sample := range samples {
		assert.NotEmpty(t, sample.Webhook.Body, sample.Name)
		if sample.Webhook.Signed {
			signed++
		}
	}
	assert.Equal(t, 8, signed)
}
