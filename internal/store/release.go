package store

import (
	"context"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// Released is an event that was made due before its time.
type Released struct {
	ID     uuid.UUID
	Source string
	// Dispatched is false where the event has no WebhookEvent; the relay brings it back.
	Dispatched bool
}

// ReleaseHeld makes due the oldest of the events that wait for destinations of which at least one is not down. It lets go
// so many that at most limit are due and not yet claimed: who comes again at the pace at which the others are done is no
// stampede. It reports whether there may be more.
func (s *Store) ReleaseHeld(ctx context.Context, down []string, limit int) (released []Released, more bool, err error) {
	due, err := s.q.CountReleased(ctx)
	if err != nil {
		return nil, false, s.wrap(err, "count what was let go")
	}
	room := int64(limit) - due
	if room <= 0 {
		return nil, true, nil
	}
	if down == nil {
		down = []string{} // NULL would compare with nothing.
	}
	rows, err := s.q.ReleaseHeld(ctx, dbsqlc.ReleaseHeldParams{Down: down, MaxRows: int32(room)}) //nolint:gosec // A batch.
	if err != nil {
		return nil, false, s.wrap(err, "let go what waits for a destination")
	}
	for _, row := range rows {
		released = append(released, Released(row))
	}
	return released, int64(len(rows)) == room, nil
}

// ReleaseForPlaces makes due the oldest of the events that wait for places at a destination and for nothing else: as many as
// there are free places, less those that are due and not yet claimed. It reports whether there may be more.
func (s *Store) ReleaseForPlaces(ctx context.Context, places string, free int) (released []Released, more bool, err error) {
	due, err := s.q.CountReleasedForPlaces(ctx, places)
	if err != nil {
		return nil, false, s.wrap(err, "count the events that were released for %s", places)
	}
	room := int64(free) - due
	if room <= 0 {
		return nil, true, nil
	}
	rows, err := s.q.ReleaseForPlaces(ctx, dbsqlc.ReleaseForPlacesParams{Places: places, MaxRows: int32(room)}) //nolint:gosec // Few.
	if err != nil {
		return nil, false, s.wrap(err, "release events for %s", places)
	}
	for _, row := range rows {
		released = append(released, Released(row))
	}
	return released, int64(len(rows)) == room, nil
}

// ReleaseToTry makes due, for each destination, one event that waits for it, so that it is seen whether the destination
// answers again. The next time it is another event's turn: what one event meets with may be its own.
func (s *Store) ReleaseToTry(ctx context.Context, destinations []string) ([]Released, error) {
	rows, err := s.q.ReleaseToTry(ctx, destinations)
	if err != nil {
		return nil, s.wrap(err, "try %d destinations again", len(destinations))
	}
	released := make([]Released, len(rows))
	for i, row := range rows {
		released[i] = Released(row)
	}
	return released, nil
}
