package operation

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// failure is an error with the other fields of its Outcome.
type failure struct {
	err    error
	reason string
	notYet bool
	wait   time.Duration
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// outcomeOf returns the outcome of an operation that failed with err.
func outcomeOf(err error) Outcome {
	if f, ok := errors.AsType[*failure](err); ok {
		return Outcome{Err: f.err, Reason: f.reason, NotYet: f.notYet, Wait: f.wait}
	}
	return Failed(err)
}

// breakerError is the failure of a call through a breaker, whether the call was made or not.
func breakerError(b *destination.Breaker, err error) error {
	return &failure{err: err, wait: b.WaitAfter(err)}
}

// ownDatabase is the name of verity-sync's own database in errors.
const ownDatabase = "middleware database"

// ownDatabaseError is a failure of the middleware database. The message does not contain the database's own, which may repeat
// values of the statement.
func ownDatabaseError(err error) error {
	message := "it is not available"
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		message = fmt.Sprintf("it refused a statement (SQLSTATE %s)", pg.Code)
	} else if errors.Is(err, store.ErrContactChanged) {
		message = err.Error()
	}
	return &destination.Error{Destination: ownDatabase, Class: destination.Transient, Message: message, Err: err}
}
