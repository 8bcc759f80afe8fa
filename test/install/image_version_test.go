package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAnImageReportsTheVersionThatItsNameSays has make build images of a tree of its own, with a program in place of docker that prints its
// arguments.
func TestAnImageReportsTheVersionThatItsNameSays(t *testing.T) {
	t.Parallel()
	const image = "registry.example.com:5000/verity-sync"
	tests := map[string]struct {
		tags      []string // of the commit
		changed   bool
		arguments []string
		// Of want and refused, one is set. The commit's abbreviation is COMMIT.
		want, refused, warned string
	}{
		"a clone without tags":                         {arguments: []string{"IMG=" + image + ":v0.2.0"}, want: "v0.2.0"},
		"a tag without a v":                            {arguments: []string{"IMG=" + image + ":0.2.0"}, want: "v0.2.0"},
		"a release candidate":                          {arguments: []string{"IMG=" + image + ":v0.2.0-rc.1"}, want: "v0.2.0-rc.1"},
		"an image with a digest":                       {arguments: []string{"IMG=" + image + ":v0.2.0@sha256:0123"}, want: "v0.2.0"},
		"a tree with changes":                          {changed: true, arguments: []string{"IMG=" + image + ":v0.2.0"}, want: "v0.2.0-dirty"},
		"the tag of the commit":                        {tags: []string{"v0.2.0"}, arguments: []string{"IMG=" + image + ":v0.2.0"}, want: "v0.2.0"},
		"one of the commit's tags":                     {tags: []string{"v0.2.0", "v0.2.1-rc.1"}, arguments: []string{"IMG=" + image + ":v0.2.0"}, want: "v0.2.0"},
		"a commit whose tag is no version":             {tags: []string{"stable"}, arguments: []string{"IMG=" + image + ":v0.2.0"}, want: "v0.2.0"},
		"another release than the commit's":            {tags: []string{"v0.1.0"}, arguments: []string{"IMG=" + image + ":v0.2.0"}, refused: "v0.1.0"},
		"another release, meant":                       {tags: []string{"v0.1.0"}, arguments: []string{"IMG=" + image + ":v0.2.0", "VERSION=v0.2.0"}, want: "v0.2.0"},
		"another release than VERSION":                 {arguments: []string{"IMG=" + image + ":v0.2.0", "VERSION=v0.3.0"}, refused: "VERSION=v0.3.0"},
		"VERSION, and a tag that is none":              {arguments: []string{"IMG=" + image + ":latest", "VERSION=v0.3.0"}, want: "v0.3.0"},
		"VERSION without a v":                          {arguments: []string{"IMG=" + image + ":v0.2.0", "VERSION=0.2.0"}, want: "0.2.0"},
		"a tag that is no version":                     {arguments: []string{"IMG=" + image + ":latest"}, want: "COMMIT"},
		"no tag, and a registry with a port":           {arguments: []string{"IMG=" + image}, want: "COMMIT"},
		"no image named":                               {want: "COMMIT"},
		"no image named, of a release":                 {tags: []string{"v0.2.0"}, want: "v0.2.0"},
		"a version that the tree's chart does not run": {arguments: []string{"IMG=" + image + ":v0.20.0"}, want: "v0.20.0", warned: "installs 0.2.0, not v0.20.0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree, commit := newTree(t, test.tags)
			if test.changed {
				require.NoError(t, os.WriteFile(filepath.Join(tree, "Makefile"), []byte(readFile(t, "Makefile")+"\n"), 0o644))
			}

			output, err := runIn(t, tree, "make", append([]string{"docker-build", "CONTAINER_TOOL=echo"}, test.arguments...)...)
			if test.refused != "" {
				require.Error(t, err)
				assert.Contains(t, output, test.refused)
				assert.NotContains(t, output, "--build-arg", "nothing is built")
				return
			}
			require.NoError(t, err, output)
			want := strings.Replace(test.want, "COMMIT", commit, 1)
			built := regexp.MustCompile(`(?m)^build --build-arg VERSION=(\S+) --build-arg COMMIT=[0-9a-f]{40} `).FindStringSubmatch(output)
			require.Len(t, built, 2, output)
			assert.Equal(t, want, built[1])
			assert.Contains(t, output, "which reports the version "+want+", commit ")
			assert.Equal(t, test.warned != "", strings.Contains(output, "warning"), output)
			assert.Contains(t, output, test.warned)
		})
	}
}

// newTree returns a repository of one commit, with what of this one says what version is built, and the commit's abbreviation.
func newTree(t *testing.T, tags []string) (tree, commit string) {
	t.Helper()
	tree = t.TempDir()
	for path, content := range map[string]string{
		"Makefile": readFile(t, "Makefile"), "hack/image-version.sh": readFile(t, "hack/image-version.sh"), "config/chart/Chart.yaml": "appVersion: 0.2.0\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(tree, path)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(tree, path), []byte(content), 0o755))
	}
	commands := [][]string{
		{"init", "--quiet"},
		{"add", "."},
		{"-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "--quiet", "--message=test"},
	}
	for _, tag := range tags {
		commands = append(commands, []string{"tag", tag})
	}
	for _, command := range append(commands, []string{"rev-parse", "--short", "HEAD"}) {
		output, err := runIn(t, tree, "git", command...)
		require.NoError(t, err, output)
		commit = strings.TrimSpace(output)
	}
	return tree, commit
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(file(t, path))
	require.NoError(t, err)
	return string(content)
}

// runIn runs a program in a directory, as if nothing had been given to the make that runs the tests.
func runIn(t *testing.T, directory, program string, arguments ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, arguments...)
	cmd.Dir = directory
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); !strings.HasPrefix(name, "MAKE") && !strings.HasPrefix(name, "MFLAGS") &&
			!strings.HasPrefix(name, "GIT_") && name != "VERSION" && name != "IMG" {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	output, err := cmd.CombinedOutput()
	return string(output), err
}
