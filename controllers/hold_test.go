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

// The nextAttemptTime of a WebhookEvent is a projection, too: a user can overwrite it.
func TestUsersEditOfNextAttemptTimeDoesNotDelayTheAttempt(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(set *settings) { set.backoff.Base, set.backoff.Max = 2*time.Second, 2*time.Second })
	env.forward.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call == 1 {
			return failing(destination.Transient, "answered 503")
		}
		return operation.Outcome{}
	})
	id := env.deliver("apt1")
	e := env.waitForReason(id, v1alpha1.RetryScheduledReason)
	later := metav1.NewTime(time.Now().AddDate(1, 0, 0))
	e.Status.NextAttemptTime = &later
	require.NoError(t, env.client.Status().Update(t.Context(), e))
	env.waitForPhase(id, v1alpha1.PhaseDone)
}

func TestResumedEventWaitsAsBeforeItsSuspension(t *testing.T) {
	t.Parallel()
	t.Run("for a slot at a destination", func(t *testing.T) {
		t.Parallel()
		limited := newLimitedDestination(1)
		env := newEnvironment(t, limited.configure)
		env.sync.script(limited.answer)
		first := env.deliver("apt0")
		require.Equal(t, first, <-limited.started)
		waiting := env.deliver("apt1")
		env.waitForReason(waiting, v1alpha1.WaitingForCapacityReason)
		env.edit(waiting, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = true })
		env.waitForReason(waiting, v1alpha1.SuspendedReason)

		env.edit(waiting, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = false })
		env.waitForReason(waiting, v1alpha1.WaitingForCapacityReason)
		limited.end <- struct{}{}
		require.Equal(t, waiting, <-limited.started, "it is released long before nextAttemptTime, which is an hour away")
		limited.end <- struct{}{}
		env.waitForPhase(waiting, v1alpha1.PhaseDone)
	})
	t.Run("for its next attempt, ahead of the younger events of its entity", func(t *testing.T) {
		t.Parallel()
		env := newEnvironment(t, func(set *settings) { set.backoff.Base, set.backoff.Max = time.Hour, time.Hour })
		env.forward.script(func(int, *store.Attempt) operation.Outcome { return failing(destination.Transient, "answered 503") })
		first := env.deliver("apt1")
		before := env.waitForReason(first, v1alpha1.RetryScheduledReason)
		env.edit(first, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = true })
		env.waitForReason(first, v1alpha1.SuspendedReason)

		env.edit(first, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = false })
		after := env.waitForReason(first, v1alpha1.RetryScheduledReason)
		assert.Equal(t, before.Status.NextAttemptTime, after.Status.NextAttemptTime)
		second := env.deliver("apt1")
		env.waitForReason(second, v1alpha1.WaitingForOlderEventReason)
		assert.Zero(t, env.forward.calls(second))
	})
}
