package verity

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
)

// DatabaseDestination is the name of Verity's database in errors, metrics and breakers.
const DatabaseDestination = "verity-db"

const (
	// connectTimeout leaves room within a call to tell a server that cannot be reached from one that is slow.
	connectTimeout = 4 * time.Second
	// pingTimeout is how long a connection that was idle may take to prove that it is alive before another one is made.
	pingTimeout = 2 * time.Second
)

// sessionSettings bound what verity-sync can cost Verity's database, also when its process is frozen with a transaction
// open. They are below or above destination.CallTimeout by sense: the server should tell of a slow statement before the
// call ends without a reason, and a transaction is idle while verity-sync's own database is read. The URL overrides them.
var sessionSettings = map[string]string{
	"statement_timeout":                   "8s",
	"lock_timeout":                        "5s",
	"idle_in_transaction_session_timeout": "15s",
	// A column without time zone holds UTC, whatever the time zone of the database is.
	"timezone": "UTC",
}

// LeadsConfig is what Leads needs.
type LeadsConfig struct {
	// URL is that of Verity's database. It may carry settings of the session and of the pool (pool_max_conns).
	URL string
	// Timeout bounds a call, the wait for a connection included; 0 is destination.CallTimeout.
	Timeout time.Duration
}

// Leads reads contacts and writes leads in Verity's database. The schema there is Verity's own: ids may be of any type,
// tables may have more columns, and nothing is assumed to be unique. It is safe for concurrent use, in this and in other
// processes at the same time.
//
// Its errors are of type *destination.Error, and their messages hold no personal data.
type Leads struct {
	pool    *database.Pool
	timeout time.Duration
}

