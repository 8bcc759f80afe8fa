package postgres

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBinDir(t *testing.T) {
	tests := map[string]struct {
		programs []string // below a root, which the test makes
		inPath   string
		want     string
		err      error
	}{
		"the newest of several versions by number": {
			programs: []string{"9/bin/initdb", "9/bin/postgres", "15/bin/initdb", "15/bin/postgres"}, want: "15/bin",
		},
		"a version without its server does not count": {
			programs: []string{"15/bin/initdb", "15/bin/postgres", "17/bin/initdb"}, want: "15/bin",
		},
		"PATH comes first": {
			programs: []string{"15/bin/initdb", "15/bin/postgres", "own/initdb", "own/postgres"}, inPath: "own", want: "own",
		},
		"clients alone in PATH do not count": {
			programs: []string{"15/bin/initdb", "15/bin/postgres", "own/initdb"}, inPath: "own", want: "15/bin",
		},
		"none at all": {err: ErrNotInstalled},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root, err := filepath.EvalSymlinks(t.TempDir())
			require.NoError(t, err)
			for _, program := range test.programs {
				require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(program)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(root, program), nil, 0o755))
			}
			t.Setenv("PATH", filepath.Join(root, test.inPath))

			got, err := binDir(filepath.Join(root, "*/bin"))

			require.ErrorIs(t, err, test.err)
			if test.err == nil {
				assert.Equal(t, filepath.Join(root, test.want), got)
			}
		})
	}
}
