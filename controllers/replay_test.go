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

// requestReplay requests a replay as a user does.
func (env *environment) requestReplay(id uuid.UUID, value, from string) {
	env.t.Helper()
	env.edit(id, func(e *v1alpha1.WebhookEvent) {
		metav1.SetMetaDataAnnotation(&e.ObjectMeta, v1alpha1.ReplayRequestedAtAnnotation, value)
		delete(e.Annotations, v1alpha1.ReplayFromAnnotation)
		if from != "" {
			e.Annotations[v1alpha1.ReplayFromAnnotation] = from
		}
	})
}

// waitForReplay waits until a request was served and its run has ended.
func (env *environment) waitForReplay(id uuid.UUID, value string) *v1alpha1.WebhookEvent {
	env.t.Helper()
	return env.waitUntil(id, "served", func(e *v1alpha1.WebhookEvent) bool {
		return e.Status.LastHandledReplay == value && e.Status.Phase == v1alpha1.PhaseDone
	})
}

func (env *environment) runNumber(id uuid.UUID) int32 {
	env.t.Helper()
	return query[int32](env, `SELECT run FROM webhook_events WHERE id = $1`, id)
}

// blockForward blocks the next forward until release is closed; started is closed when the forward starts.
func (env *environment) blockForward(outcome operation.Outcome) (release chan struct{}, started chan struct{}) {
	release, started = make(chan struct{}), make(chan struct{})
	first := true
	env.forward.script(func(int, *store.Attempt) operation.Outcome {
		if !first {
			return operation.Done("")
		}
		first = false
		close(started)
		<-release
		return outcome
	})
	return release, started
}

func TestReplayRequestOfAnUnfinishedEventIsServedOnceWhenItsRunEnds(t *testing.T) {
	t.Parallel()
	const first = "first"
	down := failing(destination.Transient, "answered 503")
	for name, tc := range map[string]struct {
		change func(*settings)
		// request delivers an event, requests the replay and ends the run.
		request func(env *environment) uuid.UUID
		// run is the event's last run, and forwards the number of its forwards.
		run      int32
		forwards int
	}{
		"during an attempt that succeeds": {request: func(env *environment) uuid.UUID {
			release, started := env.blockForward(operation.Done(""))
			id := env.deliver("apt1")
			<-started
			env.requestReplay(id, first, "start")
			close(release)
			return id
		}, run: 1, forwards: 2},
		"during an attempt, without replay-from": {request: func(env *environment) uuid.UUID {
			release, started := env.blockForward(operation.Done(""))
			id := env.deliver("apt1")
			<-started
			env.requestReplay(id, first, "")
			close(release)
			return id
		}, run: 1, forwards: 1},
		"during an attempt that is refused": {request: func(env *environment) uuid.UUID {
			release, started := env.blockForward(failing(destination.Permanent, "answered 422"))
			id := env.deliver("apt1")
			<-started
			env.requestReplay(id, first, "")
			close(release)
			return id
		}, run: 1, forwards: 2},
		"twice during an attempt": {request: func(env *environment) uuid.UUID {
			release, started := env.blockForward(operation.Done(""))
			id := env.deliver("apt1")
			<-started
			env.requestReplay(id, "another user's", "start")
			env.requestReplay(id, first, "start")
			close(release)
			return id
		}, run: 1, forwards: 2},
		"while it waits for its next attempt": {
			change: func(s *settings) {
				s.backoff = controllers.Backoff{Base: time.Second, Max: time.Second, MaxAttempts: 4}
			},
			request: func(env *environment) uuid.UUID {
				env.forward.script(func(call int, _ *store.Attempt) operation.Outcome {
					if call == 1 {
						return down
					}
					return operation.Done("")
				})
				id := env.deliver("apt1")
				env.waitForReason(id, v1alpha1.RetryScheduledReason)
				env.requestReplay(id, first, "start")
				return id
			}, run: 1, forwards: 3,
		},
		"while it waits for an older event": {request: func(env *environment) uuid.UUID {
			release, started := env.blockForward(operation.Done(""))
			env.deliver("apt1")
			<-started
			id := env.deliver("apt1")
			env.waitForReason(id, v1alpha1.WaitingForOlderEventReason)
			env.requestReplay(id, first, "start")
			close(release)
			return id
		}, run: 1, forwards: 2},
		"while it is suspended": {request: func(env *environment) uuid.UUID {
			env.stop()
			id := env.deliver("apt1")
			env.waitUntil(id, "created", func(*v1alpha1.WebhookEvent) bool { return true })
			env.edit(id, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = true })
			env.start()
			env.waitForReason(id, v1alpha1.SuspendedReason)
			env.requestReplay(id, first, "start")
			env.edit(id, func(e *v1alpha1.WebhookEvent) { e.Spec.Suspend = false })
			return id
		}, run: 1, forwards: 2},
		"while no controller runs": {request: func(env *environment) uuid.UUID {
			env.stop()
			id := env.deliver("apt1")
			env.waitUntil(id, "created", func(*v1alpha1.WebhookEvent) bool { return true })
			env.requestReplay(id, first, "start")
			env.start()
			return id
		}, run: 1, forwards: 2},
		"before a controller dies between the record and the status": {request: func(env *environment) uuid.UUID {
			release, started := env.blockForward(operation.Done(""))
			close(release)
			id := env.deliver("apt1")
			<-started
			env.waitForPhase(id, v1alpha1.PhaseDone)
			env.stop()
			setPhase(v1alpha1.PhaseProcessing)(env, id)
			env.requestReplay(id, first, "start")
			env.start()
			return id
		}, run: 1, forwards: 2},
		"at the creation of the object by a user": {request: func(env *environment) uuid.UUID {
			id := env.deliver("apt1")
			e := env.waitForPhase(id, v1alpha1.PhaseDone)
			require.NoError(env.t, env.client.Delete(env.t.Context(), e))
			again := &v1alpha1.WebhookEvent{ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name, Annotations: map[string]string{
				v1alpha1.ReplayRequestedAtAnnotation: first, v1alpha1.ReplayFromAnnotation: v1alpha1.ReplayFromStart,
			}}, Spec: e.Spec}
			require.NoError(env.t, env.client.Create(env.t.Context(), again))
			return id
		}, run: 1, forwards: 2},
		"while the replay command runs it again": {request: func(env *environment) uuid.UUID {
			id := env.deliver("apt1")
			env.waitForPhase(id, v1alpha1.PhaseDone)
			env.stop()
			n, err := env.db.ReplayAll(env.t.Context(), store.ReplaySelection{Status: store.StatusDone, Since: time.Hour}, true)
			require.NoError(env.t, err)
			require.EqualValues(env.t, 1, n)
			env.requestReplay(id, first, "start")
			env.start()
			return id
		}, run: 2, forwards: 3},
		"of an event that is deleted as soon as it is done": {
			change: func(s *settings) { s.ttl = controllers.TTL{}; s.finishedLimit = 0 },
			request: func(env *environment) uuid.UUID {
				release, started := env.blockForward(operation.Done(""))
				id := env.deliver("apt1")
				<-started
				env.requestReplay(id, first, "start")
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
			env := newEnvironment(t, tc.change)
			id := tc.request(env)
			over := func() bool {
				return query[bool](env, `SELECT status = 'done' AND coalesce(replay_request, '') = $2 FROM webhook_events WHERE id = $1`, id, first)
			}
			require.True(t, waitFor(over), "served: %+v", env.get(id))
			if env.settings.ttl.Done > 0 {
				env.waitForReplay(id, first)
			} else {
				require.True(t, waitFor(func() bool { return env.get(id) == nil }), "and deleted afterwards")
			}
			assert.Equal(t, tc.run, env.runNumber(id))
			assert.Equal(t, tc.forwards, env.forward.calls(id))

			env.stop()
			env.start()
			marker := env.deliver("another") // When it is done, the first event was reconciled.
			require.True(t, waitFor(func() bool { return env.sync.calls(marker) == 1 }))
			assert.Equal(t, tc.run, env.runNumber(id), "not again when a controller restarts")
			assert.Equal(t, tc.forwards, env.forward.calls(id))
		})
	}
}

