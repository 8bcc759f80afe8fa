package main

import (
	"errors"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// The exit codes of failures.
const (
	// exitFailure means a transient failure, such as a database that is down.
	exitFailure = 1
	// exitPermanent means a failure that no retry changes. The migration's Job ends with the first one.
	exitPermanent = 3
)

// permanentError is a failure that no retry changes.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// permanent marks err, unless it is nil.
func permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// classified marks an error of a tool's work on the database if no retry changes it.
func classified(err error) error {
	if store.IsPermanent(err) {
		return permanent(err)
	}
	return err
}

func exitCode(err error) int {
	if _, ok := errors.AsType[permanentError](err); ok {
		return exitPermanent
	}
	return exitFailure
}
