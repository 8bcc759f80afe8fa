package controllers_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// limitedDestination is a destination with a concurrency limit. The test ends each call.
type limitedDestination struct {
	limit    *destination.Bulkhead
	breaker  *destination.Breaker
	released chan struct{}
	// started receives the event of each call, in order. A send to end ends a call.
	started chan uuid.UUID
	end     chan struct{}
}

func newLimitedDestination(calls int) *limitedDestination {
	limited := &limitedDestination{released: make(chan struct{}, 1), started: make(chan uuid.UUID, 100), end: make(chan struct{})}
	limited.limit = destination.NewBulkhead("narrow", calls, func() {
		select {
		case limited.released <- struct{}{}:
		default:
		}
	})
	limited.breaker = destination.NewBreaker("narrow", destination.BreakerOptions{Calls: limited.limit})
	return limited
}

func (limited *limitedDestination) answer(_ int, e *store.Attempt) operation.Outcome {
	err := limited.breaker.Do(context.Background(), func(context.Context) error {
		limited.started <- e.ID
		<-limited.end
		return nil
	})
	if err != nil {
		return operation.Outcome{Err: err, Wait: limited.breaker.WaitAfter(err)}
	}
	return operation.Done(v1alpha1.ResultContactSynced)
}

func (limited *limitedDestination) configure(set *settings) {
	// Within the test, no event retries without the Releaser.
	set.backoff = controllers.Backoff{Base: time.Millisecond, Max: time.Hour, MaxAttempts: 2}
	set.outages = func() (down, allowTrial []string) { return destination.Outages(limited.breaker) }
	set.capacity = controllers.Capacity{
		Slots: func() []destination.Slots { return []destination.Slots{limited.limit.Slots()} }, Released: limited.released,
	}
}

func TestEventsAtAConcurrencyLimitWaitInOrderAndWithoutAFailedAttempt(t *testing.T) {
	t.Parallel()
	limited := newLimitedDestination(1)
	env := newEnvironment(t, limited.configure)
	env.sync.script(limited.answer)
	first := env.deliver("apt0")
	require.Equal(t, first, <-limited.started)
	waiting := []uuid.UUID{env.deliver("apt1"), env.deliver("apt2"), env.deliver("apt3"), env.deliver("apt4"), env.deliver("apt5")}
	for _, id := range waiting {
		e := env.waitForReason(id, v1alpha1.WaitingForCapacityReason)
		assert.Equal(t, v1alpha1.PhasePending, e.Status.Phase)
		assert.Zero(t, e.Status.Attempts)
		ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition)
		assert.Contains(t, ready.Message, "narrow: the concurrency limit of 1 calls is reached; this attempt does not count; "+
			"next attempt when a slot is free, at the latest at ")
		assert.True(t, meta.IsStatusConditionTrue(e.Status.Conditions, v1alpha1.ForwardedCondition), "forward and sync are independent")
		synced := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.SyncedCondition)
		assert.Equal(t, metav1.ConditionFalse, synced.Status)
		assert.Equal(t, v1alpha1.WaitingForCapacityReason, synced.Reason)
		assert.Equal(t, 1, env.sync.calls(id), "it ran once")
		assert.Equal(t, "places:narrow", query[string](env, `SELECT array_to_string(held_by, ',') FROM webhook_events WHERE id = $1`, id))
	}
	for _, id := range waiting {
		limited.end <- struct{}{}
		require.Equal(t, id, <-limited.started, "the oldest event is released first")
	}
	limited.end <- struct{}{}
	for _, id := range append(waiting, first) {
		assert.Equal(t, int32(1), env.waitForPhase(id, v1alpha1.PhaseDone).Status.Attempts)
		assert.LessOrEqual(t, env.sync.calls(id), 2, "only the first attempt found no free slot")
	}
	assert.Zero(t, query[int64](env, `SELECT count(*) FROM sync_log WHERE status = 'error'`))
	assert.Equal(t, int64(12), query[int64](env, `SELECT count(*) FROM sync_log WHERE status = 'success'`))
	var events eventsv1.EventList
	require.NoError(t, env.client.List(t.Context(), &events, client.InNamespace(env.namespace)))
	for _, e := range events.Items {
		assert.NotEqual(t, v1alpha1.WaitingForCapacityReason, e.Reason, "a wait for a slot publishes no Kubernetes Event")
	}
}

func TestNewLeaderReleasesEventsThatWaitForASlot(t *testing.T) {
	t.Parallel()
	limited := newLimitedDestination(2)
	env := newEnvironment(t, limited.configure)
	env.sync.script(limited.answer)
	id := env.deliver("apt1")
	<-limited.started
	limited.end <- struct{}{}
	env.waitForPhase(id, v1alpha1.PhaseDone)
	// The row is as an earlier leader, with its own calls, left it.
	env.stop()
	left := env.deliver("apt2")
	env.exec(`UPDATE webhook_events SET held_by = '{places:narrow}', reason = 'WaitingForCapacity', next_attempt_at = now() + interval '1 hour'
		WHERE id = $1`, left)
	env.start()
	require.Equal(t, left, <-limited.started)
	limited.end <- struct{}{}
	env.waitForPhase(left, v1alpha1.PhaseDone)
}

func TestEventThatWaitsForADownDestinationAndASlotIsReleasedWhenTheDestinationIsUp(t *testing.T) {
	t.Parallel()
	limited := newLimitedDestination(1)
	down := make(chan bool, 1)
	down <- true
	isDown := true
	env := newEnvironment(t, limited.configure, func(set *settings) {
		set.outages = func() ([]string, []string) {
			select {
			case isDown = <-down:
			default:
			}
			if isDown {
				return []string{"verity-http"}, nil
			}
			return nil, nil
		}
	})
	env.sync.script(limited.answer)
	env.forward.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call == 2 {
			outcome := failing(destination.Unavailable, "answered 401 Unauthorized")
			outcome.Wait = time.Hour
			return outcome
		}
		return operation.Done("")
	})
	first := env.deliver("apt1")
	require.Equal(t, first, <-limited.started)
	both := env.deliver("apt2")
	env.waitForReason(both, v1alpha1.DestinationUnavailableReason)
	assert.Equal(t, "verity-http,places:narrow", query[string](env, `SELECT array_to_string(held_by, ',') FROM webhook_events WHERE id = $1`, both))
	limited.end <- struct{}{}
	env.waitForPhase(first, v1alpha1.PhaseDone)
	down <- false
	require.Equal(t, both, <-limited.started)
	limited.end <- struct{}{}
	env.waitForPhase(both, v1alpha1.PhaseDone)
}
