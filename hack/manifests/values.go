package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A table has the values below a key of values.yaml, or those that are at its top.
type table struct {
	// Title is the key, "" for those at the top.
	Title string
	Rows  []row
}

// A row describes a value.
type row struct {
	// Key is the path of the value, with dots.
	Key string
	// Default is the value in values.yaml, as JSON.
	Default string
	// Description is the comment above it, in one line.
	Description string
}

// describe reads the tables of values.yaml. Every value must have a comment: its own, or those of the values in it.
func describe(values []byte) ([]table, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(values, &document); err != nil {
		return nil, err
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("expected a mapping")
	}
	tables := []table{{}}
	for key, value := range pairs(document.Content[0]) {
		rows, err := rowsOf(key.Value, key, value)
		switch {
		case err != nil:
			return nil, err
		case isSection(value):
			tables = append(tables, table{Title: key.Value, Rows: rows})
		default:
			tables[0].Rows = append(tables[0].Rows, rows...)
		}
	}
	return tables, nil
}

func rowsOf(path string, key, value *yaml.Node) ([]row, error) {
	if !isSection(value) {
		if key.HeadComment == "" {
			return nil, fmt.Errorf("%s has no comment", path)
		}
		var content any
		if err := value.Decode(&content); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		shown, err := json.Marshal(content)
		return []row{{Key: path, Default: string(shown), Description: oneLine(key.HeadComment)}}, err
	}
	var rows []row
	for key, value := range pairs(value) {
		below, err := rowsOf(path+"."+key.Value, key, value)
		if err != nil {
			return nil, err
		}
		rows = append(rows, below...)
	}
	return rows, nil
}

// isSection reports whether it is not the mapping that has a meaning, but what is in it.
func isSection(value *yaml.Node) bool {
	for key := range pairs(value) {
		if key.HeadComment != "" {
			return true
		}
	}
	return false
}

// pairs yields the keys and values of a mapping; nothing where it is none.
func pairs(node *yaml.Node) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		if node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if !yield(node.Content[i], node.Content[i+1]) {
				return
			}
		}
	}
}

// oneLine drops the marks of comments, and what is set off from the last comment by an empty line.
func oneLine(comment string) string {
	if i := strings.LastIndex(comment, "\n\n"); i >= 0 {
		comment = comment[i+2:]
	}
	var words []string
	for line := range strings.Lines(comment) {
		words = append(words, strings.TrimSpace(strings.TrimPrefix(line, "#")))
	}
	return markdown.Replace(strings.Join(words, " "))
}

// markdown keeps a cell of a table in one piece.
var markdown = strings.NewReplacer("|", `\|`, "<", "&lt;")
