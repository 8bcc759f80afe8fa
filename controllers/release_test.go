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

// outage is a destination behind a breaker, which is down for so long that events are told to wait for an hour.
type outage struct {
	*destination.Breaker
	up atomic.Bool

	mu sync.Mutex
	// reached counts the calls of each event that reach the destination, and served those that it answers.
	reached map[uuid.UUID]int
	served  int
}

func newOutage(name string) *outage {
	return &outage{
		Breaker: destination.NewBreaker(name, destination.BreakerOptions{Failures: 1, Open: 200 * time.Millisecond}),
		reached: map[uuid.UUID]int{},
	}
}

// answer is what an operation at the destination comes to.
func (o *outage) answer(_ int, e *store.Attempt) operation.Outcome {
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

// inVain counts the times at which these events came to the destination's breaker and had to turn back.
func (o *outage) inVain(op *scripted, ids []uuid.UUID) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, id := range ids {
		n += op.calls(id) - o.reached[id]
	}
	return n
}

// postMany commits events of as many entities.
func (s *suite) postMany(n int) []uuid.UUID {
	s.t.Helper()
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = s.post(fmt.Sprint("apt", i))
	}
	return ids
}

// untilHeld waits until so many events wait for a destination, for a long time.
func (s *suite) untilHeld(n int64) {
	s.t.Helper()
	require.True(s.t, eventually(func() bool {
		return value[int64](s, `SELECT count(*) FROM webhook_events
			WHERE status = 'pending' AND held_by IS NOT NULL AND next_attempt_at > now() + interval '30 minutes'`) >= n
	}))
}

func TestWhatWaitsForADestinationGoesOnAsSoonAsItAnswers(t *testing.T) {
	t.Parallel()
	verity := newOutage("verity-http")
	s := newSuite(t, func(set *settings) {
		set.maxWaiting = 5
		set.outages = func() ([]string, []string) { return destination.Outages(verity.Breaker) }
	})
	s.forward.script(verity.answer)
	ids := s.postMany(30)
	s.untilHeld(29) // One may be trying.
	require.True(t, eventually(func() bool { return value[int64](s, `SELECT count(*) FROM webhook_events WHERE parked`) >= 20 }))

	verity.up.Store(true)
	for _, id := range ids {
		s.untilPhase(id, v1alpha1.PhaseDone)
	}
	assert.Zero(t, value[int64](s, `SELECT count(*) FROM webhook_events WHERE attempts <> 1 OR held_by IS NOT NULL`),
		"no attempt was used up, and nothing is waited for any more")
	verity.mu.Lock()
	defer verity.mu.Unlock()
	assert.Equal(t, len(ids), verity.served, "each event gets through once")
}

func TestWhatIsParkedAndHasItsWebhookEventStillIsLetGoLikeTheRest(t *testing.T) {
	t.Parallel()
	verity := newOutage("verity-http")
	s := newSuite(t, func(set *settings) {
		set.outages = func() ([]string, []string) { return destination.Outages(verity.Breaker) }
	})
	s.forward.script(verity.answer)
	ids := s.postMany(10)
	s.untilHeld(9)
	// As a controller leaves them that dies before it deletes the WebhookEvents, or that finds these changed.
	s.exec(`UPDATE webhook_events SET parked = true, dispatched_at = NULL WHERE next_attempt_at > now() + interval '30 minutes'`)

	verity.up.Store(true)
	for _, id := range ids {
		s.untilPhase(id, v1alpha1.PhaseDone)
	}
}

func TestADestinationThatIsDownIsTriedWithOneEventAfterTheOther(t *testing.T) {
	t.Parallel()
	verity := newOutage("verity-http")
	s := newSuite(t, func(set *settings) {
		set.outages = func() ([]string, []string) { return destination.Outages(verity.Breaker) }
	})
	s.forward.script(verity.answer)
	ids := s.postMany(3)
	require.True(t, eventually(func() bool {
		for _, id := range ids {
			if s.forward.calls(id) < 3 {
				return false
			}
		}
		return true
	}), "each has its turn: what one of them meets with may be its own")
	assert.Zero(t, value[int64](s, `SELECT count(*) FROM webhook_events WHERE attempts > 1`), "tries are given back")
}

