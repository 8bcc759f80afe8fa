// Package preflight has the findings of the checks that verity-sync runs before it uses a database. It ranks and prints findings, and must
// not know how they are found.
package preflight

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Database is the database that a finding is about, as users see it.
type Database string

// The databases of verity-sync.
const (
	Middleware Database = "middleware"
	Verity     Database = "verity"
)

// Severity is the effect of a finding on the process that checks.
type Severity string

const (
	// OK means that a check found no problem. It is printed on demand only.
	OK Severity = "ok"
	// Warning is a problem that costs speed, safety or some of the events. The process starts.
	Warning Severity = "warning"
	// Error is a problem with which no event, or no event of a kind, can be processed. It fails the start, unless it may pass.
	Error Severity = "error"
)

// Finding is the result of one check.
type Finding struct {
	Database Database `json:"database"`
	Severity Severity `json:"severity"`
	// Check is the name of the check, in kebab case: "row-security". Documentation refers to it.
	Check string `json:"check"`
	// Message has the problem and its consequence. It holds no personal data and no password.
	Message string `json:"message"`
	// Action is what to do; empty if there is nothing to do.
	Action string `json:"action,omitempty"`
	// MayPass marks an Error that can resolve by itself, such as a failover. It does not fail a start.
	MayPass bool `json:"-"`
}

// String returns the finding on one line, without its severity.
func (f Finding) String() string {
	text := fmt.Sprintf("%s database: %s: %s", f.Database, f.Check, f.Message)
	if f.Action != "" {
		text += ": " + f.Action
	}
	return event.VisibleLine(text) // Names in it come from the database.
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

// Failure returns an error that lists every finding of severity Error, one a line, or nil. It wraps ErrFailed.
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
