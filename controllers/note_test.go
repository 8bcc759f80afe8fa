package controllers_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

func TestConditionSyncedShowsTheNoteOfASync(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.sync.script(func(int, *store.Attempt) operation.Outcome {
		return operation.Outcome{Result: v1alpha1.ResultContactSynced, Note: "the phone number changed"}
	})
	e := env.waitForPhase(env.deliver("apt1"), v1alpha1.PhaseDone)
	synced := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.SyncedCondition)
	assert.Equal(t, v1alpha1.SyncedReason, synced.Reason)
	assert.Equal(t, "the phone number changed", synced.Message)
}
