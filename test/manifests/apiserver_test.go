package manifests_test

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
)

// server starts a control plane that also knows the kinds of the Gateway API and of the Prometheus operator, with the namespace verity-sync.
func server(t *testing.T) *rest.Config {
	t.Helper()
	options, err := testenv.ControlPlaneOptions()
	require.NoError(t, err)
	gateway, prometheus := moduleDir(t, "sigs.k8s.io/gateway-api"), moduleDir(t, "github.com/prometheus-operator/prometheus-operator")
	options.CRDs = append(options.CRDs,
		filepath.Join(gateway, "config", "crd", "standard", "gateway.networking.k8s.io_httproutes.yaml"),
		filepath.Join(prometheus, "example", "prometheus-operator-crd", "monitoring.coreos.com_servicemonitors.yaml"),
		filepath.Join(prometheus, "example", "prometheus-operator-crd", "monitoring.coreos.com_prometheusrules.yaml"),
	)
	config := startServer(t, options).Config()
	createNamespace(t, config)
	return config
}

func startServer(t *testing.T, options controlplane.Options) *controlplane.ControlPlane {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	server, err := controlplane.Start(ctx, options)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	return server
}

// createNamespace makes the namespace as the kustomization has it, so that nothing runs in it that Pod Security's restricted does not allow.
func createNamespace(t *testing.T, config *rest.Config) {
	t.Helper()
	cluster := newCluster(t, config)
	for _, object := range rendered["kustomization by default"](t) {
		if object.GetKind() == "Namespace" {
			require.NoError(t, cluster.apply(t, object))
			return
		}
	}
	t.Fatal("the kustomization has no namespace")
}

// moduleDir returns the directory of a Go module that ../../hack/manifests/crds pins for its files.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	cmd.Dir = file(t, "hack", "manifests", "crds")
	output, err := cmd.Output()
	require.NoError(t, err)
	var downloaded struct{ Dir string }
	require.NoError(t, json.Unmarshal(output, &downloaded))
	return downloaded.Dir
}

// cluster applies objects of any kind.
type cluster struct {
	dynamic  *dynamic.DynamicClient
	mapper   meta.RESTMapper
	warnings *warnings
}

func newCluster(t *testing.T, config *rest.Config) *cluster {
	t.Helper()
	warnings := &warnings{}
	config = rest.CopyConfig(config)
	config.WarningHandler = warnings
	httpClient, err := rest.HTTPClientFor(config)
	require.NoError(t, err)
	mapper, err := apiutil.NewDynamicRESTMapper(config, httpClient)
	require.NoError(t, err)
	client, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	return &cluster{client, mapper, warnings}
}

// apply fails where a field is unknown or given twice. Options can make it a dry run.
func (c *cluster) apply(t *testing.T, object *unstructured.Unstructured, dryRun ...string) error {
	t.Helper()
	kind := object.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	require.NoError(t, err)
	content, err := object.MarshalJSON()
	require.NoError(t, err)
	_, err = c.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace()).Patch(t.Context(), object.GetName(),
		types.ApplyPatchType, content, metav1.PatchOptions{
			FieldManager: "test", Force: new(true), FieldValidation: metav1.FieldValidationStrict, DryRun: dryRun,
		})
	return err
}

// warnings are what the API server warns of.
type warnings struct {
	mu   sync.Mutex
	said []string
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, text)
}

func (w *warnings) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.said)
}

func TestARealAPIServer(t *testing.T) {
	t.Parallel()
	config := server(t)
	tests := map[string]func(*testing.T, *rest.Config){
		"takes every object": takesEveryObject,
		"admits every pod":   podSecurityAdmitsEveryPod,
		"lets accounts do what they need and nothing else": accountsMayDoWhatTheyNeedAndNothingElse,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, config)
		})
	}
}

func takesEveryObject(t *testing.T, config *rest.Config) {
	for name, render := range rendered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := newCluster(t, config)
			for _, object := range render(t) {
				assert.NoError(t, cluster.apply(t, object, metav1.DryRunAll), "%s %s", object.GetKind(), object.GetName())
			}
			assert.Empty(t, cluster.warnings.all())
		})
	}
	t.Run("samples", func(t *testing.T) {
		t.Parallel()
		cluster := newCluster(t, config)
		for _, object := range kustomization(t, file(t, "config", "samples")) {
			assert.NoError(t, cluster.apply(t, object, metav1.DryRunAll))
		}
	})
}

func podSecurityAdmitsEveryPod(t *testing.T, config *rest.Config) {
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	for name, render := range rendered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pods := 0
			for _, object := range render(t) {
				spec := podOf(object)
				if spec == nil {
					continue
				}
				pods++
				assert.NoError(t, createPod(t, client, spec), "%s %s", object.GetKind(), object.GetName())
			}
			assert.GreaterOrEqual(t, pods, 2)
		})
	}
	t.Run("but not one that may run as root", func(t *testing.T) {
		t.Parallel()
		for _, object := range rendered["chart by default"](t) {
			if spec := podOf(object); spec != nil {
				unstructured.RemoveNestedField(spec, "securityContext", "runAsNonRoot")
				assert.ErrorContains(t, createPod(t, client, spec), "runAsNonRoot")
			}
		}
	})
}

func createPod(t *testing.T, client *kubernetes.Clientset, spec map[string]any) error {
	t.Helper()
	content, err := json.Marshal(map[string]any{"metadata": map[string]any{"name": "pod"}, "spec": spec})
	require.NoError(t, err)
	pod := &corev1.Pod{}
	require.NoError(t, json.Unmarshal(content, pod))
	// An admission plugin that these control planes do not have would look for it.
	pod.Spec.PriorityClassName = ""
	_, err = client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}