func TestWhatWaitsForAnotherDestinationWaitsOn(t *testing.T) {
	t.Parallel()
	verity, aloware := newOutage("verity-http"), newOutage("aloware")
	s := newSuite(t, func(set *settings) {
		set.outages = func() ([]string, []string) { return destination.Outages(verity.Breaker, aloware.Breaker) }
	})
	verity.up.Store(true)
	s.forward.script(verity.answer)
	s.sync.script(aloware.answer)
	waiting := s.postMany(10)
	s.untilHeld(9)
	verity.up.Store(false)
	for _, id := range []uuid.UUID{s.post("other1"), s.post("other2")} {
		require.True(t, eventually(func() bool {
			return value[bool](s, `SELECT coalesce(held_by @> '{verity-http}', false) FROM webhook_events WHERE id = $1`, id)
		}))
	}
	before := aloware.inVain(s.sync, waiting)
	verity.up.Store(true)
	require.True(t, eventually(func() bool {
		return value[int64](s, `SELECT count(*) FROM webhook_events WHERE held_by @> '{verity-http}'`) == 0
	}))
	assert.Less(t, aloware.inVain(s.sync, waiting)-before, len(waiting)/2, "they are not let go in vain, bar who comes to try while another one does")

	aloware.up.Store(true)
	for _, id := range waiting {
		s.untilPhase(id, v1alpha1.PhaseDone)
		assert.Equal(t, int64(1), value[int64](s, `SELECT count(*) FROM sync_log
			WHERE webhook_event_id = $1 AND operation = 'verity.forward' AND status = 'success'`, id))
	}
}

func TestANewLeaderLetsGoWhatWaitedForTheOneBefore(t *testing.T) {
	t.Parallel()
	before, after := newOutage("verity-http"), newOutage("verity-http")
	s := newSuite(t)
	s.forward.script(before.answer)
	ids := s.postMany(12)
	s.untilHeld(12)
	s.stop()

	after.up.Store(true)
	s.forward.script(after.answer)
	s.settings.outages = func() ([]string, []string) { return destination.Outages(after.Breaker) }
	s.start()
	for _, id := range ids {
		s.untilPhase(id, v1alpha1.PhaseDone)
	}
}

func TestOnlyWhatWaitsForADestinationAloneIsHeldByIt(t *testing.T) {
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
		"a destination that is down":                                {unavailable, operation.Outcome{}, "verity-http"},
		"one that is down, and a sync that waits for it":            {unavailable, notYet, "verity-http"},
		"one that asked for a pause, which ends as it was said":     {pause, operation.Outcome{}, ""},
		"one that is down, and a failure of the event's own":        {unavailable, failing(destination.Transient, "answered 503"), ""},
		"one that is down, and another one that asked for a pause":  {unavailable, pause, "verity-http"},
		"two that are down":                                         {unavailable, unavailable, "verity-http,verity-http"},
		"one that is down, and a refusal, which is not tried again": {unavailable, failing(destination.Permanent, "answered 422"), "verity-http"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSuite(t, func(set *settings) { set.backoff.Base, set.backoff.Max = time.Hour, time.Hour })
			s.forward.script(inTurn(test.forward))
			s.sync.script(inTurn(test.sync))
			id := s.post("apt1")
			require.True(t, eventually(func() bool {
				return value[bool](s, `SELECT next_attempt_at IS NOT NULL FROM webhook_events WHERE id = $1`, id)
			}))
			assert.Equal(t, test.want, value[string](s, `SELECT coalesce(array_to_string(held_by, ','), '') FROM webhook_events WHERE id = $1`, id))
		})
	}
}
