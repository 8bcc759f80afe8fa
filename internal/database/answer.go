package database

import (
	"context"
	"fmt"
	"time"
)

// NoAnswerError says that a database did not answer in time.
type NoAnswerError struct {
	// After is how long it had.
	After time.Duration
	// Err is what the call says that was cut off.
	Err error
}

// NoAnswerAction is what to do about a NoAnswerError.
const NoAnswerAction = "a server, a pooler or a network that hangs, or a lock that another session holds (pg_stat_activity shows both), " +
	"has to be freed first; then run it again"

func (e *NoAnswerError) Error() string {
	return fmt.Sprintf("no answer within %s: %s: %v", e.After, NoAnswerAction, e.Err)
}

// Unwrap returns what the call says that was cut off.
func (e *NoAnswerError) Unwrap() error { return e.Err }

// Within runs f, which asks only what a database answers at once, and returns a NoAnswerError if it takes longer than d. A connection that
// does not answer is closed.
func Within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err := f(within)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return &NoAnswerError{After: d, Err: err}
	}
	return err
}
