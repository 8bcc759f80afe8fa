package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// TestAfterAnOutageOfHoursWaitingEventsAreDoneAtOnce makes Verity fail until events wait for it. The test sets their next attempt as far ahead as
// an outage of hours does.
func TestAfterAnOutageOfHoursWaitingEventsAreDoneAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1, Env: map[string]string{"MAX_WAITING_EVENTS": "10"}})
	down := fault.Status(http.StatusServiceUnavailable)
	down.Times = -1
	require.NoError(t, s.Verity.Faults.Add(down))
	ids := make([]string, 25)
	for i := range ids {
		ids[i] = systemtest.Post(t, s, s.Sender.Opportunity(ghlsender.Create, ghlsender.Opportunity{ID: ghlsender.NewID()}))
	}
	count := func(t require.TestingT, where string) (n int) {
		require.NoError(t, s.Database.QueryRow(context.Background(), "SELECT count(*) FROM webhook_events WHERE "+where).Scan(&n))
		return n
	}
	const held, long = "held_by = '{verity-http}'", "next_attempt_at > now() + interval '30 minutes'"
	systemtest.Eventually(t, func(c *assert.CollectT) {
		_, err := s.Database.Exec(t.Context(), "UPDATE webhook_events SET next_attempt_at = now() + interval '1 hour' WHERE status = 'pending' AND "+held)
		require.NoError(c, err) // It may deadlock with the parking of the same rows.
		require.Equal(c, len(ids), count(c, held+" AND "+long))
		require.GreaterOrEqual(c, count(c, "parked"), 15)
	})
	attempts := count(t, "attempts > 0")
	calls := s.Verity.Requests.Total()

	ended := time.Now()
	s.Verity.Faults.Clear()
	for _, id := range ids {
		systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
		times, _ := systemtest.Forwards(s, id)
		assert.Equal(t, 1, times)
	}
	t.Logf("%d events were done %s after the end of the outage, in %d calls", len(ids), time.Since(ended).Round(time.Millisecond),
		s.Verity.Requests.Total()-calls)
	assert.Less(t, time.Since(ended), time.Minute, "and not after an hour")
	assert.LessOrEqual(t, s.Verity.Requests.Total()-calls, len(ids)+2, "each calls once, except those in an attempt when the outage ended")
	assert.LessOrEqual(t, count(t, "attempts > 1"), attempts, "the first failures count, the wait does not")
}

// TestAnOutageIsReportedInKubernetesEvents has an outage of two destinations at a time.
func TestAnOutageIsReportedInKubernetesEvents(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 2})
	down := fault.Status(http.StatusServiceUnavailable)
	down.Times = -1
	require.NoError(t, s.Verity.Faults.Add(down))
	require.NoError(t, s.Aloware.Faults.Add(down))
	ids := make([]string, 5)
	for i := range ids {
		ids[i] = systemtest.Post(t, s, s.Sender.Contact(ghlsender.Update, ghlsender.Contact{ID: ghlsender.NewID(), Phone: "+12055550142"}))
	}
	reported := func(t require.TestingT) map[string]string {
		var list corev1.EventList
		require.NoError(t, s.Kubernetes.List(context.Background(), &list, client.InNamespace(s.Namespace),
			client.MatchingFields{"involvedObject.kind": "Lease", "involvedObject.name": "verity-sync-controller"}))
		of := map[string]string{}
		for _, e := range list.Items {
			if e.InvolvedObject.FieldPath != "" {
				of[e.InvolvedObject.FieldPath+" "+e.Reason] = e.Type + ": " + e.Message
			}
		}
		return of
	}
	want := map[string]string{
		"destinations{verity-http} DestinationUnavailable": "Warning: the circuit breaker of verity-http opened: events that need it are held until a trial call succeeds",
		"destinations{aloware} DestinationUnavailable":     "Warning: the circuit breaker of aloware opened: events that need it are held until a trial call succeeds",
	}
	systemtest.Eventually(t, func(c *assert.CollectT) { require.Equal(c, want, reported(c)) })

	s.Verity.Faults.Clear()
	s.Aloware.Faults.Clear()
	for _, id := range ids {
		systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
	}
	want["destinations{verity-http} DestinationAvailable"] = "Normal: the circuit breaker of verity-http closed: held events are released"
	want["destinations{aloware} DestinationAvailable"] = "Normal: the circuit breaker of aloware closed: held events are released"
	systemtest.Eventually(t, func(c *assert.CollectT) { require.Equal(c, want, reported(c)) })
	shown, err := s.Kubectl(t.Context(), "describe", "lease", "verity-sync-controller")
	require.NoError(t, err)
	assert.Contains(t, shown, "the circuit breaker of aloware closed: held events are released", "where one looks for it")
}
