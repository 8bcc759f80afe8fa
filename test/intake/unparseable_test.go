package intake_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

func TestABodyThatAMergeFieldHasBrokenEndsInErrorAndIsKept(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body, contentType, says string
	}{
		"a line break in a note":   {"{\"contact_id\":\"c1\",\n\"note\":\"Ann Example\ncalls back\"}", asJSON, "in string literal at byte 40, in line 2"},
		"a quote in a note":        {`{"contact_id":"c1","note":"says "hi" to Ann Example"}`, asJSON, "after object key:value pair at byte 34, in line 1"},
		"bytes of another charset": {"{\"name\":\"Zo\xeb Example\"}", asJSON, "not valid UTF-8 at byte 12, in line 1"},
		"a percent sign in a form": {"contact_id=c1&note=100% Ann Example", asForm, "broken percent escape"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := ghlsender.Webhook{Body: []byte(test.body), ContentType: test.contentType}
			first := post(t, middleware.Receivers[0], w)
			assert.Equal(t, "unparseable", first.Outcome)
			again := post(t, middleware.Receivers[1], w)
			assert.Equal(t, "duplicate", again.Outcome)
			assert.Equal(t, first.ID, again.ID)

			var e v1alpha1.WebhookEvent
			systemtest.Eventually(t, func(c *assert.CollectT) {
				key := client.ObjectKey{Namespace: middleware.Namespace, Name: v1alpha1.NameOf("ghl", first.ID)}
				require.NoError(c, middleware.Kubernetes.Get(t.Context(), key, &e))
				require.Equal(c, v1alpha1.PhaseError, e.Status.Phase)
			})
			assert.Equal(t, "unparseable", e.Spec.EventType)
			ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition)
			require.NotNil(t, ready)
			assert.Equal(t, v1alpha1.UnparseableReason, ready.Reason)
			assert.Contains(t, ready.Message, test.says)
			assert.NotContains(t, ready.Message, "Example")

			var raw []byte
			var attempts int
			require.NoError(t, middleware.Database.QueryRow(t.Context(),
				`SELECT payload_raw, attempts FROM webhook_events WHERE id = $1`, first.ID).Scan(&raw, &attempts))
			assert.Equal(t, test.body, string(raw))
			assert.Equal(t, 1, attempts)
			assert.Empty(t, forwardsOf(first.ID))
		})
	}
	t.Run("signed, it is refused", func(t *testing.T) {
		t.Parallel()
		answer, err := middleware.Post(t.Context(), middleware.Receivers[0],
			ghlsender.Webhook{Body: []byte("{\"note\":\"\n\"}"), ContentType: asJSON, Signed: true})
		require.NoError(t, err)
		assert.Equal(t, http.StatusBadRequest, answer.Status)
	})
}
