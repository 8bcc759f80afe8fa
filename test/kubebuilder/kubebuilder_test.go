// Package kubebuilder tests that kubebuilder's commands work on the layout of this repository.
package kubebuilder

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// TestKubebuilderCreatesAnAPI runs `kubebuilder create api` on a copy of the tree, and builds what comes of it. kubebuilder runs `go mod
// tidy`, which fetches what the tests that it writes import.
func TestKubebuilderCreatesAnAPI(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		arguments []string
		files     []string
		packages  []string
		// What is in a file of the tree then, by its path.
		contains map[string]string
		installs string
	}{
		"a kind with a controller": {
			arguments: []string{"--group=webhooks", "--version=v1alpha1", "--kind=Foo", "--resource", "--controller"},
			files:     []string{"api/v1alpha1/foo_types.go", "internal/controller/foo_controller.go", "config/samples/webhooks_v1alpha1_foo.yaml"},
			packages:  []string{"./api/...", "./internal/controller"},
			contains: map[string]string{
				"cmd/main.go":                       "controller.FooReconciler{",
				"config/samples/kustomization.yaml": "- webhooks_v1alpha1_foo.yaml",
				"PROJECT":                           "kind: Foo",
			},
			installs: "foos.webhooks.dfmiddleware.io",
		},
		"a kind of another version, without a controller": {
			arguments: []string{"--group=webhooks", "--version=v1beta1", "--kind=Bar", "--resource", "--controller=false"},
			files:     []string{"api/v1beta1/bar_types.go"},
			packages:  []string{"./api/..."},
			contains:  map[string]string{"cmd/main.go": "utilruntime.Must(webhooksv1beta1.AddToScheme(scheme))"},
			installs:  "bars.webhooks.dfmiddleware.io",
		},
		"a controller of a kind of Kubernetes": {
			arguments: []string{"--group=core", "--version=v1", "--kind=Pod", "--resource=false", "--controller"},
			files:     []string{"internal/controller/pod_controller.go"},
			packages:  []string{"./internal/controller"},
			contains:  map[string]string{"cmd/main.go": "controller.PodReconciler{"},
			installs:  "webhookevents.webhooks.dfmiddleware.io",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := copyOfTheTree(t)
			tool := func(name string, arguments ...string) string {
				path, err := repo.Path("bin", name)
				require.NoError(t, err)
				return run(t, tree, path, arguments...)
			}

			tool("kubebuilder", append([]string{"create", "api", "--make=false"}, test.arguments...)...)
			// The recipes of `make generate manifests` for Go types.
			tool("controller-gen", "object:headerFile=hack/boilerplate.go.txt", "paths=./api/...")
			tool("controller-gen", "crd", "paths=./api/...", "output:crd:dir=config/crd/bases")

			for _, path := range test.files {
				assert.FileExists(t, filepath.Join(tree, path))
			}
			for path, want := range test.contains {
				content, err := os.ReadFile(filepath.Join(tree, path))
				require.NoError(t, err)
				assert.Contains(t, string(content), want, path)
			}
			// Compiles the tests that were written, too.
			run(t, tree, "go", append([]string{"vet", "./cmd"}, test.packages...)...)
			run(t, tree, "go", "build", "-trimpath", "-o", "verity-sync", "./cmd")
			assert.Contains(t, run(t, tree, "./verity-sync", "controller", "--help"), "--leader-elect")
			assert.Contains(t, tool("kustomize", "build", "config/default"), "\n  name: "+test.installs+"\n")
		})
	}
}

// copyOfTheTree returns a copy of the files of the repository, as a clone has them, with changes that are not committed yet.
func copyOfTheTree(t *testing.T) string {
	t.Helper()
	root, err := repo.Path()
	require.NoError(t, err)
	tree := t.TempDir()
	for path := range strings.SplitSeq(run(t, root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, path))
		if path == "" || os.IsNotExist(err) {
			continue // Removed, but not committed yet.
		}
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(tree, path)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(tree, path), content, 0o644))
	}
	return tree
}

// run returns what a program printed.
func run(t *testing.T, directory, program string, arguments ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, arguments...)
	cmd.Dir = directory
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "PWD="+directory)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %s: %s", program, strings.Join(arguments, " "), output)
	return string(output)
}
