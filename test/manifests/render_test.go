// Package manifests_test holds what installs verity-sync, the Helm chart and the kustomization, against a real API server, against each
// other, and against what the processes know of themselves.
package manifests_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// namespace is where the kustomization installs.
const namespace = "verity-sync"

// rendered are all the ways to install that are tested.
var rendered = map[string]func(t testing.TB) []*unstructured.Unstructured{
	"chart by default":          func(t testing.TB) []*unstructured.Unstructured { return chart(t) },
	"chart with all components": func(t testing.TB) []*unstructured.Unstructured { return chart(t, "--values=testdata/everything.yaml") },
	"chart with all options":    func(t testing.TB) []*unstructured.Unstructured { return chart(t, "--values=testdata/options.yaml") },
	"smallest chart":            func(t testing.TB) []*unstructured.Unstructured { return chart(t, "--values=testdata/smallest.yaml") },
	"kustomization by default":  func(t testing.TB) []*unstructured.Unstructured { return kustomization(t, file(t, "config", "default")) },
	"kustomization with all components": func(t testing.TB) []*unstructured.Unstructured {
		return kustomization(t, "testdata/everything")
	},
	"sample overlay": func(t testing.TB) []*unstructured.Unstructured {
		return kustomization(t, file(t, "config", "samples", "overlay"))
	},
}

// chart renders the chart as the release verity-sync, hooks included.
func chart(t testing.TB, arguments ...string) []*unstructured.Unstructured {
	t.Helper()
	output, err := helm(t, append([]string{"template", "verity-sync", file(t, "config", "chart"), "--namespace=" + namespace}, arguments...)...)
	require.NoError(t, err)
	return objects(t, output)
}

func kustomization(t testing.TB, path string) []*unstructured.Unstructured {
	t.Helper()
	output, err := run(t, nil, "kustomize", "build", path)
	require.NoError(t, err)
	return objects(t, output)
}

func helm(t testing.TB, arguments ...string) ([]byte, error) {
	t.Helper()
	return run(t, nil, "helm", arguments...)
}

// run runs a tool of bin/.
func run(t testing.TB, input io.Reader, tool string, arguments ...string) ([]byte, error) {
	t.Helper()
	cmd := command(t, tool, arguments...)
	cmd.Stdin = input
	return output(cmd)
}

func command(t testing.TB, tool string, arguments ...string) *exec.Cmd {
	t.Helper()
	path := file(t, "bin", tool)
	require.FileExists(t, path, "run `make bin/%s`", tool)
	cmd := exec.CommandContext(t.Context(), path, arguments...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "KUBECONFIG="+os.DevNull)
	return cmd
}

// output returns what a tool says of a mistake as its error.
func output(cmd *exec.Cmd) ([]byte, error) {
	output, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = errors.New(string(exit.Stderr) + string(output))
	}
	return output, err
}

func objects(t testing.TB, manifests []byte) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			require.NotEmpty(t, all)
			return all
		}
		require.NoError(t, err)
		if len(object.Object) > 0 {
			all = append(all, object)
		}
	}
}

func file(t testing.TB, elem ...string) string {
	t.Helper()
	path, err := repo.Path(elem...)
	require.NoError(t, err)
	return path
}
