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

// TestAnEventDoesNotWaitForALocationForEver has events whose sync waits for something that is down, with a younger event of the same
// appointment behind each that needs nothing of it.
func TestAnEventDoesNotWaitForALocationForEver(t *testing.T) {
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
			s := newSuite(t, func(set *settings) {
				set.backoff = controllers.Backoff{Base: time.Millisecond, Max: time.Millisecond, MaxAttempts: 3}
			})
			s.stop()
			old, young := s.post("apt1"), s.post("apt1")
			s.exec(`UPDATE webhook_events SET received_at = received_at - make_interval(secs => $2) WHERE id = $1`, old, tc.age.Seconds())
			down := &destination.Error{Destination: tc.destination, Class: tc.class, Message: "the token was refused (401)"}
			s.sync.script(func(_ int, e *store.Attempt) operation.Outcome {
				if e.ID != old {
					return operation.Done(v1alpha1.ResultLeadUpdated)
				}
				return operation.Outcome{Err: down, Wait: time.Millisecond}
			})
			s.start()
			if !tc.ends {
				s.until(old, "many attempts, none of which counts", func(*v1alpha1.WebhookEvent) bool { return s.sync.calls(old) > 10 })
				assert.Zero(t, s.sync.calls(young))
				return
			}
			e := s.untilPhase(old, v1alpha1.PhaseError)
			assert.Equal(t, int32(3), e.Status.Attempts)
			ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition)
			assert.Equal(t, v1alpha1.AttemptsExhaustedReason, ready.Reason)
			assert.Contains(t, ready.Message, "gave up after 3 attempts: "+tc.destination+": the token was refused (401)")
			s.untilPhase(young, v1alpha1.PhaseDone)
		})
	}
}

// TestAnEventOfAnInventedLocationUnblocksItsEntity has the two answers that GoHighLevel gives to a token for a location that is not its own.
func TestAnEventOfAnInventedLocationUnblocksItsEntity(t *testing.T) {
	t.Parallel()
	for name, class := range map[string]destination.Class{"403, a refusal": destination.Permanent, "401, a failed attempt": destination.Unavailable} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSuite(t, func(set *settings) {
				set.backoff = controllers.Backoff{Base: time.Millisecond, Max: time.Millisecond, MaxAttempts: 3}
			})
			s.stop()
			invented, genuine := s.post("apt1"), s.post("apt1")
			s.sync.script(func(_ int, e *store.Attempt) operation.Outcome {
				if e.ID != invented {
					return operation.Done(v1alpha1.ResultLeadUpdated)
				}
				return operation.Outcome{
					Reason: v1alpha1.LocationUnknownReason,
					Err:    &destination.Error{Destination: "ghl:invented", Class: class, Message: "refused"},
				}
			})
			s.start()
			e := s.untilPhase(invented, v1alpha1.PhaseError)
			assert.Equal(t, v1alpha1.LocationUnknownReason, meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition).Reason)
			s.untilPhase(genuine, v1alpha1.PhaseDone)
		})
	}
}
