package manifests_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

func TestTheReceiverServiceIsWhatALoadBalancerNeeds(t *testing.T) {
	t.Parallel()
	balanced := corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: ptr.To("example.com/balancer"),
		LoadBalancerSourceRanges: []string{"203.0.113.0/24", "2001:db8::/32"}, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
	}
	tests := map[string]struct {
		arguments []string
		nodePort  int32
		want      corev1.ServiceSpec
	}{
		"by default it has no address outside of the cluster": {nil, 0, corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP}},
		"a load balancer with all options":                    {[]string{"--values=testdata/options.yaml"}, 30080, balanced},
		"a load balancer with no options": {
			[]string{"--set=receiver.service.type=LoadBalancer"}, 0, corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
		},
		"a given port of each node": {
			[]string{"--set=receiver.service.type=NodePort,receiver.service.nodePort=30080,receiver.service.externalTrafficPolicy=Cluster"}, 30080,
			corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var services []corev1.Service
			for _, object := range chart(t, test.arguments...) {
				if object.GetKind() != "Service" {
					continue
				}
				var service corev1.Service
				require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &service))
				if service.Spec.Ports[0].Name == "http" {
					services = append(services, service)
				}
			}
			require.Len(t, services, 1)
			got := services[0].Spec
			assert.Equal(t, test.nodePort, got.Ports[0].NodePort)
			got.Selector, got.Ports = nil, nil
			assert.Equal(t, test.want, got)
		})
	}
}

func TestEveryProcessGetsTheSidecarsAndThePlacement(t *testing.T) {
	t.Parallel()
	pods := 0
	for _, object := range rendered["chart with all options"](t) {
		if podOf(object) == nil {
			continue
		}
		pods++
		var template corev1.PodTemplateSpec
		content, _, err := unstructured.NestedMap(object.Object, "spec", "template")
		require.NoError(t, err)
		require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(content, &template))
		pod := template.Spec
		require.Len(t, pod.InitContainers, 1, object.GetName())
		assert.Equal(t, "database-proxy", pod.InitContainers[0].Name, object.GetName())
		assert.Equal(t, ptr.To(corev1.ContainerRestartPolicyAlways), pod.InitContainers[0].RestartPolicy, "it runs as long as the process")
		assert.Len(t, pod.Containers, 1, object.GetName())
		assert.Equal(t, "hooks", template.Labels["example.com/tier"], object.GetName())
		assert.Equal(t, "false", template.Annotations["example.com/scrape"], object.GetName())
		assert.Equal(t, map[string]string{"kubernetes.io/arch": "amd64"}, pod.NodeSelector, object.GetName())
		assert.Equal(t, []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}}, pod.Tolerations, object.GetName())
		assert.NotNil(t, pod.Affinity, object.GetName())
		assert.Equal(t, "high", pod.PriorityClassName, object.GetName())
	}
	assert.Equal(t, 3, pods)
	for _, object := range rendered["chart by default"](t) {
		assert.NotContains(t, podOf(object), "initContainers", object.GetName())
	}
}
