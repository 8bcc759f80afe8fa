// Package preflight holds the findings of the checks that verity-sync makes of a database before it works with it. It knows how
// findings are ranked and printed, and nothing about how they are found.
package preflight

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Database is the database that a finding is about, in the words that users see.
type Database string

// The databases of verity-sync.
const (
	Middleware Database = "middleware"
	Verity     Database = "verity"
)

// Severity says what a finding means for the process that made it.
type Severity string

const (
	// OK is a check that found nothing wrong. It is printed on demand only.
	OK Severity = "ok"
	// Warning is something that costs speed, safety or some of the events, and is no reason not to start.
	Warning Severity = "warning"
	// Error is something with which no event, or none of a kind, can be processed. It fails the start, unless it may pass.
	Error Severity = "error"
)

// Finding is the result of one check.
type Finding struct {
	Database Database `json:"database"`
	Severity Severity `json:"severity"`
	// Check is the name of the check, in kebab case: "row-security". Documentation refers to it.
	Check string `json:"check"`
	// Message says what is there and what will happen because of it. It holds no personal data and no password.
	Message string `json:"message"`
	// Action says what to do; it is empty where there is nothing to do.
	Action string `json:"action,omitempty"`
	// MayPass marks an Error that can end without a change by anybody, such as a failover. It does not fail a start.
	MayPass bool `json:"-"`
}

// String returns the finding on one line, without its severity.
func (f Finding) String() string {
	text := fmt.Sprintf("%s database: %s: %s", f.Database, f.Check, f.Message)
	if f.Action != "" {
		text += ": " + f.Action
	}
	return event.VisibleLine(text) // Names in it are those of the database.
}

// InWords joins names: "a, b and c".
func InWords(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// ErrFailed means that a check found an Error.
var ErrFailed = errors.New("the preflight failed")

// Failure returns an error that names every finding of severity Error, one a line, nil where there is none. It wraps ErrFailed.
func Failure(findings []Finding) error {
	var lines []string
	for _, f := range findings {
		if f.Severity == Error {
			lines = append(lines, f.String())
		}
	}
	if lines == nil {
		return nil
	}
	return fmt.Errorf("%w:\n%s", ErrFailed, strings.Join(lines, "\n"))
}
