package controllers_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// failingDestination is a destination behind a breaker that makes events wait for an hour.
type failingDestination struct {
	*destination.Breaker
	up atomic.Bool

	mu sync.Mutex
	// reached counts the calls of each event that reach the destination, and served the successful calls.
	reached map[uuid.UUID]int
	served  int
}

func newFailingDestination(name string) *failingDestination {
	return &failingDestination{
		Breaker: destination.NewBreaker(name, destination.BreakerOptions{Failures: 1, Open: 200 * time.Millisecond}),
		reached: map[uuid.UUID]int{},
	}
}

// answer is the outcome of an operation at the destination.
func (o *failingDestination) answer(_ int, e *store.Attempt) operation.Outcome {
	err := o.Do(context.Background(), func(context.Context) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.reached[e.ID]++
		if o.up.Load() {
			o.served++
			return nil
		}
		return &destination.Error{Destination: o.Name(), Class: destination.Unavailable, Message: "connection refused"}
	})
	if err != nil {
		return operation.Outcome{Err: err, Wait: time.Hour}
	}
	return operation.Outcome{}
}

// refusedByBreaker counts the calls of these events that the breaker refused.
func (o *failingDestination) refusedByBreaker(op *scripted, ids []uuid.UUID) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, id := range ids {
		n += op.calls(id) - o.reached[id]
	}
	return n
}

// deliverMany delivers n events, each of another entity.
func (env *environment) deliverMany(n int) []uuid.UUID {
	env.t.Helper()
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = env.deliver(fmt.Sprint("apt", i))
	}
	return ids
}

// waitForHeld waits until n events wait for a destination for a long time.
func (env *environment) waitForHeld(n int64) {
	env.t.Helper()
	require.True(env.t, waitFor(func() bool {
		return query[int64](env, `SELECT count(*) FROM webhook_events
			WHERE status = 'pending' AND held_by IS NOT NULL AND next_attempt_at > now() + interval '30 minutes'`) >= n
	}))
}

func TestHeldEventsAreReleasedWhenTheirDestinationRecovers(t *testing.T) {
	t.Parallel()
	verity := newFailingDestination("verity-http")
	env := newEnvironment(t, func(set *settings) {
		set.maxWaiting = 5
		set.outages = func() ([]string, []string) { return destination.Outages(verity.Breaker) }
	})
	env.forward.script(verity.answer)
	ids := env.deliverMany(30)
	env.waitForHeld(29) // One may be in an attempt.
	require.True(t, waitFor(func() bool { return query[int64](env, `SELECT count(*) FROM webhook_events WHERE parked`) >= 20 }))

	verity.up.Store(true)
	for _, id := range ids {
		env.waitForPhase(id, v1alpha1.PhaseDone)
	}
	assert.Zero(t, query[int64](env, `SELECT count(*) FROM webhook_events WHERE attempts <> 1 OR held_by IS NOT NULL`),
		"no failed attempt counts, and no event is held")
	verity.mu.Lock()
	defer verity.mu.Unlock()
	assert.Equal(t, len(ids), verity.served, "each event is served once")
}

func TestParkedEventThatStillHasItsWebhookEventIsReleased(t *testing.T) {
	t.Parallel()
	verity := newFailingDestination("verity-http")
	env := newEnvironment(t, func(set *settings) {
		set.outages = func() ([]string, []string) { return destination.Outages(verity.Breaker) }
	})
	env.forward.script(verity.answer)
	ids := env.deliverMany(10)
	env.waitForHeld(9)
	// The rows are as after a controller that died before it deleted the WebhookEvents, or that found them changed.
	env.exec(`UPDATE webhook_events SET parked = true, dispatched_at = NULL WHERE next_attempt_at > now() + interval '30 minutes'`)

	verity.up.Store(true)
	for _, id := range ids {
		env.waitForPhase(id, v1alpha1.PhaseDone)
	}
}

func TestDownDestinationIsTriedWithOneEventAfterAnother(t *testing.T) {
	t.Parallel()
	verity := newFailingDestination("verity-http")
	env := newEnvironment(t, func(set *settings) {
		set.outages = func() ([]string, []string) { return destination.Outages(verity.Breaker) }
	})
	env.forward.script(verity.answer)
	ids := env.deliverMany(3)
	require.True(t, waitFor(func() bool {
		for _, id := range ids {
			if env.forward.calls(id) < 3 {
				return false
			}
		}
		return true
	}), "each event has its turn, because a failure can be specific to one event")
	assert.Zero(t, query[int64](env, `SELECT count(*) FROM webhook_events WHERE attempts > 1`), "a try does not count")
}

