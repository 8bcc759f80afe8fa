package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

func TestWhatIsMadeIsCurrent(t *testing.T) {
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

func TestValuesAreDescribedByWhatStandsAboveThem(t *testing.T) {
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

func TestWhatCannotBeMadeIsAnError(t *testing.T) {
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
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := test.convert(t.TempDir(), []byte(test.from))
			assert.Error(t, err)
		})
	}
}
