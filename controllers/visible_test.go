package controllers_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

func TestMessagesHaveNoInvisibleCharacters(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.sync.script(func(int, *store.Attempt) operation.Outcome {
		return failing(destination.Permanent, "no contact \u202eABC\u202c\x1b[2J of\u2028Verity\u200b")
	})
	e := env.waitForPhase(env.deliver("apt1"), v1alpha1.PhaseError)
	const want = "verity-http: no contact ABC[2J of Verity"
	assert.Equal(t, want, meta.FindStatusCondition(e.Status.Conditions, v1alpha1.SyncedCondition).Message)
	assert.Contains(t, meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition).Message, want)
	assert.Contains(t, meta.FindStatusCondition(e.Status.Conditions, v1alpha1.StalledCondition).Message, want)
}
