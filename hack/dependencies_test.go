package hack

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// updates is what .github/dependabot.yml asks for.
type updates struct {
	Updates []struct {
		Ecosystem   string   `json:"package-ecosystem"`
		Directory   string   `json:"directory"`
		Directories []string `json:"directories"`
	} `json:"updates"`
}

// covers reports whether a folder, which begins with a slash, is updated.
func (u updates) covers(ecosystem, folder string) bool {
	for _, update := range u.Updates {
		for _, pattern := range append(update.Directories, update.Directory) {
			if matched, err := path.Match(pattern, folder); err == nil && matched && update.Ecosystem == ecosystem {
				return true
			}
		}
	}
	return false
}

func TestDependabotUpdatesEveryModule(t *testing.T) {
	t.Parallel()
	root, err := repo.Path()
	require.NoError(t, err)
	content, err := os.ReadFile(filepath.Join(root, ".github", "dependabot.yml"))
	require.NoError(t, err)
	var configured updates
	require.NoError(t, yaml.Unmarshal(content, &configured))

	ecosystems := map[string]string{"go.mod": "gomod", "package.json": "npm", "Dockerfile": "docker"}
	found := map[string]int{}
	require.NoError(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && (name == "bin" || name == ".git" || name == "node_modules") {
			return filepath.SkipDir
		}
		ecosystem, has := ecosystems[entry.Name()]
		if !has {
			return nil
		}
		folder, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		assert.True(t, configured.covers(ecosystem, path.Clean("/"+filepath.ToSlash(folder))), "%s of /%s", entry.Name(), folder)
		found[ecosystem]++
		return nil
	}))
	assert.True(t, configured.covers("github-actions", "/"))
	assert.Greater(t, found["gomod"], 10)
	assert.Equal(t, 1, found["docker"])
	assert.Positive(t, found["npm"])
}
