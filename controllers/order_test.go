package controllers_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/webhooksink"
)

func TestAFailureKeepsOnlyThoseOperationsFromRunningThatComeAfterIt(t *testing.T) {
	t.Parallel()
	after := &scripted{spec: operation.TagsSpec}
	afterThat := &scripted{spec: operation.Spec{
		Name: "test.last", Direction: store.DirectionToGHL, Condition: v1alpha1.SyncedCondition, After: operation.TagsSpec.Name,
	}}
	independent := &scripted{spec: webhooksink.Spec}
	env := newEnvironment(t, func(set *settings) { set.more = []operation.Operation{after, afterThat, independent} })
	env.sync.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call == 1 {
			return failing(destination.Transient, "answered 503")
		}
		assert.Zero(t, after.calls(uuid.Nil)+afterThat.calls(uuid.Nil), "neither ran in the first attempt")
		assert.Equal(t, 1, independent.calls(uuid.Nil), "it ran in the first attempt")
		return operation.Done(v1alpha1.ResultLeadUpdated)
	})
	id := env.deliver("apt1")
	e := env.waitForPhase(id, v1alpha1.PhaseDone)
	assert.EqualValues(t, 2, e.Status.Attempts)
	for op, calls := range map[*scripted]int{env.forward: 1, env.sync: 2, after: 1, afterThat: 1, independent: 1} {
		assert.Equal(t, calls, op.calls(id), op.spec.Name)
	}
	assert.Equal(t, v1alpha1.ResultLeadUpdated, e.Status.Result)
}

func TestTheConditionSentReportsTheWebhookSink(t *testing.T) {
	t.Parallel()
	sink := &scripted{spec: webhooksink.Spec}
	env := newEnvironment(t, func(set *settings) { set.more = []operation.Operation{sink} })
	sink.script(func(call int, _ *store.Attempt) operation.Outcome {
		if call == 1 {
			return failing(destination.Permanent, "answered 410 Gone")
		}
		return operation.Outcome{}
	})
	e := env.waitForPhase(env.deliver("apt1"), v1alpha1.PhaseError)
	sent := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.SentCondition)
	assert.Equal(t, metav1.ConditionFalse, sent.Status)
	assert.Equal(t, v1alpha1.SendFailedReason, sent.Reason)
	assert.Contains(t, sent.Message, "answered 410 Gone")
	assert.True(t, meta.IsStatusConditionTrue(e.Status.Conditions, v1alpha1.SyncedCondition), "the sync is not affected")
}
