package manifests_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

// page is a page of the documentation.
type page struct{ path, text string }

// pages returns everything that is written for people: the pages at the root, and those in docs/.
func pages(t *testing.T) []page {
	t.Helper()
	var paths []string
	for _, folder := range []string{"", "docs", "docs/adr"} {
		found, err := filepath.Glob(filepath.Join(file(t), folder, "*.md"))
		require.NoError(t, err)
		paths = append(paths, found...)
	}
	var read []page
	for _, path := range paths {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		read = append(read, page{path, string(content)})
	}
	require.Greater(t, len(read), 5)
	return read
}

// blocks returns the fenced blocks of a language.
func (p page) blocks(language string) []string {
	var found []string
	for _, block := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(p.text, -1) {
		found = append(found, block[1])
	}
	return found
}

// commands returns the commands of the blocks of a shell that begin with a program, up to a pipe, without comments.
func (p page) commands(program string) []string {
	var found []string
	for _, block := range p.blocks("sh") {
		block = strings.ReplaceAll(block, "\\\n", " ")
		for line := range strings.Lines(block) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " # ")
			line, _, _ = strings.Cut(line, " |")
			line = strings.TrimSuffix(line, " &")
			if strings.HasPrefix(line, program+" ") {
				found = append(found, line)
			}
		}
	}
	return found
}

// workplace makes a directory in which the commands of the documentation find what they name, and returns it.
func workplace(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	require.NoError(t, os.Symlink(file(t, "config"), filepath.Join(directory, "config")))
	require.NoError(t, os.Symlink(file(t, "bin"), filepath.Join(directory, "bin")))
	require.NoError(t, os.Symlink(file(t, "config", "samples", "overlay"), filepath.Join(directory, "my-overlay")))
	values := ""
	for _, p := range pages(t) {
		for _, block := range p.blocks("yaml") {
			if strings.HasPrefix(block, "# values.yaml\n") {
				values = block
			}
		}
	}
	require.NotEmpty(t, values)
	require.NoError(t, os.WriteFile(filepath.Join(directory, "values.yaml"), []byte(values), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(directory, "ca.crt"), []byte("a certificate"), 0o600))
	return directory
}

// shell runs a command of the documentation with KUBECONFIG naming a cluster that is not there, so that it can do no harm, and returns what
// it printed.
func shell(t *testing.T, directory, command string) (string, error) {
	t.Helper()
	kubectl, err := system.KubectlPath()
	require.NoError(t, err)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, []byte(`{"apiVersion":"v1","kind":"Config","current-context":"nowhere",
		"clusters":[{"name":"nowhere","cluster":{"server":"http://127.0.0.1:1"}}],"contexts":[{"name":"nowhere","context":{"cluster":"nowhere"}}]}`), 0o600))
	cmd := exec.CommandContext(t.Context(), "bash", "-c", command)
	cmd.Dir = directory
	cmd.Env = append(os.Environ(),
		"KUBECONFIG="+kubeconfig, "HELM_CACHE_HOME="+t.TempDir(), "PATH="+file(t, "bin")+":"+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))
	output, err := cmd.CombinedOutput()
	return string(output), err
}

func TestValuesInTheDocsAreTakenByTheChart(t *testing.T) {
	t.Parallel()
	taken := 0
	for _, p := range pages(t) {
		for _, block := range p.blocks("yaml") {
			if strings.Contains(block, "apiVersion: ") {
				continue
			}
			values := filepath.Join(t.TempDir(), "values.yaml")
			require.NoError(t, os.WriteFile(values, []byte(block), 0o600))
			_, err := helm(t, "template", "verity-sync", file(t, "config", "chart"), "--values="+values)
			assert.NoError(t, err, "%s:\n%s", p.path, block)
			taken++
		}
	}
	assert.GreaterOrEqual(t, taken, 5)
}

func TestTheOverlayInTheDocsBuilds(t *testing.T) {
	t.Parallel()
	built := 0
	for _, p := range pages(t) {
		for _, block := range p.blocks("yaml") {
			if !strings.Contains(block, "kind: Kustomization") {
				continue
			}
			directory := t.TempDir()
			resolved, err := filepath.EvalSymlinks(directory)
			require.NoError(t, err)
			here, err := filepath.Rel(resolved, file(t))
			require.NoError(t, err)
			// What is there of this version will be there of a release.
			block = regexp.MustCompile(`https://github\.com/dfmiddleware/verity-sync//(\S+)\?ref=\S+`).ReplaceAllString(block, here+"/$1")
			require.NoError(t, os.WriteFile(filepath.Join(directory, "kustomization.yaml"), []byte(block), 0o600))
			for _, object := range kustomization(t, directory) {
				assert.False(t, strings.Contains(block, "$patch: delete") && object.GetKind() == "PodDisruptionBudget", "%s:\n%s", p.path, block)
			}
			built++
		}
	}
	assert.Greater(t, built, 1)
}

// An image of another version than the manifests may lack an argument that they give it, or a migration.
func TestTheDocsInstallTheVersionThatTheyAreOf(t *testing.T) {
	t.Parallel()
	overlay, err := os.ReadFile(file(t, "config", "samples", "overlay", "kustomization.yaml"))
	require.NoError(t, err)
	read := append(pages(t), page{"the sample overlay", string(overlay)})
	named := 0
	for _, p := range read {
		for _, version := range regexp.MustCompile(`(?:/verity-sync:|[tT]ag: |\.tag=|\?ref=)v([\w.]+\w)`).FindAllStringSubmatch(p.text, -1) {
			assert.Equal(t, appVersion(t), version[1], "%s: %s", p.path, version[0])
			named++
		}
	}
	assert.Greater(t, named, 10)
}

