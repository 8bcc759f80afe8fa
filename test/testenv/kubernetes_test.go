package testenv_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/dfmiddleware/verity-sync/test/testenv"
)

func TestTheAPIServerServesWebhookEvents(t *testing.T) {
	t.Parallel()
	client, err := kubernetes.NewForConfig(testenv.Kubernetes(t))
	require.NoError(t, err)

	resources, err := client.Discovery().ServerResourcesForGroupVersion("webhooks.dfmiddleware.io/v1alpha1")

	require.NoError(t, err)
	var names []string
	for _, resource := range resources.APIResources {
		names = append(names, resource.Name)
	}
	assert.Subset(t, names, []string{"webhookevents", "webhookevents/status"})
}

func TestTestsDoNotMeetInTheirNamespaces(t *testing.T) {
	t.Parallel()
	config := testenv.Kubernetes(t)
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	first, second := testenv.Namespace(t, config), testenv.Namespace(t, config)

	for _, namespace := range []string{first, second} {
		thing := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "thing"}}
		_, err = client.CoreV1().ConfigMaps(namespace).Create(t.Context(), thing, metav1.CreateOptions{})
		require.NoError(t, err)
	}

	assert.NotEqual(t, first, second)
}
