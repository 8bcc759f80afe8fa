package controllers_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// request asks for a replay as a user would, from the given place.
func (s *suite) request(id uuid.UUID, value, from string) {
	s.t.Helper()
	s.change(id, func(e *v1alpha1.WebhookEvent) {
		metav1.SetMetaDataAnnotation(&e.ObjectMeta, v1alpha1.ReplayRequestedAtAnnotation, value)
		delete(e.Annotations, v1alpha1.ReplayFromAnnotation)
		if from != "" {
			e.Annotations[v1alpha1.ReplayFromAnnotation] = from
		}
	})
}

// untilServed waits until a request was served and its run is over.
func (s *suite) untilServed(id uuid.UUID, value string) *v1alpha1.WebhookEvent {
	s.t.Helper()
	return s.until(id, "served", func(e *v1alpha1.WebhookEvent) bool {
		return e.Status.LastHandledReplay == value && e.Status.Phase == v1alpha1.PhaseDone
	})
}

func (s *suite) run(id uuid.UUID) int32 {
	s.t.Helper()
	return value[int32](s, `SELECT run FROM webhook_events WHERE id = $1`, id)
}

// forwarding holds the next forward until what is returned is closed; the second channel says that it has begun.
func (s *suite) forwarding(outcome operation.Outcome) (release chan struct{}, begun chan struct{}) {
	release, begun = make(chan struct{}), make(chan struct{})
	first := true
	s.forward.script(func(int, *store.Attempt) operation.Outcome {
		if !first {
			return operation.Done("")
		}
		first = false
		close(begun)
		<-release
		return outcome
	})
	return release, begun
}

func TestAReplayThatIsRequestedBeforeTheRunEndsIsServedOnceWhenItEnds(t *testing.T) {
	t.Parallel()
	const first = "first"
	down := failing(destination.Transient, "answered 503")
	for name, tc := range map[string]struct {
		change func(*settings)
		// request posts an event, asks for the replay and has the run end.
		request func(s *suite) uuid.UUID
		// run is the event's last run, and forwards how often it was forwarded.
		run      int32
		forwards int
	}{
		"while an attempt that succeeds is under way": {request: func(s *suite) uuid.UUID {
			release, begun := s.forwarding(operation.Done(""))
			id := s.post("apt1")
			<-begun
			s.request(id, first, "start")
			close(release)
			return id
		}, run: 1, forwards: 2},
		"while an attempt is under way, without starting over": {request: func(s *suite) uuid.UUID {
			release, begun := s.forwarding(operation.Done(""))
			id := s.post("apt1")
			<-begun
			s.request(id, first, "")
			close(release)
			return id
		}, run: 1, forwards: 1},
		"while an attempt that is refused is under way": {request: func(s *suite) uuid.UUID {
			release, begun := s.forwarding(failing(destination.Permanent, "answered 422"))
			id := s.post("apt1")
			<-begun
			s.request(id, first, "")
			close(release)
			return id
		}, run: 1, forwards: 2},
		"twice while an attempt is under way": {request: func(s *suite) uuid.UUID {
			release, begun := s.forwarding(operation.Done(""))
			id := s.post("apt1")
			<-begun
			s.request(id, "another's", "start")
			s.request(id, first, "start")
			close(release)
			return id
		}, run: 1, forwards: 2},
		"while it waits for its next attempt": {
			change: func(s *settings) {
				s.backoff = controllers.Backoff{Base: time.Second, Max: time.Second, MaxAttempts: 4}
			},
			request: func(s *suite) uuid.UUID {
				s.forward.script(func(call int, _ *store.Attempt) operation.Outcome {
					if call == 1 {
						return down
					}
					return operation.Done("")
				})
				id := s.post("apt1")
				s.untilReason(id, v1alpha1.RetryScheduledReason)
				s.request(id, first, "start")
				return id
			}, run: 1, forwards: 3,
		},
		"while it waits for an older event": {request: func(s *suite) uuid.UUID {
			release, begun := s.forwarding(operation.Done(""))
			s.post("apt1")
			<-begun
			id := s.post("apt1")
			s.untilReason(id, v1alpha1.WaitingForOlderEventReason)
			s.request(id, first, "start")
			close(release)
			return id
		}, run: 1, forwards: 2},
		"while it is suspended": {request: func(s *suite) uuid.UUID {
			s.stop()
			id := s.post("apt1")
			s.until(id, "created", func(*v1alpha1.WebhookEvent) bool { return true })
			s.change(id, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = true })
			s.start()
			s.untilReason(id, v1alpha1.SuspendedReason)
			s.request(id, first, "start")
			s.change(id, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = false })
			return id
		}, run: 1, forwards: 2},
		"while no controller runs": {request: func(s *suite) uuid.UUID {
			s.stop()
			id := s.post("apt1")
			s.until(id, "created", func(*v1alpha1.WebhookEvent) bool { return true })
			s.request(id, first, "start")
			s.start()
			return id
		}, run: 1, forwards: 2},
		"before a controller dies that has recorded the end of the run and not shown it": {request: func(s *suite) uuid.UUID {
			release, begun := s.forwarding(operation.Done(""))
			close(release)
			id := s.post("apt1")
			<-begun
			s.untilPhase(id, v1alpha1.PhaseDone)
			s.stop()
			setPhase(v1alpha1.PhaseProcessing)(s, id)
			s.request(id, first, "start")
			s.start()
			return id
		}, run: 1, forwards: 2},
		"when it is created, which a user has done": {request: func(s *suite) uuid.UUID {
			id := s.post("apt1")
			e := s.untilPhase(id, v1alpha1.PhaseDone)
			require.NoError(s.t, s.client.Delete(s.t.Context(), e))
			again := &v1alpha1.WebhookEvent{ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name, Annotations: map[string]string{
				v1alpha1.ReplayRequestedAtAnnotation: first, v1alpha1.ReplayFromAnnotation: v1alpha1.ReplayFromStart,
			}}, Spec: e.Spec}
			require.NoError(s.t, s.client.Create(s.t.Context(), again))
			return id
		}, run: 1, forwards: 2},
		"while the replay command has it run again": {request: func(s *suite) uuid.UUID {
			id := s.post("apt1")
			s.untilPhase(id, v1alpha1.PhaseDone)
			s.stop()
			n, err := s.db.ReplayAll(s.t.Context(), store.ReplaySelection{Status: store.StatusDone, Since: time.Hour}, true)
			require.NoError(s.t, err)
			require.EqualValues(s.t, 1, n)
			s.request(id, first, "start")
			s.start()
			return id
		}, run: 2, forwards: 3},
		"of an event that is deleted as soon as it is done": {
			change: func(s *settings) { s.ttl = controllers.TTL{}; s.finishedLimit = 0 },
			request: func(s *suite) uuid.UUID {
				release, begun := s.forwarding(operation.Done(""))
				id := s.post("apt1")
				<-begun
				s.request(id, first, "start")
				close(release)
				return id
			}, run: 1, forwards: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.change == nil {
				tc.change = func(*settings) {}
			}
			s := newSuite(t, tc.change)
			id := tc.request(s)
			over := func() bool {
				return value[bool](s, `SELECT status = 'done' AND coalesce(replay_request, '') = $2 FROM webhook_events WHERE id = $1`, id, first)
			}
			require.True(t, eventually(over), "served: %+v", s.get(id))
			if s.settings.ttl.Done > 0 {
				s.untilServed(id, first)
			} else {
				require.True(t, eventually(func() bool { return s.get(id) == nil }), "and deleted then")
			}
			assert.Equal(t, tc.run, s.run(id))
			assert.Equal(t, tc.forwards, s.forward.calls(id))

			s.stop()
			s.start()
			marker := s.post("another") // By the time that it is done the first one has been looked at.
			require.True(t, eventually(func() bool { return s.sync.calls(marker) == 1 }))
			assert.Equal(t, tc.run, s.run(id), "not again when a controller restarts")
			assert.Equal(t, tc.forwards, s.forward.calls(id))
		})
	}
}

