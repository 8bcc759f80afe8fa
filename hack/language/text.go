package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
)

// A passage is text that people read, and the line of the file that it starts on. Everything in it that is not prose is masked, and every
// line break is kept, so that a match has a line.
type passage struct {
	line int
	text string
}

// passages returns the text of a file: of Go, the comments, the string literals of more than one word, and the names of tests; of Markdown,
// everything except code; of any other file, all of it.
func passages(path, content string) ([]passage, error) {
	switch filepath.Ext(path) {
	case ".go":
		return goPassages(path, content)
	case ".md":
		return []passage{{1, maskCode(content)}}, nil
	default:
		return []passage{{1, commentSigns.ReplaceAllStringFunc(content, mask)}}, nil
	}
}

var (
	// commentSigns are those at the start of a line, so that a phrase may go over the end of one.
	commentSigns = regexp.MustCompile(`(?m)^[ \t]*(//+|#+|--|\*)`)
	fences       = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```[ \t]*$")
	spans        = regexp.MustCompile("``[^`]+``|`[^`]+`")
	targets      = regexp.MustCompile(`\]\([^)\n]*\)`)
	notSpace     = regexp.MustCompile(`[^\n]`)
	escapes      = regexp.MustCompile(`\\[a-z\\]`)
	quotes       = regexp.MustCompile(`\\"`)
	words        = regexp.MustCompile(`[A-Z][a-z0-9]*`)
	testNames    = regexp.MustCompile(`^(Test|Benchmark|Fuzz)[A-Z]`)
)

func mask(s string) string { return notSpace.ReplaceAllString(s, " ") }

// maskCode masks blocks and spans of code and the targets of links. A mask is no space: the words on both sides of it do not meet.
func maskCode(markdown string) string {
	for _, code := range []*regexp.Regexp{fences, spans, targets} {
		markdown = code.ReplaceAllStringFunc(markdown, func(s string) string { return notSpace.ReplaceAllString(s, "\x00") })
	}
	return markdown
}

func goPassages(path, content string) ([]passage, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(file) {
		return nil, nil
	}
	var found []passage
	add := func(at token.Pos, text string) { found = append(found, passage{files.Position(at).Line, text}) }
	for _, group := range file.Comments {
		source := content[files.Position(group.Pos()).Offset:files.Position(group.End()).Offset]
		add(group.Pos(), commentSigns.ReplaceAllStringFunc(source, mask))
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.FuncDecl:
			if name := n.Name.Name; n.Recv == nil && testNames.MatchString(name) {
				add(n.Name.Pos(), strings.ToLower(strings.Join(words.FindAllString(name, -1), " ")))
			}
		case *ast.BasicLit:
			if text := literal(n); strings.Contains(text, " ") {
				add(n.Pos(), text)
			}
		case *ast.BinaryExpr:
			if text, ok := concatenated(n, files); ok {
				add(n.Pos(), text)
				return false
			}
		}
		return true
	})
	return found, nil
}

// literal returns the text between the quotes, as it stands in the source. It is empty for a number.
func literal(l *ast.BasicLit) string {
	if l.Kind != token.STRING {
		return ""
	}
	text := l.Value[1 : len(l.Value)-1]
	if l.Value[0] == '"' {
		text = quotes.ReplaceAllString(escapes.ReplaceAllStringFunc(text, mask), `""`)
	}
	return text
}

// concatenated returns the text of string literals that are added to each other, with a line break wherever the source has one.
func concatenated(e ast.Expr, files *token.FileSet) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return literal(e), e.Kind == token.STRING
	case *ast.BinaryExpr:
		left, isLeft := concatenated(e.X, files)
		right, isRight := concatenated(e.Y, files)
		between := files.Position(e.Y.Pos()).Line - files.Position(e.X.End()).Line
		return left + strings.Repeat("\n", between) + right, e.Op == token.ADD && isLeft && isRight
	default:
		return "", false
	}
}
