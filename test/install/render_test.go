package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// way is a way to install: it renders what a tree of the project has for a namespace. The variables are those that are not secret, by
// process.
type way func(t testing.TB, tree, namespace string, variables variables) []*unstructured.Unstructured

type variables struct{ receiver, controller map[string]string }

// chart renders the chart with its default values, and those that more names.
func chart(more map[string]any) way {
	return func(t testing.TB, tree, namespace string, variables variables) []*unstructured.Unstructured {
		t.Helper()
		config := map[string]string{}
		for _, of := range []map[string]string{variables.receiver, variables.controller} {
			maps.Copy(config, of)
		}
		values := map[string]any{"config": config}
		maps.Copy(values, more)
		content, err := json.Marshal(values)
		require.NoError(t, err)
		objects := render(t, content, "helm", "template", "verity-sync", filepath.Join(tree, "config", "chart"), "--namespace="+namespace, "--values=-")
		// Helm creates it when a release is uninstalled, not when it is installed.
		return slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetAnnotations()["helm.sh/hook"] == "post-delete" })
	}
}

// kustomization renders config/default under an overlay such as users make. It has a namespace of its own.
func kustomization(t testing.TB, tree, _ string, variables variables) []*unstructured.Unstructured {
	t.Helper()
	return overlay(t, tree, variables)
}

// overlay renders config/default with components of config/.
func overlay(t testing.TB, tree string, variables variables, components ...string) []*unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	base, err := filepath.Rel(dir, filepath.Join(tree, "config"))
	require.NoError(t, err)
	for n, component := range components {
		components[n] = filepath.Join(base, component)
	}
	var generators []map[string]any
	for process, of := range map[string]map[string]string{"receiver": variables.receiver, "controller": variables.controller} {
		var literals []string
		for name, value := range of {
			literals = append(literals, name+"="+value)
		}
		generators = append(generators, map[string]any{
			"name": "verity-sync-" + process, "namespace": "verity-sync", "behavior": "merge", "literals": literals,
		})
	}
	overlay, err := json.Marshal(map[string]any{
		"resources": []string{filepath.Join(base, "default")}, "components": components, "configMapGenerator": generators,
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), overlay, 0o600))
	return render(t, nil, "kustomize", "build", dir)
}

// render runs a tool of bin/.
func render(t testing.TB, input []byte, tool string, arguments ...string) []*unstructured.Unstructured {
	t.Helper()
	path := file(t, "bin", tool)
	require.FileExists(t, path, "run `make bin/%s`", tool)
	cmd := exec.CommandContext(t.Context(), path, arguments...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "KUBECONFIG="+os.DevNull)
	cmd.Stdin = bytes.NewReader(input)
	output, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s: %w: %s", tool, err, exit.Stderr)
	}
	require.NoError(t, err)

	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(output), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			require.NotEmpty(t, objects)
			return objects
		}
		require.NoError(t, err)
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}
