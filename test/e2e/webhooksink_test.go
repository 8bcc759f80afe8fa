package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/sim/webhooksink"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

func sentOf(e *v1alpha1.WebhookEvent) *metav1.Condition {
	return meta.FindStatusCondition(e.Status.Conditions, v1alpha1.SentCondition)
}

func messageOf(s *system.System, id string) (found []webhooksink.Message) {
	for _, m := range s.WebhookSink.Messages() {
		if m.ID == id {
			found = append(found, m)
		}
	}
	return found
}

// TestTheWebhookSinkGetsEveryEvent runs a system whose sink fails, refuses and recovers.
func TestTheWebhookSinkGetsEveryEvent(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1, WebhookSink: true})

	t.Run("as a signed message with the payload, besides the other operations", func(t *testing.T) {
		contact := s.Sender.Contact(ghlsender.Create, ghlsender.Contact{ID: ghlsender.NewID(), FirstName: "Ann", Phone: "+12055550142"})
		id := systemtest.Post(t, s, contact)
		e := systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
		assert.Equal(t, v1alpha1.ResultContactSynced, e.Status.Result)
		if sent := sentOf(e); assert.NotNil(t, sent) {
			assert.Equal(t, metav1.ConditionTrue, sent.Status)
			assert.Equal(t, v1alpha1.SentReason, sent.Reason)
		}
		assert.Equal(t, map[string]int{"verity.forward success": 1, "aloware.contact success": 1, "webhook.sink success": 1}, ledgerOf(t, s, id))
		messages := messageOf(s, id)
		require.Len(t, messages, 1)
		assert.Equal(t, "contact.created", messages[0].Type)
		assert.Equal(t, e.Spec.EventType, messages[0].Type)
		assert.JSONEq(t, string(contact.Body), string(messages[0].Data))
		assert.Len(t, messages[0].Times, 1)
	})

	t.Run("of a type that is only forwarded, too", func(t *testing.T) {
		id := systemtest.Post(t, s, s.Sender.Opportunity(ghlsender.Create, ghlsender.Opportunity{ID: ghlsender.NewID()}))
		e := systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
		assert.Equal(t, v1alpha1.ResultForwardedOnly, e.Status.Result)
		assert.Len(t, messageOf(s, id), 1)
	})

	t.Run("after an outage, in the order of the entity, while the other operations succeed at once", func(t *testing.T) {
		down := fault.Status(http.StatusServiceUnavailable)
		down.Times = -1
		require.NoError(t, s.WebhookSink.Faults.Add(down))
		contact := ghlsender.Contact{ID: ghlsender.NewID(), FirstName: "Bob", Phone: "+12055550143"}
		first := systemtest.Post(t, s, s.Sender.Contact(ghlsender.Create, contact))
		contact.FirstName = "Rob"
		second := systemtest.Post(t, s, s.Sender.Contact(ghlsender.Update, contact))
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			e, err := systemtest.Get(t.Context(), s, first)
			require.NoError(c, err)
			sent := sentOf(e)
			require.NotNil(c, sent)
			require.Equal(c, v1alpha1.SendFailedReason, sent.Reason)
			require.True(c, meta.IsStatusConditionTrue(e.Status.Conditions, v1alpha1.ForwardedCondition))
			require.True(c, meta.IsStatusConditionTrue(e.Status.Conditions, v1alpha1.SyncedCondition))
			require.NotEqual(c, v1alpha1.PhaseDone, e.Status.Phase)
		}, systemtest.Timeout, systemtest.Tick)
		times, _ := systemtest.Forwards(s, first)
		assert.Equal(t, 1, times)
		assert.Empty(t, messageOf(s, first))

		s.WebhookSink.Faults.Clear()
		systemtest.WaitForPhase(t, s, second, v1alpha1.PhaseDone)
		systemtest.WaitForPhase(t, s, first, v1alpha1.PhaseDone)
		times, _ = systemtest.Forwards(s, first)
		assert.Equal(t, 1, times, "the ledger has the forward, so it is not repeated")
		var order []string
		for _, m := range s.WebhookSink.Messages() {
			if m.ID == first || m.ID == second {
				order = append(order, m.ID)
			}
		}
		assert.Equal(t, []string{first, second}, order)
	})

	t.Run("unless it refuses one: the event ends in error, and a replay sends only that message", func(t *testing.T) {
		require.NoError(t, s.WebhookSink.Faults.Add(fault.Status(http.StatusGone)))
		id := systemtest.Post(t, s, s.Sender.Contact(ghlsender.Create, ghlsender.Contact{ID: ghlsender.NewID(), FirstName: "Eve", Phone: "+12055550144"}))
		e := systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseError)
		ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition)
		assert.Equal(t, v1alpha1.RejectedReason, ready.Reason)
		assert.Contains(t, ready.Message, "webhook-sink: answered 410 Gone")
		assert.Equal(t, map[string]int{"verity.forward success": 1, "aloware.contact success": 1, "webhook.sink error": 1}, ledgerOf(t, s, id))

		e.Annotations = map[string]string{v1alpha1.ReplayRequestedAtAnnotation: "now"}
		require.NoError(t, s.Kubernetes.Update(t.Context(), e))
		systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
		assert.Len(t, messageOf(s, id), 1, "under the same id")
		times, _ := systemtest.Forwards(s, id)
		assert.Equal(t, 1, times)
	})

	t.Run("once more after a replay from the start, under an id of that run", func(t *testing.T) {
		id := systemtest.Post(t, s, s.Sender.Opportunity(ghlsender.Create, ghlsender.Opportunity{ID: ghlsender.NewID()}))
		e := systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
		e.Annotations = map[string]string{
			v1alpha1.ReplayRequestedAtAnnotation: "now", v1alpha1.ReplayFromAnnotation: v1alpha1.ReplayFromStart,
		}
		require.NoError(t, s.Kubernetes.Update(t.Context(), e))
		require.Eventually(t, func() bool { return len(messageOf(s, id+"-1")) == 1 }, systemtest.Timeout, systemtest.Tick)
		assert.Len(t, messageOf(s, id), 1)
	})

	t.Run("and no personal data shows in WebhookEvents or logs", func(t *testing.T) {
		list := &v1alpha1.WebhookEventList{}
		require.NoError(t, s.Kubernetes.List(t.Context(), list))
		shown, err := json.Marshal(list)
		require.NoError(t, err)
		log, err := s.Controllers[0].Log()
		require.NoError(t, err)
		for _, text := range []string{string(shown), log} {
			assert.NotContains(t, text, "+1205555014")
			assert.NotContains(t, text, s.WebhookSink.Secret)
		}
	})
}

// TestTheWebhookSinkIsNotPrivateUnlessAllowed has a sink on the loopback address of this machine, and no permission for it.
func TestTheWebhookSinkIsNotPrivateUnlessAllowed(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{
		Receivers: 1, Controllers: 1, WebhookSink: true, Env: map[string]string{"WEBHOOK_SINK_ALLOW_PRIVATE": "false"},
	})
	id := systemtest.Post(t, s, s.Sender.Contact(ghlsender.Create, ghlsender.Contact{ID: ghlsender.NewID(), FirstName: "Ann", Phone: "+12055550145"}))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		e, err := systemtest.Get(t.Context(), s, id)
		require.NoError(c, err)
		sent := sentOf(e)
		require.NotNil(c, sent)
		require.Equal(c, v1alpha1.SendFailedReason, sent.Reason)
		require.Contains(c, sent.Message, "WEBHOOK_SINK_ALLOW_PRIVATE")
		require.True(c, meta.IsStatusConditionTrue(e.Status.Conditions, v1alpha1.SyncedCondition))
	}, systemtest.Timeout, systemtest.Tick)
	assert.Zero(t, s.WebhookSink.Requests.Total())
}
