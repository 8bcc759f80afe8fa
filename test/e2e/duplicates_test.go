package e2e

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

func TestADeliveryThatReachesTwoReceiversAtOnceIsOneEvent(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 2, Controllers: 1})
	webhook := s.Sender.Contact(ghlsender.Update, ghlsender.Contact{ID: ghlsender.NewID(), FirstName: "Ann"})

	const posts = 16
	answers := make([]system.Answer, posts)
	var wg sync.WaitGroup
	for i := range posts {
		wg.Go(func() {
			var err error
			answers[i], err = s.Post(t.Context(), s.Receivers[i%len(s.Receivers)], webhook)
			assert.NoError(t, err)
		})
	}
	wg.Wait()

	outcomes := map[string]int{}
	for _, answer := range answers {
		assert.Equal(t, http.StatusOK, answer.Status)
		assert.Equal(t, answers[0].ID, answer.ID, "every answer names the same event")
		outcomes[answer.Outcome]++
	}
	assert.Equal(t, map[string]int{"accepted": 1, "duplicate": posts - 1}, outcomes)
	systemtest.WaitForPhase(t, s, answers[0].ID, v1alpha1.PhaseDone)
	var rows int
	require.NoError(t, s.Database.QueryRow(t.Context(), "SELECT count(*) FROM webhook_events").Scan(&rows))
	assert.Equal(t, 1, rows)
	var objects v1alpha1.WebhookEventList
	require.NoError(t, s.Kubernetes.List(t.Context(), &objects, client.InNamespace(s.Namespace)))
	assert.Len(t, objects.Items, 1)
	assert.Equal(t, 1, s.Verity.Requests.Total())
}
