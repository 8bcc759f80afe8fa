package hack

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// text returns a file of the repository.
func text(t *testing.T, elem ...string) string {
	t.Helper()
	file, err := repo.Path(elem...)
	require.NoError(t, err)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(content)
}

// first returns what the first group of a pattern matches.
func first(t *testing.T, pattern, in string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(in)
	require.Len(t, found, 2, pattern)
	return found[1]
}

func TestTheDocsNameTheVersionsThatAreTested(t *testing.T) {
	t.Parallel()
	page := text(t, "docs", "versions.md")
	kubernetes := first(t, `k8s\.io/kubernetes v(1\.\d+)\.`, text(t, "hack", "controlplane", "kubernetes", "go.mod"))
	oldest := first(t, `(?m)^kubeVersion: ">=(1\.\d+)\.0-0"$`, text(t, "config", "chart", "Chart.yaml"))
	helm := first(t, `helm\.sh/helm/v4 v(4\.\d+)\.`, text(t, "hack", "tools", "helm", "go.mod"))
	goVersion := first(t, `(?m)^go (\S+)$`, text(t, "go.mod"))

	assert.Contains(t, page, "| Kubernetes | "+oldest+" or later | "+kubernetes+" |")
	assert.Contains(t, page, "| Helm | 4 | "+helm+" |")
	assert.Contains(t, page, "| Go, to build it | "+goVersion+" or later | "+goVersion+" |")
	// What docs/install.md asks for.
	postgres := first(t, `a Postgres database \((\d+) or later\)`, text(t, "docs", "install.md"))
	readme := text(t, "README.md")
	assert.Contains(t, readme, "[Kubernetes "+oldest+"+]")
	assert.Contains(t, readme, "[Postgres "+postgres+"+]")
	assert.Contains(t, readme, "\nGo "+goVersion+"+ ")
	assert.Regexp(t, `\| Postgres \| `+postgres+` or later \| \d+ \|`, page)
}
