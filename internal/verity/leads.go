package verity

import (
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
	// described is what table returned last; nil where it must be read again.
	described atomic.Pointer[table]
	// suspect is true after a write failed for a reason that other writes share. FindContact finds out whether it still holds: where it
	// succeeded meanwhile, the breaker would never open.
	suspect atomic.Bool
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
// same. Numbers are in E.164 form. The bool is false where there is none, and row security hides none.
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
	if err := unhidden(ctx, l.pool, contactsTable); err != nil {
		return Contact{}, false, l.failure(err)
	}
	return Contact{}, false, nil
}

// Outcome is what SyncLead did.
type Outcome string

const (
	// LeadUpdated says that leads of the contact point at the desired appointment and were active now.
	LeadUpdated Outcome = "updated"
	// LeadInserted says that the contact had no lead and got one.
	LeadInserted Outcome = "inserted"
	// LeadCleared says that leads which pointed at an ended appointment point at none.
	LeadCleared Outcome = "cleared"
	// LeadUnchanged says that the contact's leads stay as they are.
	LeadUnchanged Outcome = "unchanged"
	// LeadNotInsertable says that the contact has no lead, and that the table takes none from verity-sync.
	LeadNotInsertable Outcome = "not insertable"
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
	// Left is how many further leads of the contact stay as they are since Constraint, a unique index, allows only one of them to point at
	// the appointment.
	Left       int64
	Constraint string
	// Because says why nothing was written although something was desired: the table's definition forbids it. It is empty otherwise.
	Because string
}

// maxTries bounds the transactions of one SyncLead: one for each thing that it can learn about the table from a failure.
const maxTries = 4

// SyncLead makes the leads of a contact (a Contact.ID) follow from what desired returns. A lead that is changed was active
// now.
//
// All of it happens in one transaction in Verity that holds a lock on the contact. desired is called under that lock, so
// that of two events of one contact the later one sees what the earlier one knew, and no two of our writers insert a lead
// for the same contact. It reads verity-sync's own database, must not use l, and its error is returned as it is, wrapped:
// it says nothing about Verity. Where the table's definition refuses what was tried, a second transaction tries what is left.
func (l *Leads) SyncLead(ctx context.Context, contactID string, desired func(context.Context) (Desired, error)) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	t, err := l.table(ctx)
	if err != nil {
		return Result{}, l.failure(err)
	}
	w := writer{table: t, contactID: contactID}
	for range maxTries {
		result, desiredErr, err := l.syncOnce(ctx, w, desired)
		if desiredErr != nil {
			return Result{}, fmt.Errorf("read what the lead follows from: %w", desiredErr)
		}
		if err == nil {
			return result, nil
		}
		before := w.table
		if w.learn(err) {
			l.described.CompareAndSwap(before, w.table)
			continue
		}
		if refused, ok := errors.AsType[*refusal](err); ok {
			return refused.result, nil
		}
		return Result{}, l.failure(err)
	}
	return Result{}, l.failure(errNoLead)
}

// syncOnce makes one attempt at what SyncLead does, in one transaction.
func (l *Leads) syncOnce(
	ctx context.Context, w writer, desired func(context.Context) (Desired, error),
) (result Result, desiredErr, err error) {
	// Read committed, whatever the database's default is: under a higher level the snapshot is taken before the lock is
	// had, and a lead that the previous holder inserted stays unseen.
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
			result, err = w.release(ctx, tx)
		}
		failpoint.Hit(failpoint.LeadWritten)
		return err
	})
	return result, desiredErr, err
}

// lockKey is the advisory lock of a contact: the name keeps it apart from locks that Verity takes itself.
func lockKey(contactID string) int64 {
	sum := sha256.Sum256([]byte("verity-sync/lead/" + contactID))
	return int64(binary.BigEndian.Uint64(sum[:])) //nolint:gosec // any 64 bits are a key
}
