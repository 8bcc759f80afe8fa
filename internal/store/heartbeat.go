package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// Heartbeat is a time that the leader moves forward in the database.
type Heartbeat struct {
	At time.Time
	// RolledBack is true where the database had an earlier heartbeat than is known: it has gone back to the moment RolledBackTo, which is
	// the epoch for a backup that had no heartbeats yet.
	RolledBack   bool
	RolledBackTo time.Time
}

// Beat moves the heartbeat forward. known is the latest one that was seen, zero if none was. It returns ErrFenced where the database has
// another term.
func (s *Store) Beat(ctx context.Context, term int64, known time.Time) (Heartbeat, error) {
	row, err := s.q.Beat(ctx, dbsqlc.BeatParams{Term: term, Known: known})
	if errors.Is(err, pgx.ErrNoRows) {
		return Heartbeat{}, ErrFenced
	}
	if err != nil {
		return Heartbeat{}, s.wrap(err, "record the heartbeat of the leader")
	}
	return Heartbeat{At: row.BeatAt.UTC(), RolledBack: row.RolledBack, RolledBackTo: row.RolledBackTo.UTC()}, nil
}

// AcquireTerm begins a new term: from now on nothing can be recorded under an earlier one.
func (s *Store) AcquireTerm(ctx context.Context, holder string) (int64, error) {
	term, err := s.q.AcquireTerm(ctx, holder)
	return term, s.wrap(err, "begin a term of leadership")
}
