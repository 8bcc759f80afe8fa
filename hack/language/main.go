// Command language fails if a text has a phrase that the glossary of CONTRIBUTING.md replaces. It reads docs, the chart, alerts, comments,
// string literals of the code (messages, help, cases of tests), and the names of tests.
package main

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

func main() {
	root, err := repo.Path()
	if err == nil {
		err = run(root, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "language:", err)
		os.Exit(1)
	}
}

func run(root string, output io.Writer) error {
	contributing, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	if err != nil {
		return err
	}
	g, err := parseGlossary(string(contributing))
	if err != nil {
		return err
	}
	findings, err := checkTree(root, g)
	if err != nil {
		return err
	}
	for _, f := range findings {
		fmt.Fprintf(output, "%s:%d: %q: write %s\n", f.path, f.line, f.phrase, f.instead)
	}
	if len(findings) > 0 {
		return fmt.Errorf("%d problems; the glossary is in CONTRIBUTING.md", len(findings))
	}
	return nil
}

// A finding is a phrase of the glossary in a file.
type finding struct {
	path            string
	line            int
	phrase, instead string
}

// check returns the findings in a file.
func (g *glossary) check(path, content string) ([]finding, error) {
	texts, err := passages(path, content)
	var findings []finding
	for _, p := range texts {
		for _, m := range g.find(p.text) {
			findings = append(findings, finding{path, p.line + strings.Count(p.text[:m.offset], "\n"), m.phrase, m.instead})
		}
	}
	slices.SortStableFunc(findings, func(a, b finding) int { return cmp.Compare(a.line, b.line) })
	return findings, err
}

var (
	// skippedFolders have what is built, what others wrote, and samples.
	skippedFolders = []string{"bin", "dist", "node_modules", "testdata"}
	// skippedPaths are generated from files that are checked, or must not be changed any more.
	skippedPaths = []string{
		"config/chart/README.md", "config/chart/files/defaults.yaml", "config/crd/bases", "config/prometheus/prometheus_rule.yaml",
		"docs/api.md", "internal/store/dbsqlc", "internal/store/migrations",
	}
	extensions = []string{".env", ".go", ".gotmpl", ".js", ".json", ".md", ".sh", ".sql", ".tpl", ".txt", ".yaml", ".yml"}
)

func checkTree(root string, g *glossary) ([]finding, error) {
	var findings []finding
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || file == root {
			return err
		}
		path, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		path = filepath.ToSlash(path)
		if slices.Contains(skippedPaths, path) ||
			entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") || slices.Contains(skippedFolders, entry.Name())) {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || entry.Name() != "Makefile" && !slices.Contains(extensions, filepath.Ext(path)) {
			return nil
		}
		content, err := os.ReadFile(file) //nolint:gosec // The tree is the developer's own.
		if err != nil {
			return err
		}
		found, err := g.check(path, string(content))
		findings = append(findings, found...)
		return err
	})
	return findings, err
}
