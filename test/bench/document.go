package main

import (
	"fmt"
	"os"
	"strings"
)

// writeSection replaces what stands between the marks of a section in a document.
func writeSection(path, name, text string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	replaced, err := replaceSection(string(content), name, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := os.WriteFile(path, []byte(replaced), 0o644); err != nil { //nolint:gosec // Everybody may read it.
		return fmt.Errorf("write the document: %w", err)
	}
	return nil
}

func replaceSection(content, name, text string) (string, error) {
	begin, end := "<!-- bench "+name+" -->\n", "<!-- /bench "+name+" -->\n"
	before, rest, found := strings.Cut(content, begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return "", fmt.Errorf("it has no place for %s, which is between %s and %s", name, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + begin + "\n" + strings.TrimSpace(text) + "\n\n" + end + after, nil
}