func TestWhereAReplayBeginsIsUnderstoodInAnyCaseAndAnythingElseIsRefused(t *testing.T) {
	t.Parallel()
	for from, start := range map[string]bool{
		"start": true, "Start": true, "START": true,
		"begin": false, "finish": false, "start ": false, "true": false, "0": false,
	} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			s := newSuite(t)
			id := s.post("apt1")
			s.untilPhase(id, v1alpha1.PhaseDone)
			s.request(id, "first", from)
			e := s.untilServed(id, "first")
			refused := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReplayRefusedCondition)
			if start {
				assert.Nil(t, refused)
				assert.Equal(t, 2, s.forward.calls(id))
				return
			}
			require.NotNil(t, refused)
			assert.Equal(t, v1alpha1.UnknownReplayFromReason, refused.Reason)
			assert.Contains(t, refused.Message, `expected start or nothing, got "`+from+`"`)
			require.True(t, eventually(func() bool {
				var list eventsv1.EventList
				require.NoError(t, s.client.List(t.Context(), &list, client.InNamespace(s.namespace)))
				for _, event := range list.Items {
					if event.Reason == v1alpha1.UnknownReplayFromReason && event.Regarding.Name == e.Name {
						return true
					}
				}
				return false
			}), "a Kubernetes Event says so")

			s.change(id, func(e *v1alpha1.WebhookEvent) { e.Annotations[v1alpha1.ReplayFromAnnotation] = "start" })
			s.stop()
			s.start()
			marker := s.post("another")
			s.untilPhase(marker, v1alpha1.PhaseDone)
			assert.EqualValues(t, 0, s.run(id), "what was refused is not served later, of whatever it has become since")
			assert.Equal(t, 1, s.forward.calls(id))

			s.request(id, "second", "start")
			e = s.untilServed(id, "second")
			assert.Equal(t, 2, s.forward.calls(id))
			assert.Nil(t, meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReplayRefusedCondition))
		})
	}
}

func TestALeaderThatWasReplacedServesAndRefusesNoReplay(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	id := s.post("apt1")
	s.untilPhase(id, v1alpha1.PhaseDone)
	term, err := s.db.AcquireTerm(t.Context(), "another")
	require.NoError(t, err)
	_, err = s.db.Replay(t.Context(), id, "first", true, term-1)
	require.ErrorIs(t, err, store.ErrFenced)
	require.ErrorIs(t, s.db.RefuseReplay(t.Context(), id, "first", term-1), store.ErrFenced)

	s.request(id, "first", "start")
	require.ErrorIs(t, <-s.fenced, store.ErrFenced)
	assert.Empty(t, s.get(id).Status.LastHandledReplay, "left to the new leader")
	s.stop()
	s.start()
	s.untilServed(id, "first")
	assert.Equal(t, 2, s.forward.calls(id))
}
