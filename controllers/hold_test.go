package controllers_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// What a WebhookEvent says of its next attempt is a projection as well: somebody may have written it.
func TestATimeThatAUserWroteDoesNotPutTheNextAttemptOff(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(set *settings) { set.backoff.Base, set.backoff.Max = 2*time.Second, 2*time.Second })
	s.forward.script(func(call int, _ *store.Claimed) operation.Outcome {
		if call == 1 {
			return failing(destination.Transient, "answered 503")
		}
		return operation.Outcome{}
	})
	id := s.post("apt1")
	e := s.untilReason(id, v1alpha1.RetryScheduledReason)
	later := metav1.NewTime(time.Now().AddDate(1, 0, 0))
	e.Status.NextAttemptTime = &later
	require.NoError(t, s.client.Status().Update(t.Context(), e))
	s.untilPhase(id, v1alpha1.PhaseDone)
}
