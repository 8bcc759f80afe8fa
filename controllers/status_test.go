package controllers_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
)

func TestMessageOfADoneEventSaysForwardedOnlyIfItWas(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ noForward, want string }{
		"Verity's webhook is configured":     {"", "forwarded; the contact's lead points at the live appointment that was booked last"},
		"the legacy middleware forwarded it": {v1alpha1.ForwardedByPredecessorReason, "forwarded; the contact's lead points at the live appointment that was booked last"},
		"Verity's webhook is not configured": {v1alpha1.ForwardNotConfiguredReason, "the contact's lead points at the live appointment that was booked last"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t, func(set *settings) { set.noForward = tc.noForward })
			e := env.waitForPhase(env.deliver("apt1"), v1alpha1.PhaseDone)
			assert.Equal(t, tc.want, meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition).Message)
		})
	}
}
