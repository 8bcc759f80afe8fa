package manifests_test

import (
	"cmp"
	"maps"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestChartAndKustomizationInstallTheSame(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ chart, kustomization string }{
		"by default":          {"chart by default", "kustomization by default"},
		"with all components": {"chart with all components", "kustomization with all components"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, want := byName(t, rendered[test.chart](t)), byName(t, rendered[test.kustomization](t))

			// kubectl makes the namespace with the rest, Helm by itself.
			delete(want, "Namespace/verity-sync")
			assert.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(got)))
			for key, object := range want {
				assert.Equal(t, object, got[key], "%s is expected as the kustomization has it", key)
			}
		})
	}
}

func TestTheInstallerInstallsTheSame(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "make", "build-installer", "IMG=verity-sync:"+appVersion(t))
	cmd.Dir = file(t)
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, string(said))
	installer, err := os.ReadFile(file(t, "dist", "install.yaml"))
	require.NoError(t, err)
	assert.Equal(t, byName(t, rendered["kustomization by default"](t)), byName(t, objects(t, installer)))
}

// byName returns objects as YAML by kind and name, without what says how they were made. The variables of ConfigMaps are those of the containers
// that are given them, and whatever has names is in their order.
func byName(t *testing.T, all []*unstructured.Unstructured) map[string]string {
	t.Helper()
	configMaps := map[string]*unstructured.Unstructured{}
	for _, object := range all {
		if object.GetKind() == "ConfigMap" {
			configMaps[object.GetName()] = object
		}
	}
	result := map[string]string{}
	for _, object := range all {
		if object.GetKind() == "ConfigMap" || object.GetAnnotations()["helm.sh/hook"] == "post-delete" {
			continue // What cleans up after an installation is no part of it.
		}
		object.SetLabels(without(object.GetLabels(), "helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"))
		object.SetAnnotations(without(object.GetAnnotations(),
			"helm.sh/hook", "helm.sh/hook-weight", "helm.sh/hook-delete-policy", "helm.sh/resource-policy"))
		if pod := podOf(object); pod != nil {
			sortByName(pod, "volumes")
			for _, container := range containersOf(pod) {
				inlineConfigMaps(t, container, configMaps)
				sortByName(container, "env", "ports", "volumeMounts")
				slices.SortFunc(container["args"].([]any)[1:], func(a, b any) int { return cmp.Compare(a.(string), b.(string)) })
			}
		}
		key := object.GetKind() + "/" + object.GetName()
		require.NotContains(t, result, key, "rendered twice")
		text, err := yaml.Marshal(object.Object)
		require.NoError(t, err)
		result[key] = string(text)
	}
	return result
}

// podOf returns the spec of the pods that an object makes, nil where it makes none.
func podOf(object *unstructured.Unstructured) map[string]any {
	spec, _, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "template", "spec")
	pod, _ := spec.(map[string]any)
	return pod
}

func containersOf(pod map[string]any) []map[string]any {
	var containers []map[string]any
	for _, container := range pod["containers"].([]any) {
		containers = append(containers, container.(map[string]any))
	}
	return containers
}

func inlineConfigMaps(t *testing.T, container map[string]any, configMaps map[string]*unstructured.Unstructured) {
	t.Helper()
	sources, _ := container["envFrom"].([]any)
	for _, source := range sources {
		name, _, err := unstructured.NestedString(source.(map[string]any), "configMapRef", "name")
		require.NoError(t, err)
		require.Contains(t, configMaps, name)
		data, _, err := unstructured.NestedStringMap(configMaps[name].Object, "data")
		require.NoError(t, err)
		for name, value := range data {
			container["env"] = append(container["env"].([]any), map[string]any{"name": name, "value": value})
		}
	}
	delete(container, "envFrom")
}

func sortByName(object map[string]any, fields ...string) {
	for _, field := range fields {
		if list, ok := object[field].([]any); ok {
			slices.SortFunc(list, func(a, b any) int {
				return cmp.Compare(a.(map[string]any)["name"].(string), b.(map[string]any)["name"].(string))
			})
		}
	}
}

// without returns nil where nothing is left, so that the field goes too.
func without(m map[string]string, keys ...string) map[string]string {
	for _, key := range keys {
		delete(m, key)
	}
	if len(m) == 0 {
		return nil
	}
	return m
}
