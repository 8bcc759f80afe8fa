package controllers_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// What a WebhookEvent says of its next attempt is a projection as well: somebody may have written it.
func TestATimeThatAUserWroteDoesNotPutTheNextAttemptOff(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(set *settings) { set.backoff.Base, set.backoff.Max = 2*time.Second, 2*time.Second })
	s.forward.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call == 1 {
			return failing(destination.Transient, "answered 503")
		}
		return operation.Outcome{}
	})
	id := s.post("apt1")
	e := s.untilReason(id, v1alpha1.RetryScheduledReason)
	later := metav1.NewTime(time.Now().AddDate(1, 0, 0))
	e.Status.NextAttemptTime = &later
	require.NoError(t, s.client.Status().Update(t.Context(), e))
	s.untilPhase(id, v1alpha1.PhaseDone)
}

func TestAnEventThatIsNoLongerSuspendedWaitsAsItWouldHave(t *testing.T) {
	t.Parallel()
	t.Run("for its turn at a destination", func(t *testing.T) {
		t.Parallel()
		n := newNarrow(1)
		s := newSuite(t, n.configure)
		s.sync.script(n.answer)
		first := s.post("apt0")
		require.Equal(t, first, <-n.begun)
		waiting := s.post("apt1")
		s.untilReason(waiting, v1alpha1.WaitingForCapacityReason)
		s.change(waiting, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = true })
		s.untilReason(waiting, v1alpha1.SuspendedReason)

		s.change(waiting, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = false })
		s.untilReason(waiting, v1alpha1.WaitingForCapacityReason)
		n.end <- struct{}{}
		require.Equal(t, waiting, <-n.begun, "its turn comes, long before the hour of its next attempt")
		n.end <- struct{}{}
		s.untilPhase(waiting, v1alpha1.PhaseDone)
	})
	t.Run("for its next attempt, before the younger events of its entity", func(t *testing.T) {
		t.Parallel()
		s := newSuite(t, func(set *settings) { set.backoff.Base, set.backoff.Max = time.Hour, time.Hour })
		s.forward.script(func(int, *store.Attempt) operation.Outcome { return failing(destination.Transient, "answered 503") })
		first := s.post("apt1")
		before := s.untilReason(first, v1alpha1.RetryScheduledReason)
		s.change(first, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = true })
		s.untilReason(first, v1alpha1.SuspendedReason)

		s.change(first, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = false })
		after := s.untilReason(first, v1alpha1.RetryScheduledReason)
		assert.Equal(t, before.Status.NextAttemptTime, after.Status.NextAttemptTime)
		second := s.post("apt1")
		s.untilReason(second, v1alpha1.WaitingForOlderEventReason)
		assert.Zero(t, s.forward.calls(second))
	})
}
