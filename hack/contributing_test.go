package hack

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A recipe must not name a file that does not exist.
func TestWhatTheRecipesNameExists(t *testing.T) {
	t.Parallel()
	page := text(t, "CONTRIBUTING.md")
	tests := testsOfTheRepository(t)
	paths, named := 0, 0
	for _, found := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(page, -1) {
		switch code := found[1]; {
		case regexp.MustCompile(`^Test[A-Z]\w+$`).MatchString(code):
			if code != "TestName" {
				assert.True(t, tests[code], "there is no %s", code)
				named++
			}
		case regexp.MustCompile(`^(api|cmd|config|controllers|docs|hack|internal|test)(/[\w.*-]+)*$`).MatchString(code):
			if !regexp.MustCompile(`NAME|NN`).MatchString(code) {
				matches, err := filepath.Glob(folder(t, code))
				require.NoError(t, err)
				assert.NotEmpty(t, matches, "there is no %s", code)
				paths++
			}
		}
	}
	assert.Greater(t, paths, 40)
	assert.GreaterOrEqual(t, named, 5)
	for _, target := range regexp.MustCompile(`make ([a-z-]+)(?:[^/a-z-]|$)`).FindAllStringSubmatch(page, -1) {
		assert.Regexp(t, `(?m)^`+target[1]+`:.*##`, text(t, "Makefile"))
	}
}

// testsOfTheRepository returns the names of all tests.
func testsOfTheRepository(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	require.NoError(t, filepath.WalkDir(folder(t), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "bin" || entry.Name() == ".git") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		content, err := os.ReadFile(path)
		for _, name := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(content), -1) {
			names[name[1]] = true
		}
		return err
	}))
	return names
}
