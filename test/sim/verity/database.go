package verity

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Schema is Verity's database, as far as verity-sync touches it and with columns that it does not know of. As in the
// real one, nothing says that a contact has one lead or that a phone number belongs to one contact.
const Schema = `
CREATE TABLE IF NOT EXISTS contacts (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    full_name  text,
    phone_e164 text,
    email      text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS contacts_phone_e164_idx ON contacts (phone_e164);
CREATE INDEX IF NOT EXISTS contacts_email_idx ON contacts (email);
CREATE INDEX IF NOT EXISTS contacts_lower_email_idx ON contacts (lower(email));

CREATE TABLE IF NOT EXISTS leads (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    contact_id         uuid NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    ghl_appointment_id text,
    status             text NOT NULL DEFAULT 'new',
    source             text,
    score              integer NOT NULL DEFAULT 0,
    created_at         timestamptz NOT NULL DEFAULT now(),
    last_activity_at   timestamptz
);
CREATE INDEX IF NOT EXISTS leads_contact_id_idx ON leads (contact_id);
CREATE INDEX IF NOT EXISTS leads_last_activity_at_idx ON leads (last_activity_at DESC);
`

// Database is Verity's own view of its database.
type Database struct{ pool *pgxpool.Pool }

// OpenDatabase connects to a database and creates the tables that are missing. Close it.
func OpenDatabase(ctx context.Context, url string) (*Database, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	db := &Database{pool: pool}
	if err := db.exclusively(ctx, "schema", func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, Schema)
		return err
	}); err != nil {
		pool.Close()
		return nil, fmt.Errorf("create the tables: %w", err)
	}
	return db, nil
}

// Close ends the connections.
func (db *Database) Close() { db.pool.Close() }

// exclusively runs f in a transaction that is alone among those of the same name, in this and in other processes.
func (db *Database) exclusively(ctx context.Context, name string, f func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('verity-simulator/' || $1, 0))", name); err != nil {
			return err
		}
		return f(tx)
	})
}

// AddContact stores a contact and returns its id; an empty phone number (E.164) or e-mail address is NULL.
func (db *Database) AddContact(ctx context.Context, phone, email string) (string, error) {
	return addContact(ctx, db.pool, phone, email)
}

// EnsureContact stores a contact unless there is one with the phone number or, in any case, the e-mail address. It is
// what Server.OnContact wants.
func (db *Database) EnsureContact(ctx context.Context, phone, email string) error {
	return db.exclusively(ctx, "contacts", func(tx pgx.Tx) error {
		var known bool
		const query = `SELECT EXISTS (SELECT FROM contacts WHERE phone_e164 = nullif($1, '') OR lower(email) = lower(nullif($2, '')))`
		if err := tx.QueryRow(ctx, query, phone, email).Scan(&known); err != nil || known {
			return err
		}
		_, err := addContact(ctx, tx, phone, email)
		return err
	})
}

type querier interface {
	QueryRow(ctx context.Context, query string, arguments ...any) pgx.Row
}

func addContact(ctx context.Context, db querier, phone, email string) (id string, err error) {
	const query = `INSERT INTO contacts (phone_e164, email) VALUES (nullif($1, ''), nullif($2, '')) RETURNING id::text`
	err = db.QueryRow(ctx, query, phone, email).Scan(&id)
	return id, err
}

// Lead is a row of leads.
type Lead struct {
	ID        string
	ContactID string
	// AppointmentID is "" where it is NULL.
	AppointmentID string
	CreatedAt     time.Time
	// LastActivityAt is zero where it is NULL.
	LastActivityAt time.Time
}

// AddLead stores a lead, as Verity does for a contact that it knows before the first appointment, and returns its id. An
// empty appointment id is NULL.
func (db *Database) AddLead(ctx context.Context, contactID, appointmentID string) (id string, err error) {
	const query = `INSERT INTO leads (contact_id, ghl_appointment_id) VALUES ($1, nullif($2, '')) RETURNING id::text`
	err = db.pool.QueryRow(ctx, query, contactID, appointmentID).Scan(&id)
	return id, err
}

// Leads returns all leads, oldest first.
func (db *Database) Leads(ctx context.Context) ([]Lead, error) {
	const query = `
		SELECT id::text, contact_id::text, coalesce(ghl_appointment_id, ''), created_at, last_activity_at
		FROM leads ORDER BY leads.created_at, leads.id`
	rows, err := db.pool.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Lead, error) {
		var lead Lead
		var lastActivity *time.Time
		err := row.Scan(&lead.ID, &lead.ContactID, &lead.AppointmentID, &lead.CreatedAt, &lastActivity)
		if lastActivity != nil {
			lead.LastActivityAt = *lastActivity
		}
		return lead, err
	})
}
