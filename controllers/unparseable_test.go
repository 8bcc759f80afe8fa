package controllers_test

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// deliverUnparseable commits a body that does not parse, as the receiver does.
func (env *environment) deliverUnparseable(body string) uuid.UUID {
	env.t.Helper()
	r, err := env.writer.Commit(env.t.Context(), store.Delivery{
		Event: event.Event{
			Source: event.SourceGHL, Type: event.TypeUnparseable, EntityType: event.EntityUnknown, DedupeKey: "ghl:unparseable:" + body,
		},
		Payload: []byte("{}"), Raw: []byte(body), BodyHash: sha256.Sum256([]byte(body)),
	})
	require.NoError(env.t, err)
	return r.ID
}

func TestBodyThatDoesNotParseEndsInErrorAndIsNotForwarded(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	id := env.deliverUnparseable(`{"a":"`)
	e := env.waitForPhase(id, v1alpha1.PhaseError)
	assert.EqualValues(t, 1, e.Status.Attempts)
	for _, conditionType := range []string{v1alpha1.ReadyCondition, v1alpha1.ForwardedCondition, v1alpha1.SyncedCondition, v1alpha1.StalledCondition} {
		c := meta.FindStatusCondition(e.Status.Conditions, conditionType)
		require.NotNil(t, c, conditionType)
		assert.Equal(t, v1alpha1.UnparseableReason, c.Reason, conditionType)
		assert.Equal(t, conditionType == v1alpha1.StalledCondition, c.Status == metav1.ConditionTrue, conditionType)
		assert.Contains(t, c.Message, "at byte 7, in line 1", conditionType)
	}
	ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition).Message
	assert.Contains(t, ready, fmt.Sprintf("SELECT encode(payload_raw, 'escape') FROM webhook_events WHERE id = '%s'", id))
	assert.NotContains(t, ready, v1alpha1.ReplayRequestedAtAnnotation, "a replay does not help")

	env.edit(id, func(e *v1alpha1.WebhookEvent) {
		e.Annotations = map[string]string{
			v1alpha1.ReplayRequestedAtAnnotation: "1", v1alpha1.ReplayFromAnnotation: v1alpha1.ReplayFromStart,
		}
	})
	e = env.waitUntil(id, "replayed", func(e *v1alpha1.WebhookEvent) bool {
		return e.Status.LastHandledReplay == "1" && e.Status.Phase == v1alpha1.PhaseError
	})
	assert.Equal(t, v1alpha1.UnparseableReason, readyReason(e))
	assert.Zero(t, env.forward.calls(uuid.Nil))
	assert.Zero(t, env.sync.calls(uuid.Nil))
	assert.Zero(t, query[int64](env, `SELECT count(*) FROM sync_log`))
}

func TestBodiesThatDoNotParseDisplaceNoOtherErrors(t *testing.T) {
	t.Parallel()
	const limit = 3
	env := newEnvironment(t, func(s *settings) { s.finishedLimit = limit })
	env.forward.script(func(int, *store.Attempt) operation.Outcome { return failing(destination.Permanent, "answered 422") })
	var errors []uuid.UUID
	for range limit {
		id := env.deliver("")
		env.waitForPhase(id, v1alpha1.PhaseError)
		errors = append(errors, id)
	}
	var unreadable []uuid.UUID
	for i := range 3 * limit {
		unreadable = append(unreadable, env.deliverUnparseable(fmt.Sprint("{", i)))
	}
	pruned := func(ended int64) bool {
		if query[int64](env, `SELECT count(*) FROM webhook_events WHERE status = 'error'`) < ended {
			return false
		}
		left := 0
		for _, id := range unreadable {
			if env.get(id) != nil {
				left++
			}
		}
		return left == limit
	}
	require.True(t, waitFor(func() bool { return pruned(4 * limit) }), "they have a separate limit")
	unreadable = append(unreadable, env.deliverUnparseable("{one more"))
	require.True(t, waitFor(func() bool { return pruned(4*limit + 1) }), "the limit was applied again")
	for _, id := range errors {
		assert.NotNil(t, env.get(id), "the earlier error is kept")
	}
}
