package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// Heartbeat is a timestamp that the leader advances in the database.
type Heartbeat struct {
	At time.Time
	// RolledBack is true if the database had an earlier heartbeat than the leader has seen: it was restored to RolledBackTo, or to the
	// Unix epoch if the backup has no heartbeats.
	RolledBack   bool
	RolledBackTo time.Time
}

// Beat advances the heartbeat. known is the latest heartbeat that the caller has seen, or zero. It returns ErrFenced if the database has
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

// AcquireTerm begins a new term. Every earlier term is fenced from then on.
func (s *Store) AcquireTerm(ctx context.Context, holder string) (int64, error) {
	term, err := s.q.AcquireTerm(ctx, holder)
	return term, s.wrap(err, "acquire a term")
}