// OpenLeads checks a configuration and makes a pool, which connects when it is used: a database that is down is no reason
// not to start. Close it. The error does not repeat the URL.
func OpenLeads(ctx context.Context, cfg LeadsConfig) (*Leads, error) {
	pool, err := database.Open(ctx, cfg.URL, database.Options{
		Name: "verity-sync", Settings: sessionSettings, ConnectTimeout: connectTimeout, PingTimeout: pingTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("read the URL of Verity's database: %w", err)
	}
	l := &Leads{pool: pool, timeout: cfg.Timeout}
	if l.timeout == 0 {
		l.timeout = destination.CallTimeout
	}
	return l, nil
}

// Check connects. An error that is database.ErrUnusable says that no lead can ever be written with this URL.
func (l *Leads) Check(ctx context.Context) error {
	_, err := l.pool.Check(ctx)
	return err
}

// Close ends the connections once the calls that use them are over.
func (l *Leads) Close() { l.pool.Close() }

// Stat returns the statistics of the pool.
func (l *Leads) Stat() *pgxpool.Stat { return l.pool.Stat() }

// MatchedBy says how a contact was found.
type MatchedBy string

// The ways in which a contact is found, in the order in which they are tried.
const (
	MatchedByPhone MatchedBy = "phone"
	MatchedByEmail MatchedBy = "email"
	// MatchedByEmailCase says that the addresses differ in case.
	MatchedByEmailCase MatchedBy = "email-ignoring-case"
)

// Contact is a row of Verity's contacts.
type Contact struct {
	// ID is its id as text, whatever its type is.
	ID        string
	MatchedBy MatchedBy
}

// The look-ups compare columns as they are, so that Verity's indexes serve. MATERIALIZED keeps the planner from walking
// the primary key in search of the lowest id instead. The id is ordered before it is made text, where 10 is below 9.
const (
	findByPhone      = `WITH found AS MATERIALIZED (SELECT id FROM contacts WHERE phone_e164 = $1)` + lowestID
	findByEmail      = `WITH found AS MATERIALIZED (SELECT id FROM contacts WHERE email = $1)` + lowestID
	findByLowerEmail = `WITH found AS MATERIALIZED (SELECT id FROM contacts WHERE lower(email) = $1)` + lowestID
	lowestID         = ` SELECT found.id::text FROM found ORDER BY found.id LIMIT 1`
)

// FindContact returns the contact with one of the phone numbers, in the order given, else with the e-mail address: as
// typed, in lower case, in any case. Of several with the same it is the one with the lowest id, so that it is always the
// same. Numbers are in E.164 form. The bool is false where there is none.
func (l *Leads) FindContact(ctx context.Context, phones []string, email string) (Contact, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	email = strings.TrimSpace(email)
	lower := strings.ToLower(email)

	type lookup struct {
		query, value string
		by           MatchedBy
	}
	var lookups []lookup
	for _, phone := range phones {
		lookups = append(lookups, lookup{findByPhone, phone, MatchedByPhone})
	}
	lookups = append(lookups, lookup{findByEmail, email, MatchedByEmail})
	if lower != email {
		lookups = append(lookups, lookup{findByEmail, lower, MatchedByEmail})
	}
	lookups = append(lookups, lookup{findByLowerEmail, lower, MatchedByEmailCase})

	for _, look := range lookups {
		if look.value == "" {
			continue
		}
		contact := Contact{MatchedBy: look.by}
		err := l.pool.QueryRow(ctx, look.query, look.value).Scan(&contact.ID)
		if err == nil {
			return contact, true, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return Contact{}, false, l.failure(err)
		}
	}
	return Contact{}, false, nil
}

// Outcome is what SyncLead did, in the words that users see.
type Outcome string

const (
	// LeadUpdated says that leads of the contact point at the desired appointment and were active now.
	LeadUpdated Outcome = "LeadUpdated"
	// LeadInserted says that the contact had no lead and got one.
	LeadInserted Outcome = "LeadInserted"
	// LeadCleared says that leads which pointed at an ended appointment point at none.
	LeadCleared Outcome = "LeadCleared"
	// LeadUnchanged says that the contact's leads stay as they are.
	LeadUnchanged Outcome = "LeadUnchanged"
)

// Scope says which leads of the contact SyncLead may change.
type Scope int

const (
	// AllLeads are also those that point at the appointment already: a reschedule is activity. A contact without a lead
	// gets one.
	AllLeads Scope = iota
	// OtherLeads are those that do not point at the appointment yet, for when nothing new has happened to it. A contact
	// without a lead gets one.
	OtherLeads
	// EndedLeads are those that point at an appointment that has ended. None is made.
	EndedLeads
)

// Desired is what a contact's leads follow from.
type Desired struct {
	// AppointmentID is the appointment that the leads are to point at; empty where the contact has no live one: then only
	// EndedLeads are changed, to point at none.
	AppointmentID string
	// Ended are the contact's appointments that have ended. A lead that points at another one than these and AppointmentID
	// is none of ours.
	Ended []string
	Scope Scope
	// Spare, where it is set, leaves leads alone that point at an appointment of which nothing is known.
	Spare *Spare
}

// Spare says which leads that point elsewhere stay as they are, in AllLeads and OtherLeads.
type Spare struct {
	// Known are the appointments whose leads do not stay.
	Known []string
	// BookedAt is when AppointmentID was booked, zero where that is not known. A lead that was last active before that points at an
	// appointment that was booked earlier, and does not stay.
	BookedAt time.Time
}

// Result says what SyncLead did, to how many leads, and how many it spared.
type Result struct {
	Outcome Outcome
	Leads   int64
	Spared  int64
}

// SyncLead makes the leads of a contact (a Contact.ID) follow from what desired returns. A lead that is changed was active
// now.
//
// All of it happens in one transaction in Verity that holds a lock on the contact. desired is called under that lock, so
// that of two events of one contact the later one sees what the earlier one knew, and no two of our writers insert a lead
// for the same contact. It reads verity-sync's own database, must not use l, and its error is returned as it is, wrapped:
// it says nothing about Verity.
func (l *Leads) SyncLead(ctx context.Context, contactID string, desired func(context.Context) (Desired, error)) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	var result Result
	var desiredErr error
	// Read committed, whatever the database's default is: under a higher level the snapshot is taken before the lock is
	// had, and a lead that the previous holder inserted stays unseen.
	err := l.pool.InTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, lockKey(contactID)); err != nil {
			return err
		}
		var want Desired
		if want, desiredErr = desired(ctx); desiredErr != nil {
			return desiredErr
		}
		var err error
		if want.AppointmentID != "" && want.Scope != EndedLeads {
			result, err = point(ctx, tx, contactID, want)
		} else {
			result, err = release(ctx, tx, contactID, want)
		}
		failpoint.Hit(failpoint.LeadWritten)
		return err
	})
	switch {
	case desiredErr != nil:
		return Result{}, fmt.Errorf("read what the lead follows from: %w", desiredErr)
	case err != nil:
		return Result{}, l.failure(err)
	}
	return result, nil
}

// lockKey is the advisory lock of a contact: the name keeps it apart from locks that Verity takes itself.
func lockKey(contactID string) int64 {
	sum := sha256.Sum256([]byte("verity-sync/lead/" + contactID))
	return int64(binary.BigEndian.Uint64(sum[:])) //nolint:gosec // any 64 bits are a key
}

