package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

func TestAnEventThatAnAdmissionPolicyDeniesWaitsAndContinuesByItself(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1})
	lift, err := s.DenyWebhookEvents(t.Context(), "object.spec.entityType != 'opportunity'")
	require.NoError(t, err)
	opportunity := ghlsender.Opportunity{ID: ghlsender.NewID(), ContactID: ghlsender.NewID()}

	first := systemtest.Post(t, s, s.Sender.Opportunity(ghlsender.Create, opportunity))
	second := systemtest.Post(t, s, s.Sender.Opportunity(ghlsender.Update, opportunity))
	other := systemtest.Post(t, s, note(s))

	systemtest.WaitForPhase(t, s, other, v1alpha1.PhaseDone)
	for _, id := range []string{first, second} {
		require.Eventually(t, func() bool { return rowOf(t, s, id).Reason != "" }, systemtest.Timeout, systemtest.Tick)
		assert.Equal(t, row{Status: "pending", Reason: v1alpha1.NotCreatedReason}, rowOf(t, s, id))
	}

	require.NoError(t, lift(t.Context()))

	for _, id := range []string{first, second} {
		systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
		assert.Equal(t, row{Status: "done", Attempts: 1, Reason: "Done"}, rowOf(t, s, id))
		times, _ := systemtest.Forwards(s, id)
		assert.Equal(t, 1, times)
	}
	var ordered bool
	require.NoError(t, s.Database.QueryRow(t.Context(), `
		SELECT b.started_at >= a.processed_at FROM webhook_events a, webhook_events b WHERE a.id = $1 AND b.id = $2`, first, second).Scan(&ordered))
	assert.True(t, ordered, "the younger event of an entity waits for the older one")
}
