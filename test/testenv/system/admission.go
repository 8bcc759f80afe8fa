package system

import (
	"context"
	"errors"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
)

// DenyWebhookEvents has an admission policy deny, with 422, the WebhookEvents of the system's namespace for which a CEL expression is
// false. It returns once the policy is in force, with what lifts it.
func (s *System) DenyWebhookEvents(ctx context.Context, expression string) (lift func(context.Context) error, err error) {
	objects := []client.Object{
		&admissionregistrationv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: s.Namespace},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: &admissionregistrationv1.MatchResources{
					ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
						RuleWithOperations: admissionregistrationv1.RuleWithOperations{
							Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
							Rule: admissionregistrationv1.Rule{
								APIGroups: []string{v1alpha1.GroupVersion.Group}, APIVersions: []string{"*"},
								Resources: []string{"webhookevents"},
							},
						},
					}},
				},
				Validations: []admissionregistrationv1.Validation{{
					Expression: "object.spec.eventType != 'denied' && " + expression,
					Reason:     new(metav1.StatusReasonInvalid), Message: "not yet",
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
	lift = func(ctx context.Context) error {
		var failures []error
		for _, o := range objects {
			failures = append(failures, client.IgnoreNotFound(s.Kubernetes.Delete(ctx, o)))
		}
		return errors.Join(failures...)
	}
	for _, o := range objects {
		if err := s.Kubernetes.Create(ctx, o); err != nil {
			return nil, fmt.Errorf("create an admission policy: %w", errors.Join(err, lift(ctx)))
		}
	}
	const id = "00000000-0000-4000-8000-000000000000"
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		err := s.Kubernetes.Create(ctx, &v1alpha1.WebhookEvent{
			ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.NameOf("ghl", id), Namespace: s.Namespace},
			Spec: v1alpha1.WebhookEventSpec{
				EventID: id, Source: "ghl", EventType: "denied", EntityType: "unknown", ReceivedAt: metav1.NowMicro(),
			},
		}, client.DryRunAll)
		return err != nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait for an admission policy: %w", errors.Join(err, lift(ctx)))
	}
	return lift, nil
}
