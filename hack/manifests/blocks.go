package main

import (
	"fmt"
	"slices"
	"strings"
)

// A block is a part of a file that is generated: the lines that belong to the line above them.
type block struct {
	// header is that line, which must be in the file once.
	header string
	lines  []string
}

// replaceBlocks returns the file with its blocks replaced.
func replaceBlocks(content []byte, blocks ...block) ([]byte, error) {
	text := strings.Split(string(content), "\n")
	for _, b := range blocks {
		start := slices.Index(text, b.header) + 1
		if start == 0 || slices.Contains(text[start:], b.header) {
			return nil, fmt.Errorf("expected one line %q", b.header)
		}
		end := start
		for end < len(text) && belongs(b.header, text[end]) {
			end++
		}
		text = slices.Replace(text, start, end, b.lines...)
	}
	return []byte(strings.Join(text, "\n")), nil
}

// belongs reports whether a line is in the block of a header: a row below the head of a table, else a line that is indented further or is
// an element of a list.
func belongs(header, line string) bool {
	if strings.HasPrefix(header, "|") {
		return strings.HasPrefix(line, "|")
	}
	inHeader, inLine := indentation(header), indentation(line)
	return line != "" && (inLine > inHeader || inLine == inHeader && strings.HasPrefix(line[inLine:], "- "))
}

func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
