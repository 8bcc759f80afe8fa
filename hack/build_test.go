// Package hack tests how the programs of this repository are built.
package hack

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// program makes a module with a program, and returns its folder.
func program(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/program\n\ngo 1.26\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
	return dir
}

// build runs go-build.sh and returns what it printed.
func build(t *testing.T, dir, output string, arguments ...string) (string, error) {
	t.Helper()
	script, err := repo.Path("hack", "go-build.sh")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), script, append([]string{"program", output}, arguments...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PWD="+dir)
	printed, err := cmd.CombinedOutput()
	return string(printed), err
}

func TestAProgramIsBuiltWithTheFlagsOfAll(t *testing.T) {
	t.Parallel()
	dir := program(t, "package main\n\nvar said string\n\nfunc main() { println(said) }\n")
	output := filepath.Join(dir, "program")

	printed, err := build(t, dir, output, "-ldflags", "-s -X main.said=hello", ".")

	require.NoError(t, err, printed)
	said, err := exec.CommandContext(t.Context(), output).CombinedOutput()
	require.NoError(t, err)
	assert.Equal(t, "hello\n", string(said))
	version, err := exec.CommandContext(t.Context(), "go", "version", "-m", output).Output()
	require.NoError(t, err)
	assert.Contains(t, string(version), "build\t-trimpath=true\n")
	assert.Contains(t, string(version), "build\tCGO_ENABLED=0\n")
}

func TestABuildThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ source, says string }{
		"a mistake that the compiler finds": {"package main\n\nfunc main() { missing() }\n", "undefined: missing"},
		"a package that is not there":       {"package main\n\nimport _ \"example.com/program/missing\"\n\nfunc main() {}\n", "example.com/program/missing"},
		"a file that does not parse":        {"package main\n\nfunc main() {\n", "main.go"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := program(t, test.source)
			printed, err := build(t, dir, filepath.Join(dir, "program"), ".")
			require.Error(t, err)
			assert.Contains(t, printed, test.says)
			assert.NoFileExists(t, filepath.Join(dir, "program"))
		})
	}
}

// A build with other flags compiles everything that the others have compiled once more.
func TestEveryProgramIsBuiltByTheScript(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"Makefile", "hack/controlplane/build.sh", "hack/node/build.sh", "hack/prerequisites.sh", "hack/test.sh"} {
		file, err := repo.Path(path)
		require.NoError(t, err)
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(content)) {
			assert.NotRegexp(t, `\bgo (build|install)\b`, line, path)
			if strings.Contains(line, "go run") {
				assert.Regexp(t, `CGO_ENABLED=0 go run -trimpath `, line, path)
			}
		}
	}
}

// What two builds have in common is compiled once where both have the same version of it.
func TestKubernetesIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	shared := []string{"k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go"}
	want := required(t, "go.mod")
	for _, module := range []string{"controlplane/kubernetes", "tools/helm", "tools/promtool"} {
		got := required(t, "hack", module, "go.mod")
		for _, path := range shared {
			require.NotEmpty(t, want[path])
			assert.Equal(t, want[path], got[path], "%s in hack/%s/go.mod", path, module)
		}
	}
}

// required returns the versions that a go.mod requires.
func required(t *testing.T, elem ...string) map[string]string {
	t.Helper()
	file, err := repo.Path(elem...)
	require.NoError(t, err)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	versions := map[string]string{}
	for _, found := range regexp.MustCompile(`(?m)^\t(\S+) (v\S+)(?: // indirect)?$`).FindAllStringSubmatch(string(content), -1) {
		versions[found[1]] = found[2]
	}
	return versions
}
