// Package erasure finds the data of one person in the middleware database and removes it. Which rows are the person's is decided here, row
// by row, in a pass over the tables: bodies can name a person in any shape, and no index answers that.
//
// A row is the person's where it names the contact. A row that names no contact is, where it has the contact's id, is about something that
// is known to be the contact's, or has a phone number or an e-mail address that is nobody else's, and none that could be. A row of another
// contact never is.
package erasure

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/phone"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Message is what an event says that was erased before it was done.
const Message = "the data of the event was erased at a person's request; it does not run again"

// Person says whom an erasure is about.
type Person struct {
	// ContactID is the contact's id at GoHighLevel, "" where only phone numbers and e-mail addresses are known.
	ContactID string
	// Phones are in E.164 form, Emails as phone.Emails returns them.
	Phones, Emails []string
	// Location limits the erasure to one location of GoHighLevel; what names none is part of it. "" stands for every location.
	Location string
	// Region is that of phone numbers without a country code.
	Region string
}

// Found is an event of the person.
type Found struct {
	ID uuid.UUID
	// Name is that of its WebhookEvent, which may be gone.
	Name string
	// Unfinished is true where it was pending or processing.
	Unfinished bool
	// round is when it was found to be the person's: 0 where it names the contact, later by what was found before.
	round int
	// strip is true where its ids or keys hold personal data.
	strip bool
	// key is the entity that it is about, "" where that may be about several people, appointment the appointment of one without a contact.
	key, appointment string
}

// Left counts what mentions the person and was not touched.
type Left struct {
	// OtherContacts counts the events of other contacts that mention the person, by the id of the contact.
	OtherContacts map[string]int
	// Unclear are events that name no contact and mention the person, or are about an appointment or the like of the person, and may be
	// another's: see search.claims.
	Unclear []uuid.UUID
	// OtherLocations counts events of other locations.
	OtherLocations int
	// OtherLog counts entries of the legacy middleware's log that mention the person and are about other contacts, or may be.
	OtherLog int
}

// Plan is what an erasure removes.
type Plan struct {
	Person Person
	Events []Found
	// Ledger is how many entries the ledger has of Events. Log are entries of the legacy middleware's log, which name no event.
	Ledger int64
	Log    []uuid.UUID
	// Mappings and Appointments count the rows of contact_mappings and appointments.
	Mappings, Appointments int
	// Phones and Emails are how many of them were looked for.
	Phones, Emails int
	Left           Left

	// orphans are the appointments of Events that name no contact, logIDs the ids that are removed from Log.
	orphans, logIDs []string
}

// Empty reports whether nothing of the person was found.
func (p *Plan) Empty() bool {
	return len(p.Events) == 0 && len(p.Log) == 0 && p.Mappings == 0 && p.Appointments == 0
}

// Unfinished counts the events that are not finished.
func (p *Plan) Unfinished() int {
	n := 0
	for _, e := range p.Events {
		if e.Unfinished {
			n++
		}
	}
	return n
}

// SeveralError says that a phone number or an e-mail address is that of several contacts.
type SeveralError struct{ ContactIDs []string }

func (e *SeveralError) Error() string {
	shown := make([]string, len(e.ContactIDs))
	for i, id := range e.ContactIDs {
		shown[i] = Shown(id)
	}
	return fmt.Sprintf("these phone numbers and e-mail addresses are those of %d contacts: %s; erase one at a time with --contact",
		len(e.ContactIDs), strings.Join(shown, ", "))
}

// Shown returns an id as it may be printed at a terminal: quoted where it has anything but letters, digits and what stands between them.
// One with a phone number or an e-mail address in it is not shown.
func Shown(id string) string {
	switch {
	case strings.Contains(id, "@") || phone.OthersIn(id, "US", nil):
		return "(an id that is a phone number or an e-mail address)"
	case strings.IndexFunc(id, isNotOfID) >= 0:
		return strconv.QuoteToASCII(id)
	default:
		return id
	}
}

// NoContactError says that what was given as a contact's id is none.
type NoContactError struct{}

func (NoContactError) Error() string {
	return "nothing was erased: the id is a location's, or a word or a merge field in place of an id; give the id of one contact"
}

// Find returns what there is of a person. It changes nothing. It returns a SeveralError where the person is not one contact.
func Find(ctx context.Context, db *store.Store, person Person) (*Plan, error) {
	s := newSearch(db, person)
	if person.ContactID == "" {
		if err := s.resolve(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.know(ctx); err != nil {
		return nil, err
	}
	if IsNoID(person.ContactID) && person.ContactID != "" {
		return nil, NoContactError{}
	}
	for known := -1; known != len(s.marks); { // What the person's events say of the person is looked for in all others.
		known = len(s.marks)
		if err := s.pass(ctx); err != nil {
			return nil, err
		}
	}
	if s.isLocation {
		return nil, NoContactError{}
	}
	return s.plan(ctx)
}

// Outcome counts what was removed.
type Outcome struct {
	// ID is that of the erasure, under which the ledger has it.
	ID uuid.UUID `json:"id"`
	// Events counts the events whose data was erased, Ended those of them that were not finished.
	Events int `json:"events"`
	Ended  int `json:"endedUnfinished"`
	// Ledger counts the entries of sync_log, the legacy middleware's among them.
	Ledger       int64 `json:"ledger"`
	Mappings     int64 `json:"contactMappings"`
	Appointments int64 `json:"appointments"`
}

// Erase removes what Find has found, an event a transaction. What is needed to find the rest goes last, so that an erasure that was
// interrupted is completed by the next one: the log and appointments are found by events, these by each other, and all by what is kept of
// the contact.
func Erase(ctx context.Context, db *store.Store, p *Plan) (Outcome, error) {
	out, began := Outcome{ID: uuid.New()}, time.Now()
	err := erase(ctx, db, p, &out)
	status := store.LedgerSuccess
	if err != nil {
		status = store.LedgerError
	}
	const short = 10 * time.Second
	recording, cancel := context.WithTimeout(context.WithoutCancel(ctx), short)
	defer cancel()
	return out, errors.Join(err, db.RecordErasure(recording, out.ID, began, status, out), db.RequestAudit(recording))
}

func erase(ctx context.Context, db *store.Store, p *Plan, out *Outcome) error {
	contact := p.Person.ContactID
	for _, id := range p.Log {
		if err := db.EraseLogEntry(ctx, id, p.logIDs); err != nil {
			return err
		}
		out.Ledger++
	}
	var err error
	if out.Appointments, err = db.DeleteAppointments(ctx, "", p.Person.Location, p.orphans); err != nil {
		return err
	}
	for _, e := range p.Events {
		erased, err := db.EraseEvent(ctx, store.EventErasure{
			ID: e.ID, ContactID: contact, Strip: e.strip, Reason: v1alpha1.ErasedReason, Message: Message,
		})
		if errors.Is(err, store.ErrErased) {
			continue // Retention, or another erasure, was faster.
		}
		if err != nil {
			return err
		}
		out.Events++
		out.Ledger += erased.Ledger
		if !erased.Was.Finished() {
			out.Ended++
		}
	}
	owned, err := db.DeleteAppointments(ctx, contact, p.Person.Location, nil)
	out.Appointments += owned
	if err != nil {
		return err
	}
	if p.Mappings > 0 {
		out.Mappings, err = db.DeleteMapping(ctx, contact)
	}
	return err
}
