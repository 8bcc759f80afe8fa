package store

import (
	"context"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// Released is a held event that was made due.
type Released struct {
	ID     uuid.UUID
	Source string
	// Dispatched is false if the event has no WebhookEvent. The relay recreates it.
	Dispatched bool
}

// ReleaseHeld makes due the oldest held events of which at least one destination is not down. At most limit released events are
// due and unclaimed at a time, which prevents a stampede. It reports whether there may be more.
func (s *Store) ReleaseHeld(ctx context.Context, down []string, limit int) (released []Released, more bool, err error) {
	due, err := s.q.CountReleased(ctx)
	if err != nil {
		return nil, false, s.wrap(err, "count released events")
	}
	room := int64(limit) - due
	if room <= 0 {
		return nil, true, nil
	}
	if down == nil {
		down = []string{} // A comparison with NULL is never true.
	}
	rows, err := s.q.ReleaseHeld(ctx, dbsqlc.ReleaseHeldParams{Down: down, MaxRows: int32(room)}) //nolint:gosec // A batch.
	if err != nil {
		return nil, false, s.wrap(err, "release held events")
	}
	for _, row := range rows {
		released = append(released, Released(row))
	}
	return released, int64(len(rows)) == room, nil
}

// ReleaseForSlots makes due the oldest events that are held only by the concurrency limit of a destination: one for each free
// slot, less those that are due and unclaimed. It reports whether there may be more.
func (s *Store) ReleaseForSlots(ctx context.Context, limit string, free int) (released []Released, more bool, err error) {
	due, err := s.q.CountReleasedForSlots(ctx, limit)
	if err != nil {
		return nil, false, s.wrap(err, "count events released for %s", limit)
	}
	room := int64(free) - due
	if room <= 0 {
		return nil, true, nil
	}
	rows, err := s.q.ReleaseForSlots(ctx, dbsqlc.ReleaseForSlotsParams{LimitName: limit, MaxRows: int32(room)}) //nolint:gosec // Few.
	if err != nil {
		return nil, false, s.wrap(err, "release events for %s", limit)
	}
	for _, row := range rows {
		released = append(released, Released(row))
	}
	return released, int64(len(rows)) == room, nil
}

// ReleaseForTrial makes due one held event for each destination, for a trial call. The next call of ReleaseForTrial selects
// another event, since the failure of one event may be specific to it.
func (s *Store) ReleaseForTrial(ctx context.Context, destinations []string) ([]Released, error) {
	rows, err := s.q.ReleaseForTrial(ctx, destinations)
	if err != nil {
		return nil, s.wrap(err, "release events for trial calls to %d destinations", len(destinations))
	}
	released := make([]Released, len(rows))
	for i, row := range rows {
		released[i] = Released(row)
	}
	return released, nil
}
