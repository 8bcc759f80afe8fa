package manifests_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// rights are what each ServiceAccount may do, as "group/resource verb": nothing else.
var rights = map[string]struct{ inItsNamespace, clusterWide []string }{
	"verity-sync-receiver": {
		inItsNamespace: []string{
			"webhooks.dfmiddleware.io/webhookevents create",
		},
		clusterWide: reviews,
	},
	"verity-sync-controller": {
		inItsNamespace: []string{
			"webhooks.dfmiddleware.io/webhookevents get", "webhooks.dfmiddleware.io/webhookevents list",
			"webhooks.dfmiddleware.io/webhookevents watch", "webhooks.dfmiddleware.io/webhookevents delete",
			"webhooks.dfmiddleware.io/webhookevents/status update",
			"coordination.k8s.io/leases get", "coordination.k8s.io/leases create", "coordination.k8s.io/leases update",
			"events.k8s.io/events create", "events.k8s.io/events patch",
		},
		clusterWide: reviews,
	},
	"verity-sync-migrate": {},
}

// reviews are what secured metrics need.
var reviews = []string{"authentication.k8s.io/tokenreviews create", "authorization.k8s.io/subjectaccessreviews create"}

// verbs are those of requests, and those that widen one's own rights.
var verbs = []string{
	"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "bind", "escalate", "impersonate", "approve", "sign",
}

// The drift test says that the kustomization has the same rules.
func accountsMayDoWhatTheyNeedAndNothingElse(t *testing.T, config *rest.Config) {
	cluster := newCluster(t, config)
	for _, object := range rendered["chart by default"](t) {
		if object.GetKind() == "ServiceAccount" || object.GroupVersionKind().Group == rbacv1.GroupName {
			require.NoError(t, cluster.apply(t, object))
		}
	}
	admin, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	stranger := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "stranger"}}
	_, err = admin.CoreV1().ServiceAccounts(namespace).Create(t.Context(), stranger, metav1.CreateOptions{})
	require.NoError(t, err)
	resources := resourcesOf(t, admin)
	everyones := allowed(t, actAs(t, config, admin, stranger.Name), namespace, resources)

	for account, want := range rights {
		client := actAs(t, config, admin, account)
		assert.ElementsMatch(t, slices.Concat(want.inItsNamespace, want.clusterWide, everyones),
			allowed(t, client, namespace, resources), "%s in its namespace", account)
		assert.ElementsMatch(t, slices.Concat(want.clusterWide, everyones),
			allowed(t, client, metav1.NamespaceAll, resources), "%s in all namespaces", account)
	}
}

// resource is a group and a resource, with its subresource.
type resource struct{ group, name string }

// resourcesOf returns everything that the API server serves, and what only rights know.
func resourcesOf(t *testing.T, client *kubernetes.Clientset) []resource {
	t.Helper()
	_, lists, err := client.Discovery().ServerGroupsAndResources()
	require.NoError(t, err)
	all := map[resource]bool{
		{"", "users"}: true, {"", "groups"}: true, {"", "serviceaccounts"}: true, {"*", "*"}: true, {"certificates.k8s.io", "signers"}: true,
	}
	for _, list := range lists {
		group, _, hasGroup := strings.Cut(list.GroupVersion, "/")
		if !hasGroup {
			group = ""
		}
		for _, served := range list.APIResources {
			all[resource{group, served.Name}] = true
		}
	}
	require.Contains(t, all, resource{"webhooks.dfmiddleware.io", "webhookevents/status"})
	var resources []resource
	for r := range all {
		resources = append(resources, r)
	}
	return resources
}

// actAs returns a client with a token of the account.
func actAs(t *testing.T, config *rest.Config, admin *kubernetes.Clientset, account string) *kubernetes.Clientset {
	t.Helper()
	token, err := admin.CoreV1().ServiceAccounts(namespace).
		CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)
	config = rest.AnonymousClientConfig(config)
	config.QPS = -1
	config.BearerToken = token.Status.Token
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return client
}

// allowed asks for every verb on every resource.
func allowed(t *testing.T, client *kubernetes.Clientset, namespace string, resources []resource) []string {
	t.Helper()
	answers := make([][]string, len(resources))
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(8)
	for i, r := range resources {
		group.Go(func() error {
			for _, verb := range verbs {
				yes, err := may(ctx, client, namespace, r, verb)
				if err != nil {
					return err
				}
				if yes {
					answers[i] = append(answers[i], fmt.Sprintf("%s/%s %s", r.group, r.name, verb))
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	return slices.Concat(answers...)
}

func may(ctx context.Context, client *kubernetes.Clientset, namespace string, r resource, verb string) (bool, error) {
	name, subresource, _ := strings.Cut(r.name, "/")
	review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: verb, Group: r.group, Resource: name, Subresource: subresource,
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}
