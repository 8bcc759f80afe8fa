package controllers_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
)

// of creates a WebhookEvent without a row that is labelled as an installation's, "" for none.
func (s *suite) of(installation string, phase v1alpha1.WebhookEventPhase, edit ...func(*v1alpha1.WebhookEvent)) *v1alpha1.WebhookEvent {
	s.t.Helper()
	id := uuid.NewString()
	e := &v1alpha1.WebhookEvent{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: v1alpha1.NameOf("ghl", id),
			Annotations: map[string]string{v1alpha1.ReplayRequestedAtAnnotation: "of the other's users"},
		},
		Spec: v1alpha1.WebhookEventSpec{
			EventID: id, Source: "ghl", EventType: "contact.updated", EntityType: "contact", ReceivedAt: metav1.NowMicro(),
		},
	}
	if installation != "" {
		e.Labels = map[string]string{v1alpha1.InstallationLabel: installation}
	}
	for _, f := range edit {
		f(e)
	}
	require.NoError(s.t, s.client.Create(s.t.Context(), e))
	e.Status.Phase = phase
	require.NoError(s.t, s.client.Status().Update(s.t.Context(), e))
	return e
}

func TestWebhookEventsOfAnotherInstallationAreLeftAlone(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(s *settings) {
		s.paused, s.audit = true, 50*time.Millisecond
		s.ttl, s.finishedLimit, s.maxWaiting = controllers.TTL{Error: time.Hour}, 0, 0
	})
	own, err := s.db.Installation(t.Context())
	require.NoError(t, err)
	var foreign []*v1alpha1.WebhookEvent
	for _, phase := range []v1alpha1.WebhookEventPhase{v1alpha1.PhasePending, v1alpha1.PhaseProcessing, v1alpha1.PhaseDone, v1alpha1.PhaseError} {
		foreign = append(foreign, s.of(uuid.NewString(), phase))
	}
	// Without a row, one's own is shown as such and deleted; so are those of 0.1.0, which have no label.
	s.of(own, v1alpha1.PhasePending)
	s.of("", v1alpha1.PhasePending)
	edited := s.post("apt1")
	s.until(edited, "created", func(e *v1alpha1.WebhookEvent) bool { return e.Labels[v1alpha1.InstallationLabel] == own })
	s.change(edited, func(e *v1alpha1.WebhookEvent) { e.Labels[v1alpha1.InstallationLabel] = "no-uuid" })

	s.start()

	require.True(t, eventually(func() bool { return s.sync.calls(edited) == 1 }), "a label that was edited stops nothing")
	require.True(t, eventually(func() bool {
		var list v1alpha1.WebhookEventList
		require.NoError(t, s.client.List(t.Context(), &list, client.InNamespace(s.namespace)))
		return len(list.Items) == len(foreign)
	}), "one's own are deleted")
	audited := s.post("apt2") // It comes back by an audit.
	s.exec(`UPDATE webhook_events SET dispatched_at = now() - interval '1 hour' WHERE id = $1`, audited)
	require.True(t, eventually(func() bool { return s.sync.calls(audited) == 1 }))
	for _, e := range foreign {
		now := &v1alpha1.WebhookEvent{}
		require.NoError(t, s.client.Get(t.Context(), client.ObjectKeyFromObject(e), now))
		assert.Equal(t, e.ResourceVersion, now.ResourceVersion, "%s is as it was", e.Status.Phase)
	}
}
