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

// createObject creates a WebhookEvent without a row, with the label of an installation, or without the label for "".
func (env *environment) createObject(installation string, phase v1alpha1.WebhookEventPhase, edit ...func(*v1alpha1.WebhookEvent)) *v1alpha1.WebhookEvent {
	env.t.Helper()
	id := uuid.NewString()
	e := &v1alpha1.WebhookEvent{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: env.namespace, Name: v1alpha1.NameOf("ghl", id),
			Annotations: map[string]string{v1alpha1.ReplayRequestedAtAnnotation: "by a user of the other installation"},
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
	require.NoError(env.t, env.client.Create(env.t.Context(), e))
	e.Status.Phase = phase
	require.NoError(env.t, env.client.Status().Update(env.t.Context(), e))
	return e
}

func TestControllerIgnoresWebhookEventsOfAnotherInstallation(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(s *settings) {
		s.paused, s.audit = true, 50*time.Millisecond
		s.ttl, s.finishedLimit, s.maxWaiting = controllers.TTL{Error: time.Hour}, 0, 0
	})
	own, err := env.db.Installation(t.Context())
	require.NoError(t, err)
	var foreign []*v1alpha1.WebhookEvent
	for _, phase := range []v1alpha1.WebhookEventPhase{v1alpha1.PhasePending, v1alpha1.PhaseProcessing, v1alpha1.PhaseDone, v1alpha1.PhaseError} {
		foreign = append(foreign, env.createObject(uuid.NewString(), phase))
	}
	// Its own objects without a row end in error and are deleted, and so are those of 0.1.0, which have no label.
	env.createObject(own, v1alpha1.PhasePending)
	env.createObject("", v1alpha1.PhasePending)
	edited := env.deliver("apt1")
	env.waitUntil(edited, "created", func(e *v1alpha1.WebhookEvent) bool { return e.Labels[v1alpha1.InstallationLabel] == own })
	env.edit(edited, func(e *v1alpha1.WebhookEvent) { e.Labels[v1alpha1.InstallationLabel] = "no-uuid" })

	env.start()

	require.True(t, waitFor(func() bool { return env.sync.calls(edited) == 1 }), "an edited label does not stop the event")
	require.True(t, waitFor(func() bool {
		var list v1alpha1.WebhookEventList
		require.NoError(t, env.client.List(t.Context(), &list, client.InNamespace(env.namespace)))
		return len(list.Items) == len(foreign)
	}), "its own objects are deleted")
	audited := env.deliver("apt2") // An audit has it recreated.
	env.exec(`UPDATE webhook_events SET dispatched_at = now() - interval '1 hour' WHERE id = $1`, audited)
	require.True(t, waitFor(func() bool { return env.sync.calls(audited) == 1 }))
	for _, e := range foreign {
		now := &v1alpha1.WebhookEvent{}
		require.NoError(t, env.client.Get(t.Context(), client.ObjectKeyFromObject(e), now))
		assert.Equal(t, e.ResourceVersion, now.ResourceVersion, "%s is unchanged", e.Status.Phase)
	}
}
