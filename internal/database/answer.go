package database

import (
	"context"
	"fmt"
	"time"
)

// NoAnswerError means that a database did not answer in time.
type NoAnswerError struct {
	// After is the timeout.
	After time.Duration
	// Err is the error of the interrupted call.
	Err error
}

// NoAnswerAction tells users what to do about a NoAnswerError.
const NoAnswerAction = "look for a server, a pooler or a network that hangs, and for a session that holds a lock (see pg_stat_activity); " +
	"fix that and run it again"

func (e *NoAnswerError) Error() string {
	return fmt.Sprintf("no answer within %s: %s: %v", e.After, NoAnswerAction, e.Err)
}

// Unwrap returns the error of the interrupted call.
func (e *NoAnswerError) Unwrap() error { return e.Err }

// Within runs f, whose queries a database answers at once, and returns a NoAnswerError if it takes longer than d. It closes a connection
// that does not answer.
func Within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err := f(within)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return &NoAnswerError{After: d, Err: err}
	}
	return err
}
