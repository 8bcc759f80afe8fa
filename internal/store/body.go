package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// StoredBody is the body of an event as received, and the type and entity id that were decoded from it.
type StoredBody struct {
	Source     string
	ReceivedAt time.Time
	// Payload is the stored JSON object.
	Payload        []byte
	Headers        map[string]string
	Type, EntityID string
	// ErasedAt is when the data of the event was erased, nil if it was not. An erased event has no body.
	ErasedAt *time.Time
}

// ReadBody returns the body of an event, or ErrNotFound.
func (s *Store) ReadBody(ctx context.Context, id uuid.UUID) (StoredBody, error) {
	row, err := s.q.ReadBody(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return StoredBody{}, ErrNotFound
	}
	if err != nil {
		return StoredBody{}, s.wrap(err, "read the body of event %s", id)
	}
	stored := StoredBody{
		Source: row.Source, ReceivedAt: row.ReceivedAt, Payload: row.PayloadJson, Type: row.EventType, EntityID: row.EntityID,
		ErasedAt: row.ErasedAt,
	}
	if len(row.Headers) > 0 {
		if err := json.Unmarshal(row.Headers, &stored.Headers); err != nil {
			return StoredBody{}, fmt.Errorf("decode the headers of event %s: %w", id, err)
		}
	}
	return stored, nil
}
