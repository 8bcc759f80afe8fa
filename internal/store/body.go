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

// StoredBody is what an event was received as, with the type and the entity's id that were read from it then.
type StoredBody struct {
	ReceivedAt time.Time
	// Payload is the JSON object that was stored.
	Payload        []byte
	Headers        map[string]string
	Type, EntityID string
	// ErasedAt is when the data of the event was erased, nil where it was not. There is no body then.
	ErasedAt *time.Time
}

// ReadBody returns what an event was received as, or ErrNotFound.
func (s *Store) ReadBody(ctx context.Context, id uuid.UUID) (StoredBody, error) {
	row, err := s.q.ReadBody(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return StoredBody{}, ErrNotFound
	}
	if err != nil {
		return StoredBody{}, s.wrap(err, "read the body of event %s", id)
	}
	stored := StoredBody{ReceivedAt: row.ReceivedAt, Payload: row.PayloadJson, Type: row.EventType, EntityID: row.EntityID,
		ErasedAt: row.ErasedAt}
	if len(row.Headers) > 0 {
		if err := json.Unmarshal(row.Headers, &stored.Headers); err != nil {
			return StoredBody{}, fmt.Errorf("decode the headers of event %s: %w", id, err)
		}
	}
	return stored, nil
}
