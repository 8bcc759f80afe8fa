// Package e2e tests verity-sync as its users meet it: real processes on a real API server and a real Postgres, webhooks over HTTP, kubectl
// and SQL. What talks to the outside talks to simulators. Each test has databases, a namespace and processes of its own; the servers
// below are shared, but for those that a test takes down.
package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

const (
	// startTimeout leaves time to build verity-sync.
	startTimeout = 10 * time.Minute
	eventually   = 2 * time.Minute
	tick         = 20 * time.Millisecond
)

// shared has the servers and the program that the systems of the tests run on, and no processes of verity-sync itself.
var shared struct {
	sync.Once
	*system.System
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.System != nil {
		if err := shared.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

func sharedSystem(t *testing.T) *system.System {
	t.Helper()
	shared.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		shared.System, shared.err = system.Start(ctx, system.Options{
			DatabaseURL: os.Getenv(testenv.DatabaseURLVariable), Kubeconfig: os.Getenv(testenv.KubeconfigVariable),
		})
	})
	require.NoError(t, shared.err)
	return shared.System
}

// start starts a system on the shared servers, with delays that suit tests. If the test fails, its logs are shown.
func start(t *testing.T, options system.Options) *system.System {
	t.Helper()
	servers := sharedSystem(t)
	options.DatabaseURL = servers.DatabaseURL
	return startOnOwnPostgres(t, options)
}

// startOnOwnPostgres starts a system whose Postgres can be taken down.
func startOnOwnPostgres(t *testing.T, options system.Options) *system.System {
	t.Helper()
	servers := sharedSystem(t)
	options.Kubeconfig, options.Binary = servers.Kubeconfig, servers.Binary
	env := map[string]string{"RETRY_BASE_DELAY": "200ms", "RETRY_MAX_DELAY": "2s"}
	maps.Copy(env, options.Env)
	options.Env = env
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	s, err := system.Start(ctx, options)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range append(s.Receivers, s.Controllers...) {
				log, err := p.Log()
				t.Logf("%s: %v\n%s", p.Name, err, log)
			}
		}
		assert.NoError(t, s.Close())
	})
	return s
}

// post posts a webhook that must be accepted as new, and returns the event's id.
func post(t *testing.T, s *system.System, w ghlsender.Webhook) string {
	t.Helper()
	answer, err := s.Post(t.Context(), s.Receivers[0], w)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.Status, answer.Error)
	require.Equal(t, "accepted", answer.Outcome)
	return answer.ID
}

// get returns the WebhookEvent of an event.
func get(ctx context.Context, s *system.System, id string) (*v1alpha1.WebhookEvent, error) {
	e := &v1alpha1.WebhookEvent{}
	return e, s.Kubernetes.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: nameOf(id)}, e)
}

func nameOf(id string) string { return v1alpha1.NameOf("ghl", id) }

// waitFor waits until an event is in a phase and returns its WebhookEvent.
func waitFor(t *testing.T, s *system.System, id string, phase v1alpha1.WebhookEventPhase) *v1alpha1.WebhookEvent {
	t.Helper()
	var e *v1alpha1.WebhookEvent
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var err error
		e, err = get(t.Context(), s, id)
		require.NoError(c, err)
		require.Equal(c, phase, e.Status.Phase, "%+v", e.Status)
	}, eventually, tick)
	return e
}

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

// forwardsOf returns how often Verity took an event, and under which hash of its body.
func forwardsOf(s *system.System, id string) (times int, sha256 string) {
	for _, d := range s.Verity.Deliveries() {
		if d.Key == id {
			return len(d.Times), d.SHA256
		}
	}
	return 0, ""
}