// Installations and upgrades are rendered instead. What remains of Helm's commands has no flags of the chart.
func TestHelmCommandsInTheDocsAreUnderstood(t *testing.T) {
	t.Parallel()
	directory := workplace(t)
	rendered := 0
	for _, p := range pages(t) {
		for _, command := range p.commands("helm") {
			words := strings.Fields(command)
			if words[1] != "install" && words[1] != "upgrade" {
				continue
			}
			output, err := shell(t, directory, strings.Replace(command, words[1], "template", 1))
			assert.NoError(t, err, "%s: %s\n%s", p.path, command, output)
			rendered++
		}
	}
	assert.GreaterOrEqual(t, rendered, 5)
}

func TestKubectlCommandsInTheDocsAreUnderstood(t *testing.T) {
	t.Parallel()
	directory := workplace(t)
	understood := 0
	for _, p := range pages(t) {
		for _, command := range p.commands("kubectl") {
			output, err := shell(t, directory, command)
			// A command that is understood goes as far as the API server.
			assert.True(t, err == nil || strings.Contains(output, "refused"), "%s: %s\n%s", p.path, command, output)
			understood++
		}
	}
	assert.GreaterOrEqual(t, understood, 30)
}

func TestCommandsOfTheProgramInTheDocsAreUnderstood(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "verity-sync")
	require.NoError(t, system.Build(t.Context(), binary))
	commands := regexp.MustCompile("(?m)(?:-- /|^(?:\\$ )?)verity-sync ((?:receiver|controller|migrate|check|replay|erase|explain)\\b[^\n#|`;]*)")
	understood := 0
	for _, p := range pages(t) {
		for _, arguments := range commands.FindAllStringSubmatch(p.text, -1) {
			// Flags are read before help is given.
			output, err := exec.CommandContext(t.Context(), binary, append(strings.Fields(arguments[1]), "--help")...).CombinedOutput()
			assert.NoError(t, err, "%s: %s\n%s", p.path, arguments[1], output)
			understood++
		}
	}
	assert.GreaterOrEqual(t, understood, 10)
}

func TestLogTextsThatTheDocsNameAreLogged(t *testing.T) {
	t.Parallel()
	var code strings.Builder
	for _, path := range productFiles(t) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		code.Write(text)
	}
	texts := regexp.MustCompile("(?m)(?:^kubectl .*logs .*\\| grep '?([^'\n]+?)'?$|\\blog: `([^`]+)`)")
	found := 0
	for _, p := range pages(t) {
		for _, text := range texts.FindAllStringSubmatch(p.text, -1) {
			if text := text[1] + text[2]; !strings.Contains(code.String(), text) {
				t.Errorf("%s: nothing logs %q", p.path, text)
			}
			found++
		}
	}
	assert.GreaterOrEqual(t, found, 3)
}

func TestValuesThatTheDocsNameExist(t *testing.T) {
	t.Parallel()
	values := readYAML(t, file(t, "config", "chart", "values.yaml"))
	named := regexp.MustCompile("`((?:image|secret|config|receiver|controller|migrate|ingress|httpRoute|metrics|networkPolicy|rbac|crds)\\.[A-Za-z_.]+)(?:=[^`]*)?`")
	found := 0
	for _, p := range pages(t) {
		for _, name := range named.FindAllStringSubmatch(p.text, -1) {
			assert.NoError(t, lookUp(values, strings.Split(name[1], ".")), "%s names %s", p.path, name[1])
			found++
		}
	}
	assert.Greater(t, found, 15)
}

func lookUp(values map[string]any, path []string) error {
	value, found := values[path[0]]
	if !found {
		return errors.New("there is no " + path[0])
	}
	below, isObject := value.(map[string]any)
	switch {
	case len(path) == 1:
		return nil
	case !isObject:
		return errors.New("there is nothing below " + path[0])
	default:
		return lookUp(below, path[1:])
	}
}

func TestMetricsThatTheDocsNameExist(t *testing.T) {
	t.Parallel()
	exist := everyMetric(t)
	for _, p := range pages(t) {
		for _, name := range regexp.MustCompile(`\bverity_sync_\w+`).FindAllString(p.text, -1) {
			if strings.HasPrefix(name, "verity_sync_schema_") || name == "verity_sync_installation" { // Tables.
				continue
			}
			_, labels := metricOf(exist, name)
			assert.NotNil(t, labels, "%s names %s", p.path, name)
		}
	}
}

func TestLinksInTheDocsLeadSomewhere(t *testing.T) {
	t.Parallel()
	heading := regexp.MustCompile(`(?m)^#+ (.+)$`)
	anchors := map[string]map[string]bool{}
	for _, p := range pages(t) {
		anchors[p.path] = map[string]bool{}
		for _, title := range heading.FindAllStringSubmatch(p.text, -1) {
			anchors[p.path][anchorOf(title[1])] = true
		}
	}
	code := regexp.MustCompile("`[^`\n]*`") // A pattern can look like a link.
	for _, p := range pages(t) {
		for _, link := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(code.ReplaceAllString(p.text, ""), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			path, anchor, hasAnchor := strings.Cut(link[1], "#")
			target := p.path
			if path != "" {
				target = filepath.Join(filepath.Dir(p.path), path)
			}
			assert.True(t, exists(target), "%s links to %s", p.path, link[1])
			assert.True(t, !hasAnchor || anchors[target][anchor], "%s links to %s", p.path, link[1])
		}
	}
}

// anchorOf returns what GitHub makes of a heading.
func anchorOf(title string) string {
	kept := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(title), "")
	return strings.ReplaceAll(kept, " ", "-")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
