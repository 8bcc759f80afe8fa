package controllers_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

func TestUnderLoadOnlyALongAttemptShowsProcessing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		// long has the entities whose attempts take long. They are in progress before the short one is delivered.
		long []string
		// short is the entity of the observed attempt.
		short string
		// late is true if the attempt starts long after the receipt.
		late   bool
		phases []v1alpha1.WebhookEventPhase
	}{
		"all workers but one are busy": {
			long: []string{"a", "b", "c"}, short: "short", phases: []v1alpha1.WebhookEventPhase{v1alpha1.PhasePending, v1alpha1.PhaseDone},
		},
		"it starts late, and another attempt is in progress": {
			long: []string{"a", "b"}, short: "a", late: true, phases: []v1alpha1.WebhookEventPhase{v1alpha1.PhasePending, v1alpha1.PhaseDone},
		},
		"it starts late, and no other attempt is in progress": {
			long: []string{"a"}, short: "a", late: true,
			phases: []v1alpha1.WebhookEventPhase{v1alpha1.PhasePending, v1alpha1.PhaseProcessing, v1alpha1.PhaseDone},
		},
		"it starts at once, and another attempt is in progress": {
			long: []string{"a"}, short: "short",
			phases: []v1alpha1.WebhookEventPhase{v1alpha1.PhasePending, v1alpha1.PhaseProcessing, v1alpha1.PhaseDone},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			first, others := make(chan struct{}), make(chan struct{})
			env.forward.script(func(_ int, e *store.Attempt) operation.Outcome {
				switch slices.Index(test.long, e.Event.EntityID) {
				case -1:
				case 0:
					<-first
				default:
					<-others
				}
				return operation.Outcome{}
			})
			var long []uuid.UUID
			for _, entity := range test.long {
				long = append(long, env.deliver(entity))
				env.waitForPhase(long[len(long)-1], v1alpha1.PhaseProcessing)
			}
			watch, err := env.client.Watch(t.Context(), &v1alpha1.WebhookEventList{}, client.InNamespace(env.namespace))
			require.NoError(t, err)
			defer watch.Stop()
			short := env.deliver(test.short)
			if test.late { // It waits for the first event, which is older.
				env.waitForReason(short, v1alpha1.WaitingForOlderEventReason)
				env.exec("UPDATE webhook_events SET received_at = received_at - interval '10 seconds'")
				close(first)
			}
			var phases []v1alpha1.WebhookEventPhase
			for e := range watch.ResultChan() {
				we, ok := e.Object.(*v1alpha1.WebhookEvent)
				if ok && we.Spec.EventID == short.String() && !slices.Contains(phases, we.Status.Phase) {
					phases = append(phases, we.Status.Phase)
				}
				if slices.Contains(phases, v1alpha1.PhaseDone) {
					break
				}
			}
			assert.Equal(t, test.phases, phases)
			if !test.late {
				close(first)
			}
			close(others)
			for _, id := range long {
				env.waitForPhase(id, v1alpha1.PhaseDone)
			}
		})
	}
}
