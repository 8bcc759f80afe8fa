package controllers_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// The sync of each event waits for a destination that is down. A younger event of the same appointment does not need the destination.
func TestEventWaitsAtMostAWeekForALocation(t *testing.T) {
	t.Parallel()
	const week = 7 * 24 * time.Hour
	for name, tc := range map[string]struct {
		destination string
		class       destination.Class
		age         time.Duration
		ends        bool
	}{
		"a location, for more than a week":             {"ghl:loc1", destination.Unavailable, week + time.Hour, true},
		"no location, for more than a week":            {"ghl", destination.Unavailable, week + time.Hour, true},
		"a location that fails, for more than a week":  {"ghl:loc1", destination.Transient, week + time.Hour, true},
		"a location, for six days":                     {"ghl:loc1", destination.Unavailable, week - 24*time.Hour, false},
		"a pause that a location asked for":            {"ghl:loc1", destination.Limited, week + time.Hour, false},
		"another destination, for a month":             {"aloware", destination.Unavailable, 4 * week, false},
		"a destination of a similar name, for a month": {"ghlocal", destination.Unavailable, 4 * week, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t, func(set *settings) {
				set.backoff = controllers.Backoff{Base: time.Millisecond, Max: time.Millisecond, MaxAttempts: 3}
			})
			env.stop()
			old, young := env.deliver("apt1"), env.deliver("apt1")
			env.exec(`UPDATE webhook_events SET received_at = received_at - make_interval(secs => $2) WHERE id = $1`, old, tc.age.Seconds())
			down := &destination.Error{Destination: tc.destination, Class: tc.class, Message: "the token was refused (401)"}
			env.sync.script(func(_ int, e *store.Attempt) operation.Outcome {
				if e.ID != old {
					return operation.Done(v1alpha1.ResultLeadUpdated)
				}
				return operation.Outcome{Err: down, Wait: time.Millisecond}
			})
			env.start()
			if !tc.ends {
				env.waitUntil(old, "attempted often, without a counted attempt", func(*v1alpha1.WebhookEvent) bool { return env.sync.calls(old) > 10 })
				assert.Zero(t, env.sync.calls(young))
				return
			}
			e := env.waitForPhase(old, v1alpha1.PhaseError)
			assert.Equal(t, int32(3), e.Status.Attempts)
			ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition)
			assert.Equal(t, v1alpha1.AttemptsExhaustedReason, ready.Reason)
			assert.Contains(t, ready.Message, "gave up after 3 attempts: "+tc.destination+": the token was refused (401)")
			env.waitForPhase(young, v1alpha1.PhaseDone)
		})
	}
}

// The cases are the two answers of GoHighLevel to a token of another location.
func TestEventOfAnInventedLocationUnblocksItsEntity(t *testing.T) {
	t.Parallel()
	for name, class := range map[string]destination.Class{"403, a refusal": destination.Permanent, "401, a failed attempt": destination.Unavailable} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t, func(set *settings) {
				set.backoff = controllers.Backoff{Base: time.Millisecond, Max: time.Millisecond, MaxAttempts: 3}
			})
			env.stop()
			invented, genuine := env.deliver("apt1"), env.deliver("apt1")
			env.sync.script(func(_ int, e *store.Attempt) operation.Outcome {
				if e.ID != invented {
					return operation.Done(v1alpha1.ResultLeadUpdated)
				}
				return operation.Outcome{
					Reason: v1alpha1.LocationUnknownReason,
					Err:    &destination.Error{Destination: "ghl:invented", Class: class, Message: "refused"},
				}
			})
			env.start()
			e := env.waitForPhase(invented, v1alpha1.PhaseError)
			assert.Equal(t, v1alpha1.LocationUnknownReason, meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition).Reason)
			env.waitForPhase(genuine, v1alpha1.PhaseDone)
		})
	}
}
