package install

import (
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAReleaseHasItsFiles makes the files of a release for this machine's architecture, as the release workflow does for all.
func TestAReleaseHasItsFiles(t *testing.T) {
	t.Parallel()
	const platform = "linux/" + runtime.GOARCH
	number := chartVersion(t)
	version, dist := "v"+number, t.TempDir()

	output, err := runIn(t, file(t), "make", "release-check", "release-files",
		"VERSION="+version, "DIST="+dist, "PLATFORMS="+platform, "IMG=registry.example.com/verity-sync:"+version)
	require.NoError(t, err, output)

	program := "verity-sync-linux-" + runtime.GOARCH
	entries, err := os.ReadDir(dist)
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	assert.ElementsMatch(t, []string{program, program + ".cdx.json", "verity-sync-" + number + ".tgz", "install.yaml", "SHA256SUMS"}, names)

	said, err := exec.CommandContext(t.Context(), filepath.Join(dist, program), "--version").CombinedOutput()
	require.NoError(t, err, "%s", said)
	assert.True(t, strings.HasPrefix(string(said), "verity-sync "+version+" (commit "), "%s", said)
	binary, err := elf.Open(filepath.Join(dist, program))
	require.NoError(t, err)
	defer func() { require.NoError(t, binary.Close()) }()
	libraries, err := binary.ImportedLibraries()
	require.NoError(t, err)
	assert.Empty(t, libraries, "the program is static")

	installer := readDist(t, dist, "install.yaml")
	assert.Contains(t, installer, "image: registry.example.com/verity-sync:"+version)
	assert.NotContains(t, installer, "image: verity-sync:")
	chart, err := runIn(t, dist, file(t, "bin", "helm"), "show", "chart", "verity-sync-"+number+".tgz")
	require.NoError(t, err, chart)
	assert.Contains(t, chart, "\nversion: "+number+"\n")
	assertBillOfMaterials(t, readDist(t, dist, program+".cdx.json"), version)

	checked, err := runIn(t, dist, "sha256sum", "--check", "--strict", "SHA256SUMS")
	require.NoError(t, err, checked)
	assert.Equal(t, len(names)-1, strings.Count(checked, ": OK\n"), "every file but the checksums has one")
}

// assertBillOfMaterials checks that a bill has what the program is built of, in the versions that it is built with.
func assertBillOfMaterials(t *testing.T, content, version string) {
	t.Helper()
	type component struct{ Name, Version string }
	var bill struct {
		BOMFormat  string
		Metadata   struct{ Component component }
		Components []component
	}
	require.NoError(t, json.Unmarshal([]byte(content), &bill))
	assert.Equal(t, "CycloneDX", bill.BOMFormat)
	assert.Equal(t, component{"github.com/dfmiddleware/verity-sync", version}, bill.Metadata.Component)
	pgx := regexp.MustCompile(`github\.com/jackc/pgx/v5 (\S+)`).FindStringSubmatch(readFile(t, "go.mod"))
	require.Len(t, pgx, 2)
	assert.Contains(t, bill.Components, component{"github.com/jackc/pgx/v5", pgx[1]})
	assert.Contains(t, bill.Components, component{"std", runtime.Version()})
}

func TestATreeIsReleasedAsTheVersionThatItSays(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"config/chart/Chart.yaml":           "version: 0.3.0\nappVersion: 0.3.0\n",
		"config/default/kustomization.yaml": "images:\n- name: verity-sync\n  newTag: 0.3.0\n",
		"CHANGELOG.md":                      "# Changelog\n\n## Unreleased\n\n## 0.3.0 - 2026-12-01\n\n### Added\n\n- A thing.\n\n## 0.2.0\n\nThe first.\n",
	}
	tests := map[string]struct {
		version string
		// Files that differ.
		files   map[string]string
		refused string
	}{
		"chart, kustomization and changelog have it": {version: "v0.3.0"},
		"a release candidate has the notes of its release": {version: "v0.3.0-rc.1", files: map[string]string{
			"config/chart/Chart.yaml": "version: 0.3.0-rc.1\nappVersion: 0.3.0-rc.1\n", "config/default/kustomization.yaml": "  newTag: 0.3.0-rc.1\n",
		}},
		"the chart is of another one": {version: "v0.3.0", files: map[string]string{
			"config/chart/Chart.yaml": "version: 0.2.0\nappVersion: 0.3.0\n",
		}, refused: "version of config/chart/Chart.yaml is 0.2.0, not 0.3.0"},
		"the chart runs another one": {version: "v0.3.0", files: map[string]string{
			"config/chart/Chart.yaml": "version: 0.3.0\nappVersion: 0.2.0\n",
		}, refused: "appVersion of config/chart/Chart.yaml is 0.2.0, not 0.3.0"},
		"the kustomization runs another one": {version: "v0.3.0", files: map[string]string{
			"config/default/kustomization.yaml": "  newTag: 0.2.0\n",
		}, refused: "newTag in config/default/kustomization.yaml is 0.2.0"},
		"the changelog lacks it": {version: "v0.3.0", files: map[string]string{
			"CHANGELOG.md": "# Changelog\n\n## Unreleased\n\n- A thing.\n\n## 0.2.0\n\nThe first.\n",
		}, refused: `CHANGELOG.md has no section "## 0.3.0"`},
		"the changelog has nothing to say": {version: "v0.3.0", files: map[string]string{
			"CHANGELOG.md": "# Changelog\n\n## 0.3.0\n\n## 0.2.0\n\nThe first.\n",
		}, refused: "or it is empty"},
		"a tag that is no version":    {version: "latest", refused: "VERSION=latest is not a version"},
		"a version without a v":       {version: "0.3.0", refused: "VERSION=0.3.0 is not a version"},
		"a version with two numbers":  {version: "v0.3", refused: "VERSION=v0.3 is not a version"},
		"a version with shell in it":  {version: "v0.3.0$(id)", refused: "is not a version"},
		"a commit instead of a tag":   {version: "0123abc", refused: "is not a version"},
		"another version of the same": {version: "v0.3.1", refused: "is 0.3.0, not 0.3.1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := t.TempDir()
			write := func(path, content string) {
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(tree, path)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(tree, path), []byte(content), 0o755))
			}
			write("hack/release.sh", readFile(t, "hack/release.sh"))
			for path, content := range files {
				write(path, content)
			}
			for path, content := range test.files {
				write(path, content)
			}

			output, err := runIn(t, tree, "hack/release.sh", "check", test.version)
			if test.refused != "" {
				require.Error(t, err)
				assert.Contains(t, output, test.refused)
				return
			}
			require.NoError(t, err, output)
			notes, err := runIn(t, tree, "hack/release.sh", "notes", test.version)
			require.NoError(t, err, notes)
			assert.Equal(t, "### Added\n\n- A thing.\n\n", notes)
		})
	}
}

// chartVersion is the version of the chart.
func chartVersion(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^version: (\S+)$`).FindStringSubmatch(readFile(t, "config/chart/Chart.yaml"))
	require.Len(t, found, 2)
	return found[1]
}

func readDist(t *testing.T, dist, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dist, name))
	require.NoError(t, err)
	return string(content)
}
