package systemtest

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

const (
	// Timeout is how long a condition may take to become true, on a machine that has much else to do.
	Timeout = 2 * time.Minute
	// Tick is how often a condition is checked.
	Tick = 20 * time.Millisecond
)

// Eventually waits until a condition holds.
func Eventually(t testing.TB, condition func(*assert.CollectT), message ...any) {
	t.Helper()
	require.EventuallyWithT(t, condition, Timeout, Tick, message...)
}

// Post sends a webhook to the first receiver, which must accept it as new, and returns the event's id.
func Post(t testing.TB, s *system.System, w ghlsender.Webhook) string {
	t.Helper()
	answer, err := s.Post(t.Context(), s.Receivers[0], w)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.Status, answer.Error)
	require.Equal(t, "accepted", answer.Outcome)
	return answer.ID
}

// NameOf returns the name of the WebhookEvent of an event.
func NameOf(s *system.System, id string) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: v1alpha1.NameOf("ghl", id)}
}

// Get returns the WebhookEvent of an event.
func Get(ctx context.Context, s *system.System, id string) (*v1alpha1.WebhookEvent, error) {
	e := &v1alpha1.WebhookEvent{}
	return e, s.Kubernetes.Get(ctx, NameOf(s, id), e)
}

// WaitFor waits until the WebhookEvent of an event is as wanted, and returns it.
func WaitFor(t testing.TB, s *system.System, id, want string, is func(*v1alpha1.WebhookEvent) bool) *v1alpha1.WebhookEvent {
	t.Helper()
	var e *v1alpha1.WebhookEvent
	Eventually(t, func(c *assert.CollectT) {
		var err error
		e, err = Get(t.Context(), s, id)
		require.NoError(c, err)
		require.True(c, is(e), "%s must be %s: %+v", e.Name, want, e.Status)
	})
	return e
}

// WaitForPhase waits until the WebhookEvent of an event is in a phase, and returns it.
func WaitForPhase(t testing.TB, s *system.System, id string, phase v1alpha1.WebhookEventPhase) *v1alpha1.WebhookEvent {
	t.Helper()
	return WaitFor(t, s, id, string(phase), func(e *v1alpha1.WebhookEvent) bool { return e.Status.Phase == phase })
}

// Forwards returns how often Verity accepted an event, and the hash of the body; each time it has the same body under the same key.
func Forwards(s *system.System, id string) (times int, sha256 string) {
	for _, d := range s.Verity.Deliveries() {
		if d.Key == id {
			return len(d.Times), d.SHA256
		}
	}
	return 0, ""
}

// Value returns the result of a query with one column and one row in the middleware database.
func Value[T any](t testing.TB, s *system.System, query string, arguments ...any) T {
	t.Helper()
	var v T
	require.NoError(t, s.Database.QueryRow(t.Context(), query, arguments...).Scan(&v))
	return v
}
