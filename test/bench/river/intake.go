package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

const bodyLimit = 1 << 20

// intake is the route. It verifies and reads a webhook with verity-sync's own code, so that the two differ in how they store it.
type intake struct {
	pool     *pgxpool.Pool
	jobs     *river.Client[pgx.Tx]
	verifier *ghl.Verifier
}

func (i *intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	}
	if _, err := i.verifier.Authenticate(r.Header, nil, raw); err != nil {
		http.Error(w, "no valid signature", http.StatusUnauthorized)
		return
	}
	body, err := ghl.Decode(r.Header.Get("Content-Type"), raw)
	if err != nil {
		http.Error(w, "no JSON object", http.StatusBadRequest)
		return
	}
	id, status, err := i.store(r.Context(), ghl.Normalise(body, time.Now()), raw)
	if err != nil {
		http.Error(w, "not stored", http.StatusTooManyRequests)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"id": id, "status": status})
}

// store commits the event and its job in one transaction.
func (i *intake) store(ctx context.Context, e event.Event, raw []byte) (id, status string, err error) {
	const insert = `
		INSERT INTO webhook_events (source, event_type, entity_type, entity_id, payload_json, dedupe_key)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (dedupe_key) DO NOTHING RETURNING id::text`
	status = "accepted"
	err = pgx.BeginFunc(ctx, i.pool, func(tx pgx.Tx) error {
		row := tx.QueryRow(ctx, insert, e.Source, e.Type, e.EntityType, e.EntityID, string(raw), e.DedupeKey)
		if err := row.Scan(&id); errors.Is(err, pgx.ErrNoRows) {
			status = "duplicate"
			return tx.QueryRow(ctx, "SELECT id::text FROM webhook_events WHERE dedupe_key = $1", e.DedupeKey).Scan(&id)
		} else if err != nil {
			return err
		}
		_, err := i.jobs.InsertTx(ctx, tx, eventArgs{EventID: id, EntityID: e.EntityID, ContactID: e.ContactID}, nil)
		return err
	})
	return id, status, err
}
