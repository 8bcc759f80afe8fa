package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

func TestGeneratedFilesAreCurrent(t *testing.T) {
	t.Parallel()
	root, err := repo.Path()
	require.NoError(t, err)
	for _, file := range generated {
		t.Run(file.path, func(t *testing.T) {
			t.Parallel()
			want, err := generate(root, file.from, file.convert)
			require.NoError(t, err)
			got, err := os.ReadFile(filepath.Join(root, file.path))
			require.NoError(t, err)
			assert.Equal(t, string(want), string(got), "run `make manifests`")
		})
	}
}

func TestTheCommentAboveAValueDescribesIt(t *testing.T) {
	t.Parallel()
	got, err := describe([]byte(`# About the file.

# One of
# two | lines.
first: ""
group:
  # A mapping <that> has a meaning itself.
  whole: {a: 1}
  inner:
    # Deep.
    deep: [x]
`))

	require.NoError(t, err)
	assert.Equal(t, []table{
		{Rows: []row{{"first", `""`, `One of two \| lines.`}}},
		{Title: "group", Rows: []row{
			{"group.whole", `{"a":1}`, "A mapping &lt;that> has a meaning itself."},
			{"group.inner.deep", `["x"]`, "Deep."},
		}},
	}, got)
}

func TestInvalidSourcesAreErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		convert func(string, []byte) ([]byte, error)
		from    string
	}{
		"a value without a comment":        {chartReadme, "group:\n  # Said.\n  a: 1\n  b: 2\n"},
		"a default without a comment":      {chartDefaults, "a: 1\n"},
		"values that are no mapping":       {chartReadme, "- a\n"},
		"values that are no YAML":          {chartReadme, "a: [\n"},
		"a definition with braces":         {chartCRD, "metadata:\n  annotations:\n    a: '{{ x }}'\n"},
		"a definition without annotations": {chartCRD, "metadata:\n  name: x\n"},
		"values without variables":         {chartValues, "secret:\n  data:\n"},
		"values with variables twice":      {chartValues, "secret:\n  data:\nconfig:\nconfig:\n"},
		"a schema without variables":       {chartSchema, "{}\n"},
		"a container without variables":    {containerOf("receiver"), "containers:\n"},
		"a page without its table":         {variablesTable, "# Environment variables\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := test.convert(t.TempDir(), []byte(test.from))
			assert.Error(t, err)
		})
	}
}

func TestABlockEndsWithItsLines(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ header, before, want string }{
		"at an empty line":            {"config:", "config:\n  A: 1\n  # B.\n  B: 2\n\nother: 1\n", "config:\nnew\n\nother: 1\n"},
		"at a line of its parent":     {"  data:", "secret:\n  data:\n    A: 1\nother: 1\n", "secret:\n  data:\nnew\nother: 1\n"},
		"at a closing brace":          {`"data": {`, "{\n" + `"data": {` + "\n  1\n}\n}\n", "{\n" + `"data": {` + "\nnew\n}\n}\n"},
		"after a list without indent": {"env:", "env:\n- name: A\n  value: 1\n- name: B\nports: []\n", "env:\nnew\nports: []\n"},
		"after the rows of a table":   {"| a |", "| a |\n| --- |\n| 1 |\n\ntext\n", "| a |\nnew\n\ntext\n"},
		"at the end of the file":      {"config:", "config:\n  A: 1", "config:\nnew"},
		"at once if it is empty":      {"config:", "config:\nother: 1\n", "config:\nnew\nother: 1\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := replaceBlocks([]byte(test.before), block{test.header, []string{"new"}})
			require.NoError(t, err)
			assert.Equal(t, test.want, string(got))
		})
	}
}

func TestLinesBreakBetweenWords(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", lineWidth)
	assert.Equal(t, []string{"# a b"}, wrap("# ", "a  b"))
	assert.Equal(t, []string{"# a", "# " + long, "# b"}, wrap("# ", "a "+long+" b"))
}