// Statements name a parameter once, even where two would have the same value: Postgres infers a parameter's type from the
// column next to it, and refuses one that is text in one place and varchar in the other.
//
// Times are not NOW(), at which the transaction began: that is before it had the lock, and can be before what the writer ahead of it wrote.
const (
	pointLeads = `UPDATE leads SET ghl_appointment_id = $2, last_activity_at = clock_timestamp() WHERE contact_id = $1`
	// elsewhere leaves out the leads that point at the appointment already.
	elsewhere = ` AND ghl_appointment_id IS DISTINCT FROM $3`
	// notSpared are the leads that Spare does not protect.
	notSpared = ` AND (coalesce(ghl_appointment_id::text, '') = '' OR ghl_appointment_id::text = ANY ($%d::text[])
		OR last_activity_at::timestamptz < $%d::timestamptz)`
	countElsewhere = `SELECT count(*) FROM leads WHERE contact_id = $1 AND ghl_appointment_id::text <> $2`
	// insertLead gives way to a lead that Verity inserted since, be it that a unique index says so or that it is seen.
	insertLead = `
		INSERT INTO leads (contact_id, ghl_appointment_id, created_at, last_activity_at)
		SELECT $1, $2, statement_timestamp(), statement_timestamp() WHERE NOT EXISTS (SELECT FROM leads WHERE contact_id = $3)
		ON CONFLICT DO NOTHING`
	releaseLeads = `
		UPDATE leads SET ghl_appointment_id = $2, last_activity_at = clock_timestamp()
		WHERE contact_id = $1 AND ghl_appointment_id::text = ANY ($3::text[])`
)

// errNoLead says that a contact has no lead that could be written, and that none can be inserted.
var errNoLead = errors.New("the lead can be neither updated nor inserted: a unique index, a policy or a trigger forbids it")

// point has the leads of a contact point at an appointment.
func point(ctx context.Context, tx pgx.Tx, contactID string, want Desired) (Result, error) {
	result, err := pointOrInsert(ctx, tx, contactID, want)
	if err == nil && want.Spare != nil {
		err = tx.QueryRow(ctx, countElsewhere, contactID, want.AppointmentID).Scan(&result.Spared)
	}
	return result, err
}

func pointOrInsert(ctx context.Context, tx pgx.Tx, contactID string, want Desired) (Result, error) {
	statement, arguments := pointStatement(contactID, want)
	updated, err := tx.Exec(ctx, statement, arguments...)
	if err != nil || updated.RowsAffected() > 0 {
		return Result{Outcome: LeadUpdated, Leads: updated.RowsAffected()}, err
	}
	inserted, err := tx.Exec(ctx, insertLead, contactID, want.AppointmentID, contactID)
	if err != nil || inserted.RowsAffected() > 0 {
		return Result{Outcome: LeadInserted, Leads: inserted.RowsAffected()}, err
	}
	// There is a lead after all: one that Verity inserted since, or of those that are to be left alone.
	updated, err = tx.Exec(ctx, statement, arguments...)
	switch {
	case err != nil || updated.RowsAffected() > 0:
		return Result{Outcome: LeadUpdated, Leads: updated.RowsAffected()}, err
	case want.Scope == OtherLeads || want.Spare != nil:
		return Result{Outcome: LeadUnchanged}, nil
	default:
		return Result{}, errNoLead
	}
}

// pointStatement returns the statement that has leads point at an appointment, and its arguments.
func pointStatement(contactID string, want Desired) (statement string, arguments []any) {
	statement, arguments = pointLeads, []any{contactID, want.AppointmentID}
	if want.Scope == OtherLeads {
		statement += elsewhere
		arguments = append(arguments, want.AppointmentID)
	}
	if want.Spare != nil {
		statement += fmt.Sprintf(notSpared, len(arguments)+1, len(arguments)+2)
		arguments = append(arguments, append([]string{want.AppointmentID}, want.Spare.Known...), want.Spare.BookedAt)
	}
	return statement, arguments
}

// release has the leads of a contact that point at an ended appointment point at the live one, or at none.
func release(ctx context.Context, tx pgx.Tx, contactID string, want Desired) (Result, error) {
	if len(want.Ended) == 0 {
		return Result{Outcome: LeadUnchanged}, nil
	}
	outcome, live := LeadCleared, (*string)(nil)
	if want.AppointmentID != "" {
		outcome, live = LeadUpdated, &want.AppointmentID
	}
	released, err := tx.Exec(ctx, releaseLeads, contactID, live, want.Ended)
	if err != nil || released.RowsAffected() == 0 {
		return Result{Outcome: LeadUnchanged}, err
	}
	return Result{Outcome: outcome, Leads: released.RowsAffected()}, nil
}
