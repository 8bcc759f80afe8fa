// Package erasure finds the data of one person in the middleware database and removes it. It decides row by row, in a pass over the tables,
// whether a row is the person's: bodies can name a person in any form, which no index can find.
//
// A row that names the contact is the person's. A row that names another contact is not. A row that names no contact is the person's if it
// contains the contact's id, is about a known entity of the contact, or has a phone number or an e-mail address that no other contact has,
// unless it also has one that may be another person's.
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

// Message is the error of an event that was erased before it was done.
const Message = "the data of the event was erased at a person's request; it does not run again"

// Person identifies the person of an erasure.
type Person struct {
	// ContactID is the contact's id at GoHighLevel; empty if only phone numbers and e-mail addresses are known.
	ContactID string
	// Phones are in E.164 form, Emails as phone.Emails returns them.
	Phones, Emails []string
	// Location limits the erasure to one location of GoHighLevel, and to rows without a location. Empty means every location.
	Location string
	// Region is the region of phone numbers without a country code.
	Region string
}

// Found is an event of the person.
type Found struct {
	ID uuid.UUID
	// Unfinished is true if it was pending or processing.
	Unfinished bool
	// round is the round in which it was found: 0 if it names the contact, else higher than that of the events that led to it.
	round int
	// strip is true if its ids or keys contain personal data.
	strip bool
	// key is the ordering key of its entity; empty if the entity may be about several people. appointment is the id of its appointment, if
	// the event names no contact.
	key, appointment string
}

// Left counts the rows that mention the person and are not erased.
type Left struct {
	// OtherContacts counts the events of other contacts that mention the person, by contact.
	OtherContacts map[string]int
	// Unclear are events without a contact that mention the person or are about an entity of the person, but may be another person's: see
	// search.claims.
	Unclear []uuid.UUID
	// OtherLocations counts events of other locations.
	OtherLocations int
	// OtherLog counts entries of the legacy middleware's log that mention the person and may be about other contacts.
	OtherLog int
}

// Plan is what an erasure removes.
type Plan struct {
	Person Person
	Events []Found
	// Ledger is the number of ledger entries of Events. Log are entries of the legacy middleware's log, which name no event.
	Ledger int64
	Log    []uuid.UUID
	// Mappings and Appointments count the rows of contact_mappings and appointments.
	Mappings, Appointments int
	// Phones and Emails are how many phone numbers and addresses were searched for.
	Phones, Emails int
	Left           Left

	// orphans are the appointments of Events without a contact, logIDs the ids that are removed from Log.
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

// SeveralError means that several contacts have the phone number or the e-mail address.
type SeveralError struct{ ContactIDs []string }

func (e *SeveralError) Error() string {
	shown := make([]string, len(e.ContactIDs))
	for i, id := range e.ContactIDs {
		shown[i] = Shown(id)
	}
	return fmt.Sprintf("%d contacts have these phone numbers and e-mail addresses: %s; erase one at a time with --contact",
		len(e.ContactIDs), strings.Join(shown, ", "))
}

// Shown returns an id for a terminal: quoted, unless it consists of letters, digits and separators. It hides an id that contains a phone
// number or an e-mail address.
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

// NoContactError means that a value is not the id of a contact.
type NoContactError struct{}

func (NoContactError) Error() string {
	return "nothing was erased: expected the id of one contact, got the id of a location, a word or a merge field"
}

// Find returns the data of a person. It changes nothing. It returns a SeveralError if several contacts match.
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
	for known := -1; known != len(s.marks); { // Phone numbers and addresses in the person's events can lead to more events.
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

// Outcome counts the erased rows.
type Outcome struct {
	// ID is the id of the erasure, which is the correlation id of its ledger entry.
	ID uuid.UUID `json:"id"`
	// Events counts the erased events, Ended those of them that were unfinished.
	Events int `json:"events"`
	Ended  int `json:"endedUnfinished"`
	// Ledger counts the entries of sync_log, including those of the legacy middleware.
	Ledger       int64 `json:"ledger"`
	Mappings     int64 `json:"contactMappings"`
	Appointments int64 `json:"appointments"`
}

// Erase erases what Find has found, with one transaction for each event. The next erasure completes one that was interrupted: rows that
// lead to others are erased after them. Events lead to the log, to appointments and to each other; the contact mapping leads to all.
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
