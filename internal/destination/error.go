// Package destination holds what all calls to the systems behind verity-sync share: how their errors are classed, so
// that one retry policy serves all of them. It knows no destination in particular.
package destination

import (
	"errors"
	"fmt"
	"time"
)

// Class says what a failed call means for the event that made it.
type Class int

// The classes of failures.
const (
	// Transient: this attempt failed and a later one may succeed (network, timeout, 408, 425, 5xx, serialization).
	Transient Class = iota
	// Permanent: the answer is about this event (400, 409, 410, 413, 422, bad data); trying again cannot help.
	Permanent
	// Unavailable: every event would get the same answer (connection refused, 401, 403, 404, 405, a redirect). It
	// counts against the destination, not against the event.
	Unavailable
	// Limited: the destination asked for a pause (429). It pauses the destination and is not counted as an attempt.
	Limited
)

// String returns the class as it stands in logs, metrics and the ledger.
func (c Class) String() string {
	switch c {
	case Permanent:
		return "permanent"
	case Unavailable:
		return "unavailable"
	case Limited:
		return "limited"
	default:
		return "transient"
	}
}

// Error is a failed call to a destination. Message is written for people and holds neither personal data nor a
// secret: it is shown in conditions and stored in the ledger.
type Error struct {
	// Destination is the name that metrics and breakers use: "verity-http", "verity-db", "aloware", "ghl".
	Destination string
	Class       Class
	// Code is the HTTP status, 0 where there was none.
	Code int
	// RetryAfter is how long the destination asked to be left alone, 0 where it did not.
	RetryAfter time.Duration
	// Message says what happened, in a form that may be shown to anyone.
	Message string
	// Err is the cause. It may hold what must not be shown, so that Error leaves it out.
	Err error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Destination, e.Message) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class of err; an error that is not an *Error is transient, since giving up wrongly loses an
// event and trying again wrongly only costs a call.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return Transient
}

// RetryAfterOf returns how long the destination asked to be left alone, 0 where err does not say.
func RetryAfterOf(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// NameOf returns the name of the destination that err is of, "" where err is no *Error.
func NameOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Destination
	}
	return ""
}
