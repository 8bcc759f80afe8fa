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

// narrow is a destination that takes so many calls at a time, each of which lasts until it is let end.
type narrow struct {
	places  *destination.Bulkhead
	breaker *destination.Breaker
	left    chan struct{}
	// begun has the event of each call, in order; a receive from end lets a call end.
	begun chan uuid.UUID
	end   chan struct{}
}

func newNarrow(calls int) *narrow {
	n := &narrow{left: make(chan struct{}, 1), begun: make(chan uuid.UUID, 100), end: make(chan struct{})}
	n.places = destination.NewBulkhead("narrow", calls, func() {
		select {
		case n.left <- struct{}{}:
		default:
		}
	})
	n.breaker = destination.NewBreaker("narrow", destination.BreakerOptions{Calls: n.places})
	return n
}

func (n *narrow) answer(_ int, e *store.Attempt) operation.Outcome {
	err := n.breaker.Do(context.Background(), func(context.Context) error {
		n.begun <- e.ID
		<-n.end
		return nil
	})
	if err != nil {
		return operation.Outcome{Err: err, Wait: n.breaker.WaitAfter(err)}
	}
	return operation.Done(v1alpha1.ResultContactSynced)
}

func (n *narrow) configure(set *settings) {
	// Nothing goes on by itself within the test.
	set.backoff = controllers.Backoff{Base: time.Millisecond, Max: time.Hour, MaxAttempts: 2}
	set.outages = func() (down, mayTry []string) { return destination.Outages(n.breaker) }
	set.capacity = controllers.Capacity{
		Left: n.left, Vacancies: func() []destination.Vacancy { return []destination.Vacancy{n.places.Vacancy()} },
	}
}

func TestEventsWaitForTheirTurnAtADestinationInOrderAndWithoutAFailedAttempt(t *testing.T) {
	t.Parallel()
	n := newNarrow(1)
	s := newSuite(t, n.configure)
	s.sync.script(n.answer)
	first := s.post("apt0")
	require.Equal(t, first, <-n.begun)
	waiting := []uuid.UUID{s.post("apt1"), s.post("apt2"), s.post("apt3"), s.post("apt4"), s.post("apt5")}
	for _, id := range waiting {
		e := s.untilReason(id, v1alpha1.WaitingForCapacityReason)
		assert.Equal(t, v1alpha1.PhasePending, e.Status.Phase)
		assert.Zero(t, e.Status.Attempts)
		ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition)
		assert.Contains(t, ready.Message, "narrow: the limit of 1 calls at a time is reached; this attempt does not count; "+
			"next attempt when a slot is free, at the latest at ")
		assert.True(t, meta.IsStatusConditionTrue(e.Status.Conditions, v1alpha1.ForwardedCondition), "forward and sync are independent")
		synced := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.SyncedCondition)
		assert.Equal(t, metav1.ConditionFalse, synced.Status)
		assert.Equal(t, v1alpha1.WaitingForCapacityReason, synced.Reason)
		assert.Equal(t, 1, s.sync.calls(id), "it was tried once")
		assert.Equal(t, "places:narrow", value[string](s, `SELECT array_to_string(held_by, ',') FROM webhook_events WHERE id = $1`, id))
	}
	for _, id := range waiting {
		n.end <- struct{}{}
		require.Equal(t, id, <-n.begun, "the oldest goes on first")
	}
	n.end <- struct{}{}
	for _, id := range append(waiting, first) {
		assert.Equal(t, int32(1), s.untilPhase(id, v1alpha1.PhaseDone).Status.Attempts)
		assert.LessOrEqual(t, s.sync.calls(id), 2, "no attempt but the first was in vain")
	}
	assert.Zero(t, value[int64](s, `SELECT count(*) FROM sync_log WHERE status = 'error'`))
	assert.Equal(t, int64(12), value[int64](s, `SELECT count(*) FROM sync_log WHERE status = 'success'`))
	var events eventsv1.EventList
	require.NoError(t, s.client.List(t.Context(), &events, client.InNamespace(s.namespace)))
	for _, e := range events.Items {
		assert.NotEqual(t, v1alpha1.WaitingForCapacityReason, e.Reason, "nobody need hear of it")
	}
}

func TestEventsThatANewLeaderFindsWaitingForTheirTurnGoOn(t *testing.T) {
	t.Parallel()
	n := newNarrow(2)
	s := newSuite(t, n.configure)
	s.sync.script(n.answer)
	id := s.post("apt1")
	<-n.begun
	n.end <- struct{}{}
	s.untilPhase(id, v1alpha1.PhaseDone)
	// As an earlier leader has left it, with calls of its own.
	s.stop()
	left := s.post("apt2")
	s.exec(`UPDATE webhook_events SET held_by = '{places:narrow}', reason = 'WaitingForCapacity', next_attempt_at = now() + interval '1 hour'
		WHERE id = $1`, left)
	s.start()
	require.Equal(t, left, <-n.begun)
	n.end <- struct{}{}
	s.untilPhase(left, v1alpha1.PhaseDone)
}

func TestAnEventThatWaitsForADestinationThatIsDownDoesNotWaitForItsTurnElsewhere(t *testing.T) {
	t.Parallel()
	n := newNarrow(1)
	down := make(chan bool, 1)
	down <- true
	isDown := true
	s := newSuite(t, n.configure, func(set *settings) {
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
	s.sync.script(n.answer)
	s.forward.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call == 2 {
			outcome := failing(destination.Unavailable, "answered 401 Unauthorized")
			outcome.Wait = time.Hour
			return outcome
		}
		return operation.Done("")
	})
	first := s.post("apt1")
	require.Equal(t, first, <-n.begun)
	both := s.post("apt2")
	s.untilReason(both, v1alpha1.DestinationUnavailableReason)
	assert.Equal(t, "verity-http,places:narrow", value[string](s, `SELECT array_to_string(held_by, ',') FROM webhook_events WHERE id = $1`, both))
	n.end <- struct{}{}
	s.untilPhase(first, v1alpha1.PhaseDone)
	down <- false
	require.Equal(t, both, <-n.begun)
	n.end <- struct{}{}
	s.untilPhase(both, v1alpha1.PhaseDone)
}
