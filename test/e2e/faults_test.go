package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// hang has Verity leave its next request unanswered.
func hang(t *testing.T, s *system.System) {
	t.Helper()
	require.NoError(t, s.Verity.Faults.Add(fault.Fault{Kind: fault.Hang}))
}

// waitForRequests waits until Verity was sent so many requests.
func waitForRequests(t *testing.T, s *system.System, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return s.Verity.Requests.Total() >= n }, systemtest.Timeout, systemtest.Tick)
}

// booking is an appointment of a contact of its own, whom Verity comes to know by the webhook.
func booking(s *system.System) ghlsender.Webhook {
	contact := ghlsender.Contact{FirstName: "Ann", Email: ghlsender.NewID() + "@example.com"}
	at := time.Now().Add(-time.Minute)
	return s.Sender.WorkflowAppointment(ghlsender.Appointment{
		ID: ghlsender.NewID(), ContactID: ghlsender.NewID(), Status: "confirmed", Start: at.Add(24 * time.Hour), UpdatedAt: at,
	}, contact)
}

func TestAnEventIsDoneOnceThoughItsControllerIsKilled(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1})
	hang(t, s)
	id := systemtest.Post(t, s, booking(s))
	waitForRequests(t, s, 1)
	systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseProcessing)
	require.NoError(t, s.Controllers[0].Kill())
	assert.Equal(t, row{Status: "processing", Attempts: 1}, rowOf(t, s, id))

	require.NoError(t, s.Controllers[0].Start(t.Context()))

	e := systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
	assert.Equal(t, int32(2), e.Status.Attempts, "the attempt that was cut off counts")
	assert.Equal(t, row{Status: "done", Attempts: 2, Reason: "Done"}, rowOf(t, s, id))
	requests := s.Verity.Requests.Requests(http.MethodPost, "")
	require.Len(t, requests, 2)
	for _, r := range requests {
		assert.Equal(t, id, r.Header.Get("Idempotency-Key"))
	}
	times, _ := systemtest.Forwards(s, id)
	assert.Equal(t, 1, times)
	assert.Equal(t, map[string]int{"verity.forward success": 1, "verity.lead success": 1}, ledgerOf(t, s, id))
	leads, err := s.VerityDatabase.Leads(t.Context())
	require.NoError(t, err)
	assert.Len(t, leads, 1)
}

func TestADeletedWebhookEventIsCreatedAgainUnlessItIsFinished(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1})
	finished := systemtest.Post(t, s, booking(s))
	before := systemtest.WaitForPhase(t, s, finished, v1alpha1.PhaseDone)
	unavailable := fault.Status(http.StatusServiceUnavailable)
	unavailable.DelayMillis, unavailable.Times = 1000, -1
	require.NoError(t, s.Verity.Faults.Add(unavailable))
	unfinished := systemtest.Post(t, s, booking(s))
	deleted := systemtest.WaitForPhase(t, s, unfinished, v1alpha1.PhaseProcessing)

	// What is finished goes first, so that it would be back when the other one is.
	require.NoError(t, s.Kubernetes.Delete(t.Context(), before))
	require.NoError(t, s.Kubernetes.Delete(t.Context(), deleted))

	systemtest.Eventually(t, func(c *assert.CollectT) {
		back, err := systemtest.Get(t.Context(), s, unfinished)
		require.NoError(c, err)
		require.NotEqual(c, deleted.UID, back.UID)
	})
	_, err := systemtest.Get(t.Context(), s, finished)
	require.True(t, apierrors.IsNotFound(err), "%v", err)

	s.Verity.Faults.Clear()
	systemtest.WaitForPhase(t, s, unfinished, v1alpha1.PhaseDone)
	times, _ := systemtest.Forwards(s, unfinished)
	assert.Equal(t, 1, times)
	assert.Equal(t, row{Status: "done", Attempts: 1, Reason: "Done"}, rowOf(t, s, finished))
	assert.Equal(t, map[string]int{"verity.forward success": 1, "verity.lead success": 1}, ledgerOf(t, s, finished))
	times, _ = systemtest.Forwards(s, finished)
	assert.Equal(t, 1, times)
}

func TestWithoutPostgresWebhooksAreAskedForAgainAndNothingIsLost(t *testing.T) {
	t.Parallel()
	s := startOnOwnPostgres(t, system.Options{Receivers: 1, Controllers: 1})
	receiver, controller := s.Receivers[0], s.Controllers[0]
	receiverPID, controllerPID := receiver.PID(), controller.PID()
	hang(t, s)
	underWay := systemtest.Post(t, s, booking(s))
	waitForRequests(t, s, 1)

	require.NoError(t, s.Postgres.Stop(postgres.Fast))
	s.Verity.Faults.Clear()
	missed := booking(s)
	for range 3 {
		asked := time.Now()
		answer, err := s.Post(t.Context(), receiver, missed)
		require.NoError(t, err)
		assert.Equal(t, http.StatusTooManyRequests, answer.Status)
		assert.NotEmpty(t, answer.Header.Get("Retry-After"))
		assert.Less(t, time.Since(asked), 5*time.Second)
	}
	assert.Equal(t, http.StatusOK, statusOf(t, receiver.URL+"/readyz"), "out of the load balancer, it could not even say 429")

	ctx, cancel := context.WithTimeout(t.Context(), systemtest.Timeout)
	defer cancel()
	require.NoError(t, s.Postgres.Start(ctx))
	var again system.Answer
	systemtest.Eventually(t, func(c *assert.CollectT) {
		var err error
		again, err = s.Post(t.Context(), receiver, missed)
		require.NoError(c, err)
		require.Equal(c, http.StatusOK, again.Status)
	})

	for _, id := range []string{underWay, again.ID} {
		systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
		times, _ := systemtest.Forwards(s, id)
		assert.Equal(t, 1, times)
	}
	var events int
	require.NoError(t, s.Database.QueryRow(t.Context(), "SELECT count(*) FROM webhook_events").Scan(&events))
	assert.Equal(t, 2, events)
	assert.Equal(t, receiverPID, receiver.PID())
	assert.Equal(t, controllerPID, controller.PID())
	assert.True(t, receiver.Running() && controller.Running(), "no process was restarted")
}