func TestReplayFromAcceptsStartInAnyCaseAndRefusesOtherValues(t *testing.T) {
	t.Parallel()
	for from, start := range map[string]bool{
		"start": true, "Start": true, "START": true,
		"begin": false, "finish": false, "start ": false, "true": false, "0": false,
	} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			id := env.deliver("apt1")
			env.waitForPhase(id, v1alpha1.PhaseDone)
			env.requestReplay(id, "first", from)
			e := env.waitForReplay(id, "first")
			refused := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReplayRefusedCondition)
			if start {
				assert.Nil(t, refused)
				assert.Equal(t, 2, env.forward.calls(id))
				return
			}
			require.NotNil(t, refused)
			assert.Equal(t, v1alpha1.UnknownReplayFromReason, refused.Reason)
			assert.Contains(t, refused.Message, `expected start or nothing, got "`+from+`"`)
			require.True(t, waitFor(func() bool {
				var list eventsv1.EventList
				require.NoError(t, env.client.List(t.Context(), &list, client.InNamespace(env.namespace)))
				for _, event := range list.Items {
					if event.Reason == v1alpha1.UnknownReplayFromReason && event.Regarding.Name == e.Name {
						return true
					}
				}
				return false
			}), "a Kubernetes Event reports the refusal")

			env.edit(id, func(e *v1alpha1.WebhookEvent) { e.Annotations[v1alpha1.ReplayFromAnnotation] = "start" })
			env.stop()
			env.start()
			marker := env.deliver("another")
			env.waitForPhase(marker, v1alpha1.PhaseDone)
			assert.EqualValues(t, 0, env.runNumber(id), "a refused request is not served after a change of replay-from")
			assert.Equal(t, 1, env.forward.calls(id))

			env.requestReplay(id, "second", "start")
			e = env.waitForReplay(id, "second")
			assert.Equal(t, 2, env.forward.calls(id))
			assert.Nil(t, meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReplayRefusedCondition))
		})
	}
}

func TestFencedLeaderServesAndRefusesNoReplay(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	id := env.deliver("apt1")
	env.waitForPhase(id, v1alpha1.PhaseDone)
	term, err := env.db.AcquireTerm(t.Context(), "another")
	require.NoError(t, err)
	_, err = env.db.Replay(t.Context(), id, "first", true, term-1)
	require.ErrorIs(t, err, store.ErrFenced)
	require.ErrorIs(t, env.db.RefuseReplay(t.Context(), id, "first", term-1), store.ErrFenced)

	env.requestReplay(id, "first", "start")
	require.ErrorIs(t, <-env.fenced, store.ErrFenced)
	assert.Empty(t, env.get(id).Status.LastHandledReplay, "the new leader serves it")
	env.stop()
	env.start()
	env.waitForReplay(id, "first")
	assert.Equal(t, 2, env.forward.calls(id))
}
