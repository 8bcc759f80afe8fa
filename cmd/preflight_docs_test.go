package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// checkNames returns the names of checks in the packages that report findings: the constants whose names begin with "check", and the
// literals in a Finding.
func checkNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	add := func(e ast.Expr) {
		if literal, ok := e.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			name, err := strconv.Unquote(literal.Value)
			require.NoError(t, err)
			names[name] = true
		}
	}
	for _, root := range []string{".", "../internal"} {
		require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil || !slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return strings.HasSuffix(i.Path.Value, `/internal/preflight"`) }) {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ValueSpec:
					for i, name := range n.Names {
						if strings.HasPrefix(strings.ToLower(name.Name), "check") && i < len(n.Values) {
							add(n.Values[i])
						}
					}
				case *ast.KeyValueExpr:
					if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Check" {
						add(n.Value)
					}
				}
				return true
			})
			return nil
		}))
	}
	require.Greater(t, len(names), 10)
	return names
}

var checkRow = regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|")

func TestEveryCheckIsInTheDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/databases.md")
	require.NoError(t, err)
	_, tables, found := strings.Cut(string(page), "\n### The checks\n")
	require.True(t, found)
	documented := map[string]bool{}
	for _, match := range checkRow.FindAllStringSubmatch(tables, -1) {
		documented[match[1]] = true
	}
	coded := checkNames(t)
	for name := range coded {
		assert.Contains(t, documented, name, "docs/databases.md has a row for it")
	}
	for name := range documented {
		assert.Contains(t, coded, name, "the code has such a check")
	}

	out, err := run(t, []string{"DATABASE_URL=" + migrated(t), "VERITY_DATABASE_URL=" + verityURL(t)}, "check")
	require.NoError(t, err)
	printed := map[string]bool{}
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); fields[0] == "middleware" || fields[0] == "verity" {
			printed[fields[1]] = true
		}
	}
	assert.Subset(t, slices.Collect(maps.Keys(documented)), slices.Collect(maps.Keys(printed)), "every printed check is documented")
	delete(documented, checkConfigured) // It is printed if Verity's database is not configured.
	assert.ElementsMatch(t, slices.Collect(maps.Keys(documented)), slices.Collect(maps.Keys(printed)), "every documented check is printed")
}
