package manifests_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/plan"
)

// logCall is a call of logr.Logger: Info, Error or WithValues.
type logCall struct {
	at      token.Position
	message ast.Expr // nil for WithValues.
	// values are the keys and values. If fields is not empty, more of them are in that variable.
	values []ast.Expr
	fields string
}

// logCallOf returns the call, or nil if it is another one. Loggers are fields and variables called log or Log, and results of LoggerFrom.
func logCallOf(call *ast.CallExpr) *logCall {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !isLogger(method.X) {
		return nil
	}
	skip, found := map[string]int{"Info": 1, "Error": 2, "WithValues": 0}[method.Sel.Name]
	if !found || len(call.Args) < skip {
		return nil
	}
	log := &logCall{values: call.Args[skip:]}
	if skip > 0 {
		log.message = call.Args[skip-1]
	}
	if call.Ellipsis.IsValid() {
		last := log.values[len(log.values)-1]
		log.values = log.values[:len(log.values)-1]
		if appended, ok := last.(*ast.CallExpr); ok {
			last, log.values = appended.Args[0], append(log.values, appended.Args[1:]...)
		}
		log.fields = last.(*ast.Ident).Name
	}
	return log
}

func isLogger(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return strings.EqualFold(x.Name, "log")
	case *ast.SelectorExpr:
		return strings.EqualFold(x.Sel.Name, "log")
	case *ast.CallExpr:
		method, ok := x.Fun.(*ast.SelectorExpr)
		return ok && (method.Sel.Name == "LoggerFrom" || method.Sel.Name == "V" && isLogger(method.X))
	}
	return false
}

// fieldsIn returns the keys and values that a function puts into a variable.
func fieldsIn(function ast.Node, variable string) (values []ast.Expr) {
	ast.Inspect(function, func(n ast.Node) bool {
		assigned, ok := n.(*ast.AssignStmt)
		if !ok || len(assigned.Lhs) != 1 {
			return true
		}
		if name, ok := assigned.Lhs[0].(*ast.Ident); !ok || name.Name != variable {
			return true
		}
		switch from := assigned.Rhs[0].(type) {
		case *ast.CompositeLit:
			values = append(values, from.Elts...)
		case *ast.CallExpr: // append
			values = append(values, from.Args[1:]...)
		}
		return true
	})
	return values
}

// productFiles returns the paths of the product's Go files, without tests.
func productFiles(t *testing.T) (paths []string) {
	t.Helper()
	for _, folder := range []string{"cmd", "controllers", "internal"} {
		require.NoError(t, filepath.WalkDir(file(t, folder), func(path string, _ fs.DirEntry, err error) error {
			if filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go") {
				paths = append(paths, path)
			}
			return err
		}))
	}
	return paths
}

// logCalls returns the calls of loggers in the product's code, with all of their values.
func logCalls(t *testing.T) []logCall {
	t.Helper()
	var calls []logCall
	for _, path := range productFiles(t) {
		files := token.NewFileSet()
		parsed, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, function := range parsed.Decls {
			ast.Inspect(function, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if log := logCallOf(call); log != nil {
					log.at = files.Position(call.Pos())
					log.values = append(log.values, fieldsIn(function, log.fields)...)
					calls = append(calls, *log)
				}
				return true
			})
		}
	}
	require.Greater(t, len(calls), 40)
	return calls
}

func TestLogMessagesAreConstantAndBeginInLowerCase(t *testing.T) {
	t.Parallel()
	exempt := regexp.MustCompile(`^(WebhookEvents? |ALLOW_UNAUTHENTICATED )`)
	for _, call := range logCalls(t) {
		if call.message == nil {
			continue
		}
		text := constantText(call.message)
		if text == "" {
			name, ok := call.message.(*ast.Ident)
			assert.True(t, ok && name.Name == "message", "%s: the message is put together from values; use keys", call.at)
			continue
		}
		assert.True(t, unicode.IsLower([]rune(text)[0]) || exempt.MatchString(text), "%s: %q begins in upper case", call.at, text)
		assert.False(t, strings.HasSuffix(text, "."), "%s: %q ends with a full stop", call.at, text)
	}
}

// constantText returns the text of a string literal, or of several that are joined; empty if a part is something else.
func constantText(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(x.Value)
		return text
	case *ast.BinaryExpr:
		if left, right := constantText(x.X), constantText(x.Y); left != "" && right != "" {
			return left + right
		}
	}
	return ""
}

func TestTheKeysOfLogLinesAreDocumented(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(file(t, "docs", "operations.md"))
	require.NoError(t, err)
	_, table, found := strings.Cut(string(content), "\n| key | value |\n| --- | --- |\n")
	require.True(t, found, "docs/operations.md has a table of the keys")
	table, _, _ = strings.Cut(table, "\n\n")
	var documented []string
	for row := range strings.Lines(table) {
		for _, key := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(strings.Split(row, "|")[1], -1) {
			documented = append(documented, key[1])
		}
	}
	used := []string{"name", "namespace"} // controller-runtime adds them to the lines about an object.
	for _, spec := range plan.Specs() {
		used = append(used, spec.Name) // The result of each operation has its name as key.
	}
	for _, call := range logCalls(t) {
		require.Zero(t, len(call.values)%2, "%s: a key has no value", call.at)
		for pair := range slices.Chunk(call.values, 2) {
			key := constantText(pair[0])
			if key == "" {
				continue // The name of an operation.
			}
			used = append(used, key)
			assert.Contains(t, documented, key, "%s", call.at)
		}
	}
	for _, key := range documented {
		assert.Contains(t, used, key, "no line has this key")
	}
}
