package controllers_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

// logLines are lines of a log, in JSON.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

// logger returns a logger that also writes to the log of the test.
func (l *logLines) logger(t *testing.T) logr.Logger {
	return funcr.NewJSON(func(line string) {
		t.Log(line)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, line)
	}, funcr.Options{})
}

// with returns the lines that contain all texts.
func (l *logLines) with(texts ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			found = append(found, line)
		}
	}
	return found
}
