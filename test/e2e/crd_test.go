package e2e

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// newObject returns a WebhookEvent that the API server accepts, in a namespace that no controller watches.
func newObject(s *system.System) *v1alpha1.WebhookEvent {
	id := uuid.NewString()
	return &v1alpha1.WebhookEvent{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: nameOf(id)},
		Spec: v1alpha1.WebhookEventSpec{
			EventID: id, Source: "ghl", EventType: "appointment.created", EntityType: "appointment", EntityID: "entity-" + id,
			LocationID: "location", ContactID: "contact", ReceivedAt: metav1.NowMicro(),
		},
	}
}

func create(t *testing.T, s *system.System) *v1alpha1.WebhookEvent {
	t.Helper()
	object := newObject(s)
	require.NoError(t, s.Kubernetes.Create(t.Context(), object))
	return object
}

func TestAWebhookEventWithoutStatusIsPendingAndFoundAsSuch(t *testing.T) {
	t.Parallel()
	s := systemtest.Shared(t)
	object := create(t, s)

	read, err := systemtest.Get(t.Context(), s, object.Spec.EventID)
	require.NoError(t, err)
	assert.Equal(t, v1alpha1.PhasePending, read.Status.Phase)
	for field, value := range map[string]string{
		".status.phase":    "Pending",
		".spec.eventType":  object.Spec.EventType,
		".spec.entityType": object.Spec.EntityType,
		".spec.entityID":   object.Spec.EntityID,
	} {
		assert.Contains(t, namesBy(t, s, field, value), object.Name, field)
		assert.NotContains(t, namesBy(t, s, field, "another"), object.Name, field)
	}

	read.Status.Phase = v1alpha1.PhaseDone
	require.NoError(t, s.Kubernetes.Status().Update(t.Context(), read))
	assert.NotContains(t, namesBy(t, s, ".status.phase", "Pending"), object.Name)
	assert.Contains(t, namesBy(t, s, ".status.phase", "Done"), object.Name)
}

func namesBy(t *testing.T, s *system.System, field, value string) []string {
	t.Helper()
	var list v1alpha1.WebhookEventList
	require.NoError(t, s.Kubernetes.List(t.Context(), &list, client.InNamespace(s.Namespace), client.MatchingFields{field[1:]: value}))
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

func TestTheSpecOfAWebhookEventIsImmutable(t *testing.T) {
	t.Parallel()
	s := systemtest.Shared(t)
	for field, change := range map[string]func(*v1alpha1.WebhookEventSpec){
		"eventID":            func(spec *v1alpha1.WebhookEventSpec) { spec.EventID = uuid.NewString() },
		"source":             func(spec *v1alpha1.WebhookEventSpec) { spec.Source = "another" },
		"eventType":          func(spec *v1alpha1.WebhookEventSpec) { spec.EventType = "another" },
		"entityType":         func(spec *v1alpha1.WebhookEventSpec) { spec.EntityType = "another" },
		"entityID":           func(spec *v1alpha1.WebhookEventSpec) { spec.EntityID = "another" },
		"entityID, removed":  func(spec *v1alpha1.WebhookEventSpec) { spec.EntityID = "" },
		"locationID":         func(spec *v1alpha1.WebhookEventSpec) { spec.LocationID = "another" },
		"locationID, gone":   func(spec *v1alpha1.WebhookEventSpec) { spec.LocationID = "" },
		"contactID":          func(spec *v1alpha1.WebhookEventSpec) { spec.ContactID = "another" },
		"contactID, removed": func(spec *v1alpha1.WebhookEventSpec) { spec.ContactID = "" },
		"receivedAt":         func(spec *v1alpha1.WebhookEventSpec) { spec.ReceivedAt = metav1.NewMicroTime(time.Unix(0, 0)) },
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			object := create(t, s)
			change(&object.Spec)
			err := s.Kubernetes.Update(t.Context(), object)
			require.True(t, apierrors.IsInvalid(err), "%v", err)
			assert.ErrorContains(t, err, "spec is immutable: only suspend can be changed")
		})
	}
	t.Run("all but suspend", func(t *testing.T) {
		t.Parallel()
		object := create(t, s)
		for _, suspend := range []bool{true, false} {
			object.Spec.Suspend = suspend
			require.NoError(t, s.Kubernetes.Update(t.Context(), object))
		}
	})
}

func TestWhatTheAPIServerRefuses(t *testing.T) {
	t.Parallel()
	s := systemtest.Shared(t)
	for name, test := range map[string]struct {
		change func(*v1alpha1.WebhookEvent)
		says   string
	}{
		"a second name for an event": {
			func(e *v1alpha1.WebhookEvent) { e.Name += "-2" }, "metadata.name must be <spec.source>-<spec.eventID>",
		},
		"the name of another event": {
			func(e *v1alpha1.WebhookEvent) { e.Name = nameOf(uuid.NewString()) }, "metadata.name must be <spec.source>-<spec.eventID>",
		},
		"the name of another source": {
			func(e *v1alpha1.WebhookEvent) { e.Spec.Source = "other" }, "metadata.name must be <spec.source>-<spec.eventID>",
		},
		"an event id that is none": {
			func(e *v1alpha1.WebhookEvent) { e.Spec.EventID, e.Name = "x", "ghl-x" }, "spec.eventID",
		},
		"no event type": {func(e *v1alpha1.WebhookEvent) { e.Spec.EventType = "" }, "spec.eventType"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := newObject(s)
			test.change(object)
			err := s.Kubernetes.Create(t.Context(), object)
			require.True(t, apierrors.IsInvalid(err), "%v", err)
			assert.ErrorContains(t, err, test.says)
		})
	}
	t.Run("a phase that does not exist", func(t *testing.T) {
		t.Parallel()
		object := create(t, s)
		object.Status.Phase = "Lost"
		err := s.Kubernetes.Status().Update(t.Context(), object)
		require.True(t, apierrors.IsInvalid(err), "%v", err)
		assert.ErrorContains(t, err, "status.phase")
	})
}