func TestEventsHeldByAnotherDestinationAreNotReleased(t *testing.T) {
	t.Parallel()
	verity, aloware := newFailingDestination("verity-http"), newFailingDestination("aloware")
	env := newEnvironment(t, func(set *settings) {
		set.outages = func() ([]string, []string) { return destination.Outages(verity.Breaker, aloware.Breaker) }
	})
	verity.up.Store(true)
	env.forward.script(verity.answer)
	env.sync.script(aloware.answer)
	waiting := env.deliverMany(10)
	env.waitForHeld(9)
	verity.up.Store(false)
	for _, id := range []uuid.UUID{env.deliver("other1"), env.deliver("other2")} {
		require.True(t, waitFor(func() bool {
			return query[bool](env, `SELECT coalesce(held_by @> '{verity-http}', false) FROM webhook_events WHERE id = $1`, id)
		}))
	}
	before := aloware.refusedByBreaker(env.sync, waiting)
	verity.up.Store(true)
	require.True(t, waitFor(func() bool {
		return query[int64](env, `SELECT count(*) FROM webhook_events WHERE held_by @> '{verity-http}'`) == 0
	}))
	assert.Less(t, aloware.refusedByBreaker(env.sync, waiting)-before, len(waiting)/2, "only events that meet another event's try are refused")

	aloware.up.Store(true)
	for _, id := range waiting {
		env.waitForPhase(id, v1alpha1.PhaseDone)
		assert.Equal(t, int64(1), query[int64](env, `SELECT count(*) FROM sync_log
			WHERE webhook_event_id = $1 AND operation = 'verity.forward' AND status = 'success'`, id))
	}
}

func TestNewLeaderReleasesTheEventsThatThePreviousLeaderHeld(t *testing.T) {
	t.Parallel()
	before, after := newFailingDestination("verity-http"), newFailingDestination("verity-http")
	env := newEnvironment(t)
	env.forward.script(before.answer)
	ids := env.deliverMany(12)
	env.waitForHeld(12)
	env.stop()

	after.up.Store(true)
	env.forward.script(after.answer)
	env.settings.outages = func() ([]string, []string) { return destination.Outages(after.Breaker) }
	env.start()
	for _, id := range ids {
		env.waitForPhase(id, v1alpha1.PhaseDone)
	}
}

func TestHeldByNamesDestinationsOnlyIfTheEventWaitsForNothingElse(t *testing.T) {
	t.Parallel()
	unavailable := failing(destination.Unavailable, "does not answer")
	unavailable.Wait = time.Hour
	pause := failing(destination.Limited, "asked for a pause")
	pause.Wait = time.Hour
	notYet := failing(destination.Transient, "no contact yet")
	notYet.NotYet = true
	for name, test := range map[string]struct {
		forward, sync operation.Outcome
		want          string
	}{
		"a down destination": {unavailable, operation.Outcome{}, "verity-http"},
		"a down destination, and a sync that waits for it":      {unavailable, notYet, "verity-http"},
		"a destination that asked for a pause":                  {pause, operation.Outcome{}, ""},
		"a down destination, and a failure of this event alone": {unavailable, failing(destination.Transient, "answered 503"), ""},
		"a down destination, and one that asked for a pause":    {unavailable, pause, "verity-http"},
		"two down destinations":                                 {unavailable, unavailable, "verity-http,verity-http"},
		"a down destination, and a refusal":                     {unavailable, failing(destination.Permanent, "answered 422"), "verity-http"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t, func(set *settings) { set.backoff.Base, set.backoff.Max = time.Hour, time.Hour })
			env.forward.script(answers(test.forward))
			env.sync.script(answers(test.sync))
			id := env.deliver("apt1")
			require.True(t, waitFor(func() bool {
				return query[bool](env, `SELECT next_attempt_at IS NOT NULL FROM webhook_events WHERE id = $1`, id)
			}))
			assert.Equal(t, test.want, query[string](env, `SELECT coalesce(array_to_string(held_by, ','), '') FROM webhook_events WHERE id = $1`, id))
		})
	}
}
