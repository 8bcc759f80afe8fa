package manifests_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// allOptions are values of a user that have the chart render every object.
var allOptions = []string{"--values=testdata/everything.yaml", "--values=testdata/options.yaml", "--set=metrics.secure=true,metrics.pprof=true"}

// `helm upgrade --reuse-values` puts the values of the earlier chart in place of this one's defaults. testdata has those of each release.
func TestTheChartTakesTheValuesOfEveryRelease(t *testing.T) {
	t.Parallel()
	releases, err := filepath.Glob("testdata/values-*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, releases)
	for _, release := range releases {
		earlier := chartWith(t, readYAML(t, release))
		for name, options := range map[string][]string{"alone": nil, "with all options": allOptions} {
			t.Run(strings.TrimSuffix(filepath.Base(release), ".yaml")+" "+name, func(t *testing.T) {
				t.Parallel()
				want := install(t, file(t, "config", "chart"), append([]string{"--values=" + release}, options...)...)
				assert.Equal(t, want, install(t, earlier, options...), "what the release did not know has its default")
			})
		}
	}
}

func TestAValueThatIsAbsentHasItsDefault(t *testing.T) {
	t.Parallel()
	whole := file(t, "config", "chart")
	byDefault, withOptions := install(t, whole), install(t, whole, allOptions...)
	t.Run("all of them", func(t *testing.T) {
		t.Parallel()
		none := chartWith(t, map[string]any{})
		assert.Equal(t, byDefault, install(t, none))
		assert.Equal(t, withOptions, install(t, none, allOptions...))
	})
	paths := pathsOf(readYAML(t, file(t, "config", "chart", "values.yaml")), nil)
	require.Greater(t, len(paths), 150)
	for _, path := range paths {
		if slices.Contains(path, "resources") && path[len(path)-1] != "resources" {
			continue // Null removes these: TestADefaultResourceIsRemovedByNull.
		}
		t.Run(strings.Join(path, "."), func(t *testing.T) {
			t.Parallel()
			// Helm removes what is null before a template sees it.
			null := "--set=" + strings.Join(path, ".") + "=null"
			assert.Equal(t, byDefault, install(t, whole, null))
			values := readYAML(t, file(t, "config", "chart", "values.yaml"))
			if _, isObject := remove(values, path).(map[string]any); isObject {
				assert.Equal(t, withOptions, install(t, chartWith(t, values), allOptions...))
			}
		})
	}
}

func TestADefaultResourceIsRemovedByNull(t *testing.T) {
	t.Parallel()
	for _, object := range chart(t, "--set=receiver.resources.requests=null,receiver.resources.limits=null,controller.resources.limits=null") {
		if object.GetKind() == "Deployment" {
			container := containersOf(podOf(object))[0]
			resources := container["resources"].(map[string]any)
			assert.NotContains(t, resources, "limits", container["name"])
			assert.Equal(t, container["name"] == "controller", resources["requests"] != nil, container["name"])
		}
	}
}

func TestEveryTemplateBeginsWithTheDefaults(t *testing.T) {
	t.Parallel()
	root := file(t, "config", "chart", "templates")
	templates := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) == ".tpl" {
			return err
		}
		content, err := os.ReadFile(path)
		assert.True(t, strings.HasPrefix(string(content), "{{- include \"verity-sync.defaults\" . }}\n"), path)
		templates++
		return err
	}))
	assert.Greater(t, templates, 10)
}

// install renders everything that an installation makes and says.
func install(t *testing.T, chart string, arguments ...string) string {
	t.Helper()
	output, err := helm(t, append([]string{"install", "verity-sync", chart, "--namespace=" + namespace, "--dry-run=client"}, arguments...)...)
	require.NoError(t, err)
	_, rendered, found := strings.Cut(string(output), "\nHOOKS:\n") // Before that stands when.
	require.True(t, found)
	return rendered
}

// chartWith returns a copy of the chart with other default values.
func chartWith(t *testing.T, values map[string]any) string {
	t.Helper()
	directory := t.TempDir()
	require.NoError(t, os.CopyFS(directory, os.DirFS(file(t, "config", "chart"))))
	content, err := yaml.Marshal(values)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(directory, "values.yaml"), content, 0o600))
	return directory
}

// pathsOf returns the paths of all values: of mappings, and of what is in them.
func pathsOf(values map[string]any, parent []string) [][]string {
	var paths [][]string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		path := append(slices.Clone(parent), key)
		paths = append(paths, path)
		if below, isObject := values[key].(map[string]any); isObject {
			paths = append(paths, pathsOf(below, path)...)
		}
	}
	return paths
}

// remove removes a value, and returns it.
func remove(values map[string]any, path []string) any {
	for _, key := range path[:len(path)-1] {
		values = values[key].(map[string]any)
	}
	key := path[len(path)-1]
	defer delete(values, key)
	return values[key]
}
