package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
)

// eventArgs is the job of an event.
type eventArgs struct {
	EventID   string `json:"event_id"`
	EntityID  string `json:"entity_id"`
	ContactID string `json:"contact_id"`
}

// Kind is the job's name in River's table.
func (eventArgs) Kind() string { return "webhook_event" }

// worker forwards an event and writes its lead, one after the other.
type worker struct {
	river.WorkerDefaults[eventArgs]

	pool, leads *pgxpool.Pool
	client      *http.Client
	url, secret string
}

func newWorker(pool, leads *pgxpool.Pool) *worker {
	transport := &http.Transport{MaxIdleConnsPerHost: workers}
	return &worker{
		pool: pool, leads: leads,
		client: &http.Client{Timeout: 30 * time.Second, Transport: transport},
		url:    os.Getenv("VERITY_BASE_URL") + "/api/integrations/ghl/webhook",
		secret: os.Getenv("VERITY_WEBHOOK_SECRET"),
	}
}

// Work does the job; River tries again where it returns an error.
func (w *worker) Work(ctx context.Context, job *river.Job[eventArgs]) error {
	var payload string
	var phone *string
	const load = `
		SELECT e.payload_json::text, m.phone_number
		FROM webhook_events e LEFT JOIN contact_mappings m ON m.ghl_contact_id = $2
		WHERE e.id = $1::uuid`
	if err := w.pool.QueryRow(ctx, load, job.Args.EventID, job.Args.ContactID).Scan(&payload, &phone); err != nil {
		return fmt.Errorf("load the event: %w", err)
	}
	if err := w.forward(ctx, job.Args.EventID, payload); err != nil {
		return err
	}
	if phone == nil {
		return errors.New("the contact is not known")
	}
	lead, err := w.writeLead(ctx, *phone, job.Args.EntityID)
	if err != nil {
		return err
	}
	const finish = `
		WITH done AS (
			UPDATE webhook_events SET status = 'done', processed_at = now() WHERE id = $1::uuid RETURNING entity_type, entity_id)
		INSERT INTO sync_log (direction, entity_type, entity_id, source_id, target_id, status, started_at, finished_at, correlation_id)
		SELECT 'ghl_to_verity', entity_type, entity_id, entity_id, $2, 'success', now(), now(), $1 FROM done`
	if _, err := w.pool.Exec(ctx, finish, job.Args.EventID, lead); err != nil {
		return fmt.Errorf("finish the event: %w", err)
	}
	return nil
}

func (w *worker) forward(ctx context.Context, id, payload string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader([]byte(payload)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", id)
	request.Header.Set("X-Middleware-Forwarded", "true")
	request.Header.Set("X-Middleware-Secret", w.secret)
	response, err := w.client.Do(request)
	if err != nil {
		return fmt.Errorf("forward the event: %w", err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return fmt.Errorf("forward the event: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("forward the event: %s", response.Status)
	}
	return nil
}

// writeLead returns the contact whose lead points at the appointment now.
func (w *worker) writeLead(ctx context.Context, phone, appointment string) (contact string, err error) {
	err = w.leads.QueryRow(ctx, "SELECT id::text FROM contacts WHERE phone_e164 = $1 ORDER BY id LIMIT 1", phone).Scan(&contact)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", errors.New("the contact is not in Verity")
	}
	if err != nil {
		return "", fmt.Errorf("find the contact: %w", err)
	}
	const update = `UPDATE leads SET ghl_appointment_id = $2, last_activity_at = now() WHERE contact_id = $1::uuid`
	updated, err := w.leads.Exec(ctx, update, contact, appointment)
	if err != nil {
		return "", fmt.Errorf("write the lead: %w", err)
	}
	if updated.RowsAffected() == 0 {
		const insert = `INSERT INTO leads (contact_id, ghl_appointment_id, last_activity_at) VALUES ($1::uuid, $2, now())`
		if _, err := w.leads.Exec(ctx, insert, contact, appointment); err != nil {
			return "", fmt.Errorf("insert the lead: %w", err)
		}
	}
	return contact, nil
}
