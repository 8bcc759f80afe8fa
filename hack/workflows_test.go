package hack

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// workflow is what is checked of a file in .github/workflows; `make lint` checks its syntax with actionlint.
type workflow struct {
	Permissions map[string]string `json:"permissions"`
	Jobs        map[string]struct {
		Uses    string `json:"uses"`
		Timeout int    `json:"timeout-minutes"`
		Steps   []step `json:"steps"`
	} `json:"jobs"`
}

type step struct {
	Uses string         `json:"uses"`
	With map[string]any `json:"with"`
	Run  string         `json:"run"`
}

func TestWorkflowsRunWhatRunsHere(t *testing.T) {
	t.Parallel()
	makefile := text(t, "Makefile")
	files, err := filepath.Glob(filepath.Join(folder(t, ".github", "workflows"), "*.yaml"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 3)
	targets := 0
	for _, path := range files {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		var flow workflow
		require.NoError(t, yaml.Unmarshal(content, &flow), path)
		name := filepath.Base(path)

		assert.Equal(t, map[string]string{"contents": "read"}, flow.Permissions, "%s: a job that needs more says so itself", name)
		for job, of := range flow.Jobs {
			assert.True(t, of.Timeout > 0 || of.Uses != "", "%s: %s ends some time", name, job)
			for _, step := range of.Steps {
				assertPinned(t, name, step)
				// A value of the event in a script would be run as one.
				assert.NotContains(t, step.Run, "${{", "%s: %s", name, step.Run)
				for _, found := range regexp.MustCompile(`(?m)\bmake ([a-z-]+)`).FindAllStringSubmatch(step.Run, -1) {
					assert.Regexp(t, `(?m)^`+found[1]+`:.*##`, makefile, name)
					targets++
				}
				for _, script := range regexp.MustCompile(`(?m)(?:^|\s)((?:hack|\.ci)/\S+)`).FindAllStringSubmatch(step.Run, -1) {
					assert.FileExists(t, folder(t, script[1]), name)
				}
			}
		}
	}
	assert.Greater(t, targets, 4)
}

// assertPinned checks that an action has a version, and leaves no token behind that it does not need.
func assertPinned(t *testing.T, workflow string, step step) {
	t.Helper()
	if step.Uses == "" {
		return
	}
	assert.Regexp(t, `^[\w-]+/[\w-]+@v\d+(\.\d+)*$`, step.Uses, workflow)
	if strings.HasPrefix(step.Uses, "actions/checkout@") {
		assert.Equal(t, false, step.With["persist-credentials"], "%s: %s", workflow, step.Uses)
	}
}

// TestTheWorkflowOfChangesRunsEveryCheck: what .ci/run checks is checked of each change and before each release.
func TestTheWorkflowOfChangesRunsEveryCheck(t *testing.T) {
	t.Parallel()
	assert.Regexp(t, `(?m)^      - run: \.ci/run$`, text(t, ".github", "workflows", "ci.yaml"))
	assert.Regexp(t, `(?s)checks:\n    uses: \./\.github/workflows/ci\.yaml\n.*\n    needs: checks\n`, text(t, ".github", "workflows", "release.yaml"))
	assert.Regexp(t, `(?m)^lint: .*bin/actionlint`, text(t, "Makefile"))
}

// folder returns the path of a file or folder of the repository.
func folder(t *testing.T, elem ...string) string {
	t.Helper()
	path, err := repo.Path(elem...)
	require.NoError(t, err)
	return path
}
