package verity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
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
	// connectTimeout is shorter than a call, so that an unreachable server and a slow one cause different errors.
	connectTimeout = 4 * time.Second
	// pingTimeout is how long an idle connection may take to answer before it is replaced.
	pingTimeout = 2 * time.Second
)

// sessionSettings bound the load on Verity's database, even if a process freezes with an open transaction. The statement and lock timeouts
// are shorter than destination.CallTimeout, so that the server reports a slow statement before the call times out without a reason. A
// transaction is idle while verity-sync reads its own database, so that timeout is longer. The URL overrides them.
var sessionSettings = map[string]string{
	"statement_timeout":                   "8s",
	"lock_timeout":                        "5s",
	"idle_in_transaction_session_timeout": "15s",
	// A column without time zone has UTC, regardless of the time zone of the database.
	"timezone": "UTC",
}

// LeadsConfig has the configuration of Leads.
type LeadsConfig struct {
	// URL is the URL of Verity's database. It may include settings of the session and of the pool (pool_max_conns).
	URL string
	// Timeout bounds a call, including the wait for a connection; 0 is destination.CallTimeout.
	Timeout time.Duration
}

// Leads reads contacts and writes leads in Verity's database. Verity owns the schema: ids may have any type, tables may have more columns,
// and no column is assumed to be unique. It is safe for concurrent use, by several processes too.
//
// Its errors are of type *destination.Error. Their messages contain no personal data.
type Leads struct {
	pool    *database.Pool
	timeout time.Duration
	// definition is the last result of table, nil if it must be read again.
	definition atomic.Pointer[table]
	// suspect is true after a write failed for a reason that affects all writes. FindContact then checks first whether leads can be
	// written: if the lookup succeeded, the breaker would never open.
	suspect atomic.Bool
}

