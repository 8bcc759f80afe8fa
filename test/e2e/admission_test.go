package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/internal/testenv/system"
)

// denyOpportunities has the API server deny the WebhookEvents of opportunities with 422, and returns what lifts that.
func denyOpportunities(t *testing.T, s *system.System) (lift func()) {
	t.Helper()
	objects := []client.Object{
		&admissionregistrationv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: s.Namespace},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: &admissionregistrationv1.MatchResources{
					ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
						RuleWithOperations: admissionregistrationv1.RuleWithOperations{
							Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
							Rule: admissionregistrationv1.Rule{
								APIGroups: []string{v1alpha1.GroupVersion.Group}, APIVersions: []string{"*"}, Resources: []string{"webhookevents"},
							},
						},
					}},
				},
				Validations: []admissionregistrationv1.Validation{{
					Expression: "object.spec.entityType != 'opportunity'", Reason: ptr.To(metav1.StatusReasonInvalid), Message: "not yet",
				}},
			},
		},
		&admissionregistrationv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: s.Namespace},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: s.Namespace, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
				MatchResources: &admissionregistrationv1.MatchResources{
					NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.Namespace}},
				},
			},
		},
	}
	for _, o := range objects {
		require.NoError(t, s.Kubernetes.Create(t.Context(), o))
	}
	lift = func() {
		for _, o := range objects {
			assert.NoError(t, client.IgnoreNotFound(s.Kubernetes.Delete(t.Context(), o)))
		}
	}
	require.Eventually(t, func() bool {
		e := &v1alpha1.WebhookEvent{
			ObjectMeta: metav1.ObjectMeta{Name: nameOf("00000000-0000-4000-8000-000000000000"), Namespace: s.Namespace},
			Spec: v1alpha1.WebhookEventSpec{
				EventID: "00000000-0000-4000-8000-000000000000", Source: "ghl", EventType: "x", EntityType: "opportunity",
				ReceivedAt: metav1.NowMicro(),
			},
		}
		return s.Kubernetes.Create(t.Context(), e, client.DryRunAll) != nil
	}, eventually, tick)
	return lift
}

func TestAnEventThatAnAdmissionPolicyDeniesWaitsAndGoesOnByItself(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1})
	lift := denyOpportunities(t, s)
	opportunity := ghlsender.Opportunity{ID: ghlsender.NewID(), ContactID: ghlsender.NewID()}

	first := post(t, s, s.Sender.Opportunity(ghlsender.Create, opportunity))
	second := post(t, s, s.Sender.Opportunity(ghlsender.Update, opportunity))
	other := post(t, s, note(s))

	waitFor(t, s, other, v1alpha1.PhaseDone)
	for _, id := range []string{first, second} {
		require.Eventually(t, func() bool { return rowOf(t, s, id).Reason != "" }, eventually, tick)
		assert.Equal(t, row{Status: "pending", Reason: v1alpha1.NotCreatedReason}, rowOf(t, s, id))
	}

	lift()

	for _, id := range []string{first, second} {
		waitFor(t, s, id, v1alpha1.PhaseDone)
		assert.Equal(t, row{Status: "done", Attempts: 1, Reason: "Done"}, rowOf(t, s, id))
		times, _ := forwardsOf(s, id)
		assert.Equal(t, 1, times)
	}
	var ordered bool
	require.NoError(t, s.Database.QueryRow(t.Context(), `
		SELECT b.started_at >= a.processed_at FROM webhook_events a, webhook_events b WHERE a.id = $1 AND b.id = $2`, first, second).Scan(&ordered))
	assert.True(t, ordered, "the younger event of an entity waits for the older one")
}
