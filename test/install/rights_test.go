package install

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// right is one verb on one resource that a ServiceAccount has.
type right struct {
	account, group, resource, verb string
}

func (r right) String() string { return r.account + ": " + r.resource + " " + r.verb }

// rightsOf lists what objects let ServiceAccounts do.
func rightsOf(t testing.TB, objects []*unstructured.Unstructured) []right {
	t.Helper()
	rules := map[string][]rbacv1.PolicyRule{}
	for _, object := range objects {
		if object.GetKind() == "Role" || object.GetKind() == "ClusterRole" {
			role := convert[rbacv1.ClusterRole](t, object)
			rules[object.GetKind()+"/"+role.Name] = role.Rules
		}
	}
	var rights []right
	for _, object := range objects {
		if object.GetKind() != "RoleBinding" && object.GetKind() != "ClusterRoleBinding" {
			continue
		}
		binding := convert[rbacv1.ClusterRoleBinding](t, object)
		for _, subject := range binding.Subjects {
			for _, rule := range rules[binding.RoleRef.Kind+"/"+binding.RoleRef.Name] {
				rights = append(rights, rightsOfRule(subject.Name, rule)...)
			}
		}
	}
	return rights
}

func rightsOfRule(account string, rule rbacv1.PolicyRule) []right {
	var rights []right
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				rights = append(rights, right{account, group, resource, verb})
			}
		}
	}
	return rights
}

// without returns the roles among objects as they are without a verb.
func without(t *testing.T, objects []*unstructured.Unstructured, taken right) []*unstructured.Unstructured {
	t.Helper()
	var roles []*unstructured.Unstructured
	for _, object := range objects {
		ofAccount := object.GetKind() == "Role" && object.GetName() == taken.account
		// The ClusterRole is that of both accounts.
		ofBoth := object.GetKind() == "ClusterRole" && strings.HasSuffix(object.GetName(), "-metrics-auth")
		if !ofAccount && !ofBoth {
			continue
		}
		role := convert[rbacv1.ClusterRole](t, object)
		changed := false
		for n, rule := range role.Rules {
			var verbs []string
			for _, verb := range rule.Verbs {
				if rule.APIGroups[0] == taken.group && rule.Resources[0] == taken.resource && verb == taken.verb {
					changed = true
					continue
				}
				verbs = append(verbs, verb)
			}
			role.Rules[n].Verbs = verbs
		}
		role.Rules = nonEmpty(role.Rules)
		if changed {
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(role)
			require.NoError(t, err)
			roles = append(roles, &unstructured.Unstructured{Object: content})
		}
	}
	require.Len(t, roles, 1, "one role has %s", taken)
	return roles
}

func nonEmpty(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var kept []rbacv1.PolicyRule
	for _, rule := range rules {
		if len(rule.Verbs) > 0 {
			kept = append(kept, rule)
		}
	}
	return kept
}

// awaitRight waits until the API server allows an account something, or denies it.
func (i *installation) awaitRight(t *testing.T, r right, allowed bool) {
	t.Helper()
	require.Eventually(t, func() bool { return i.hasRight(t, r) == allowed }, systemtest.Timeout, systemtest.Tick, r.String())
}

func (i *installation) hasRight(t *testing.T, r right) bool {
	t.Helper()
	resource, subresource, _ := strings.Cut(r.resource, "/")
	review, err := i.client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "system:serviceaccount:" + i.namespace + ":" + r.account,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: i.namespace, Group: r.group, Resource: resource, Subresource: subresource, Verb: r.verb,
			},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return review.Status.Allowed
}

func convert[T any](t testing.TB, object *unstructured.Unstructured) *T {
	t.Helper()
	var to T
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &to))
	return &to
}