// OpenLeads checks a configuration and returns Leads with a pool, which connects on first use: the process starts even if the database is
// down. Close it. The error does not repeat the URL.
func OpenLeads(ctx context.Context, cfg LeadsConfig) (*Leads, error) {
	pool, err := database.Open(ctx, cfg.URL, database.Options{
		Name: "verity-sync", Settings: sessionSettings, ConnectTimeout: connectTimeout, PingTimeout: pingTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("read the URL of Verity's database: %w", err)
	}
	return &Leads{pool: pool, timeout: cmp.Or(cfg.Timeout, destination.CallTimeout)}, nil
}

// Check connects. An error that wraps database.ErrUnusable means that no lead can be written with this URL.
func (l *Leads) Check(ctx context.Context) error {
	_, err := l.pool.Check(ctx)
	return err
}

// Close closes the connections after the calls in flight.
func (l *Leads) Close() { l.pool.Close() }

// Stat returns the statistics of the pool.
func (l *Leads) Stat() *pgxpool.Stat { return l.pool.Stat() }

// MatchedBy says how a contact was found.
type MatchedBy string

// The ways in which a contact can be found, in the order of the lookups.
const (
	MatchedByPhone MatchedBy = "phone"
	MatchedByEmail MatchedBy = "email"
	// MatchedByEmailCase: the addresses differ in case.
	MatchedByEmailCase MatchedBy = "email-ignoring-case"
)

// Contact is a row of Verity's contacts.
type Contact struct {
	// ID is its id as text, regardless of the column's type.
	ID        string
	MatchedBy MatchedBy
}

// The lookups compare columns without a cast, so that Postgres uses Verity's indexes. MATERIALIZED prevents the planner from scanning the
// primary key for the lowest id instead. The order is that of the id's own type: as text, 10 is below 9.
const (
	findByPhone      = `WITH found AS MATERIALIZED (SELECT id FROM contacts WHERE phone_e164 = $1)` + lowestID
	findByEmail      = `WITH found AS MATERIALIZED (SELECT id FROM contacts WHERE email = $1)` + lowestID
	findByLowerEmail = `WITH found AS MATERIALIZED (SELECT id FROM contacts WHERE lower(email) = $1)` + lowestID
	lowestID         = ` SELECT found.id::text FROM found ORDER BY found.id LIMIT 1`
)

// FindContact returns the contact with one of the phone numbers, in the order given, or else with the e-mail address: as typed, then in
// lower case, then in any case. Of several matches it returns the one with the lowest id, so that the result is stable. Phone numbers are
// in E.164 form. The bool is false if there is no such contact. If row security may hide it, FindContact returns an error.
func (l *Leads) FindContact(ctx context.Context, phones []string, email string) (Contact, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	if l.suspect.Load() {
		if _, err := l.table(ctx); err != nil {
			return Contact{}, false, l.failure(err)
		}
	}
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
	if err := checkVisible(ctx, l.pool, contactsTable); err != nil {
		return Contact{}, false, l.failure(err)
	}
	return Contact{}, false, nil
}

// Outcome is what SyncLead did.
type Outcome string

const (
	// LeadUpdated: leads of the contact now point at the desired appointment, and their last activity is now.
	LeadUpdated Outcome = "updated"
	// LeadInserted: the contact had no lead and got one.
	LeadInserted Outcome = "inserted"
	// LeadCleared: leads that pointed at an ended appointment now point at none.
	LeadCleared Outcome = "cleared"
	// LeadUnchanged: the contact's leads did not change.
	LeadUnchanged Outcome = "unchanged"
	// LeadNotInsertable: the contact has no lead, and verity-sync cannot insert one into the table.
	LeadNotInsertable Outcome = "not insertable"
)

// Scope says which leads of the contact SyncLead may change.
type Scope int

const (
	// AllLeads are all leads of the contact, including those that point at the appointment already: a reschedule is activity. A contact
	// without a lead gets one.
	AllLeads Scope = iota
	// OtherLeads are those that do not point at the appointment yet. Use it if nothing new has happened to the appointment. A contact
	// without a lead gets one.
	OtherLeads
	// EndedLeads are those that point at an appointment that has ended. No lead is inserted.
	EndedLeads
)

// Desired determines the leads of a contact.
type Desired struct {
	// AppointmentID is the appointment at which the leads should point. It is empty if the contact has no live appointment: then only
	// EndedLeads change, and point at none.
	AppointmentID string
	// Ended are the contact's appointments that have ended. Only leads that point at one of them are cleared.
	Ended []string
	Scope Scope
	// Spare, if it is set, protects leads that point at an unknown appointment.
	Spare *Spare
}

// Spare says which leads that point at another appointment do not change in AllLeads and OtherLeads.
type Spare struct {
	// Known are the appointments whose leads are not protected.
	Known []string
	// BookedAt is when AppointmentID was booked, zero if that is unknown. A lead whose last activity is before that time points at an
	// appointment that was booked earlier, and is not protected.
	BookedAt time.Time
}

// Result says what SyncLead did, to how many leads, and how many leads Spare protected.
type Result struct {
	Outcome Outcome
	Leads   int64
	Spared  int64
	// Left is the number of further leads of the contact that did not change because Constraint, a unique index, allows only one of them
	// to point at the appointment.
	Left       int64
	Constraint string
	// Because says which part of the table's definition prevented a desired write. It is empty otherwise.
	Because string
}

// maxTries bounds the transactions of one SyncLead: one for each adaptation of the writer to the table.
const maxTries = 4

// SyncLead updates the leads of a contact (a Contact.ID) to what desired returns, and sets the last activity of each changed lead to now.
//
// It uses one transaction in Verity's database, which holds a lock on the contact. SyncLead calls desired under that lock: of two events of
// a contact, the later one sees the data of the earlier one, and no two writers of verity-sync insert a lead for the same contact. desired
// reads verity-sync's own database and must not use l. SyncLead wraps its error without classifying it, because it says nothing about
// Verity. If the table's definition refuses a statement, another transaction tries again without it.
func (l *Leads) SyncLead(ctx context.Context, contactID string, desired func(context.Context) (Desired, error)) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	t, err := l.table(ctx)
	if err != nil {
		return Result{}, l.failure(err)
	}
	w := leadWriter{table: t, contactID: contactID}
	for range maxTries {
		result, desiredErr, err := l.syncOnce(ctx, w, desired)
		if desiredErr != nil {
			return Result{}, fmt.Errorf("read what the lead follows from: %w", desiredErr)
		}
		if err == nil {
			return result, nil
		}
		before := w.table
		if w.adapt(err) {
			l.definition.CompareAndSwap(before, w.table)
			continue
		}
		if refused, ok := errors.AsType[*refusal](err); ok {
			return refused.result, nil
		}
		return Result{}, l.failure(err)
	}
	return Result{}, l.failure(errNoLead)
}

// syncOnce is one try of SyncLead, in one transaction.
func (l *Leads) syncOnce(
	ctx context.Context, w leadWriter, desired func(context.Context) (Desired, error),
) (result Result, desiredErr, err error) {
	// Read committed, regardless of the database's default: at a higher level the snapshot would be older than the lock, and would not
	// include a lead that the previous holder of the lock inserted.
	err = l.pool.InTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, lockKey(w.contactID)); err != nil {
			return err
		}
		if w.want, desiredErr = desired(ctx); desiredErr != nil {
			return desiredErr
		}
		var err error
		if w.want.AppointmentID != "" && w.want.Scope != EndedLeads {
			result, err = w.point(ctx, tx)
		} else {
			result, err = w.leaveEnded(ctx, tx)
		}
		failpoint.Hit(failpoint.LeadWritten)
		return err
	})
	return result, desiredErr, err
}

// lockKey is the key of a contact's advisory lock. The prefix distinguishes it from Verity's own locks.
func lockKey(contactID string) int64 {
	sum := sha256.Sum256([]byte("verity-sync/lead/" + contactID))
	return int64(binary.BigEndian.Uint64(sum[:])) //nolint:gosec // Any 64 bits are a key.
}
