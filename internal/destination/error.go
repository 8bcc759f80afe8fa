// Package destination has the HTTP client, the circuit breaker, the concurrency limit and the error classes that all calls to
// other systems share, so that one retry policy covers them all. It knows no particular destination.
package destination

import (
	"errors"
	"fmt"
	"time"
)

// Class says what a failed call means for its event.
type Class int

// The classes of failures.
const (
	// Transient: a later attempt may succeed (network, timeout, 408, 425, 5xx, serialization).
	Transient Class = iota
	// Permanent: the destination refuses this event (400, 409, 410, 413, 422, bad data); another attempt cannot succeed.
	Permanent
	// Unavailable: every event would get the same response (connection refused, 401, 403, 404, 405, a redirect). The
	// destination fails, not the event.
	Unavailable
	// Limited: the destination requested a pause (429). Calls to it pause, and the attempt does not count.
	Limited
)

// String returns the class as logs, metrics and the ledger show it.
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

// Error is a failed call to a destination. Its message is shown in conditions and stored in the ledger, so it holds neither
// personal data nor a secret.
type Error struct {
	// Destination is the name that metrics and breakers use: "verity-http", "verity-db", "aloware", "ghl".
	Destination string
	Class       Class
	// Code is the HTTP status, 0 if there was none.
	Code int
	// RetryAfter is the pause that the destination requested, 0 if none.
	RetryAfter time.Duration
	// Message says what happened.
	Message string
	// Err is the cause. It may hold personal data, so the message omits it.
	Err error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Destination, e.Message) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class of err. An error that is not an *Error is transient: an unnecessary retry costs a call, a wrong
// refusal loses the event.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return Transient
}

// RetryAfterOf returns the pause that the destination requested, 0 if none.
func RetryAfterOf(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// NameOf returns the name of the destination of err, "" if err is not an *Error.
func NameOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Destination
	}
	return ""
}
