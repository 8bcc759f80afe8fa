package erasure

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/phone"
	"github.com/dfmiddleware/verity-sync/internal/source"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// shortestID is the minimum length of an id that is searched for in texts. A shorter one could be any word or number.
const shortestID = 8

// mark is a phone number or an e-mail address of the person.
type mark struct {
	email string
	phone *phone.Finder
	// shared is true if another contact has it, too.
	shared bool
}

func (m *mark) in(texts []string) bool {
	return slices.ContainsFunc(texts, func(text string) bool {
		if m.phone != nil {
			return m.phone.In(text)
		}
		return phone.EmailIn(text, m.email)
	})
}

// within reports whether an id or a key contains it in any form.
func (m *mark) within(text string) bool {
	if m.phone != nil {
		return m.phone.Within(text)
	}
	const unmistakable = 10
	letters := bare(m.email)
	return len(letters) >= unmistakable && strings.Contains(bare(phone.Folded(text)), letters) || phone.EmailIn(text, m.email)
}

// search is a search for one person.
type search struct {
	db     *store.Store
	person Person
	// marks are keyed by the phone number or the address.
	marks map[string]*mark
	// appointments are the known appointments of the contact, aloware its ids at Aloware.
	appointments map[string]bool
	aloware      []string
	mapped       bool
	// known is true if an event, a mapping or an appointment uses the contact's id for a contact, isLocation if one uses it for a
	// location.
	known, isLocation bool
	// foreignIDs are the ids of other contacts, here and at Aloware.
	foreignIDs map[string]bool
	// result is the result of the last pass.
	result
}

// result is the result of a pass over the events.
type result struct {
	events []Found
	// keys are the entities of the person's events, foreign those of other contacts' events, and contested those of events with a phone
	// number or an address that is not the person's.
	keys, foreign, contested map[string]bool
	// open are the events without a contact. They are decided at the end of the pass.
	open []openEvent
	left Left
}

func newSearch(db *store.Store, person Person) *search {
	s := &search{db: db, person: person, marks: map[string]*mark{}, appointments: map[string]bool{}, foreignIDs: map[string]bool{}}
	for _, number := range person.Phones {
		s.addPhone(number)
	}
	for _, address := range person.Emails {
		s.addEmail(address)
	}
	return s
}

func (s *search) addPhone(typed string) {
	for _, number := range phone.Numbers(typed, s.person.Region) {
		if s.marks[number] == nil {
			s.marks[number] = &mark{phone: phone.NewFinder(number)}
		}
	}
}

func (s *search) addEmail(typed string) {
	for _, address := range phone.Emails(typed) {
		if s.marks[address] == nil {
			s.marks[address] = &mark{email: address}
		}
	}
}

// resolve finds the contact that has the given phone numbers and addresses. There may be none.
func (s *search) resolve(ctx context.Context) error {
	contacts := map[string]bool{}
	err := s.db.ScanMappings(ctx, func(m store.Mapping) {
		if s.elsewhere(m.LocationID) {
			return
		}
		for _, mark := range s.marks {
			if mark.in([]string{m.Phone, m.AlowarePhone, m.Email}) {
				contacts[m.GHLContactID] = true
			}
		}
	})
	if err != nil {
		return err
	}
	err = s.db.ScanEvents(ctx, func(e store.EventData) error {
		owner, _ := s.owners(e, contentOf(e))
		if owner == "" || contacts[owner] || s.elsewhere(e.LocationID) {
			return nil
		}
		reach := reachOf(e)
		for _, mark := range s.marks {
			if mark.in(reach.Phones) || mark.in(reach.Emails) {
				contacts[owner] = true
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch ids := slices.Sorted(maps.Keys(contacts)); len(ids) {
	case 0:
	case 1:
		s.person.ContactID = ids[0]
	default:
		return &SeveralError{ids}
	}
	return nil
}

// know reads the stored data of the contact.
func (s *search) know(ctx context.Context) error {
	if s.person.ContactID == "" {
		return nil
	}
	err := s.db.ScanMappings(ctx, func(m store.Mapping) {
		s.isLocation = s.isLocation || m.LocationID == s.person.ContactID
		if m.GHLContactID != s.person.ContactID {
			for _, id := range append(m.FormerAlowareContactIDs, m.GHLContactID, m.AlowareContactID) {
				s.foreignIDs[id] = true
			}
			return
		}
		s.known = true
		if s.elsewhere(m.LocationID) {
			return
		}
		s.mapped = true
		s.addPhone(m.Phone)
		s.addPhone(m.AlowarePhone)
		s.addEmail(m.Email)
		s.aloware = append(s.aloware, m.FormerAlowareContactIDs...)
		if m.AlowareContactID != "" {
			s.aloware = append(s.aloware, m.AlowareContactID)
		}
	})
	if err != nil {
		return err
	}
	s.aloware = slices.DeleteFunc(s.aloware, func(id string) bool { return s.foreignIDs[id] })
	ids, err := s.db.AppointmentsOfGHLContact(ctx, s.person.ContactID, s.person.Location)
	for _, id := range ids {
		s.appointments[id], s.known = true, true
	}
	return err
}

// share marks the phone numbers and addresses that other contacts have, too.
func (s *search) share(ctx context.Context) error {
	return s.db.ScanMappings(ctx, func(m store.Mapping) {
		if m.GHLContactID == s.person.ContactID {
			return
		}
		for _, mark := range s.marks {
			mark.shared = mark.shared || mark.in([]string{m.Phone, m.AlowarePhone, m.Email})
		}
	})
}

// shareWith marks the phone numbers and addresses of another contact, as its event has them. A number in a note is not that contact's.
func (s *search) shareWith(e store.EventData) {
	reach := reachOf(e)
	for _, m := range s.marks {
		m.shared = m.shared || m.in(reach.Phones) || m.in(reach.Emails)
	}
}

// elsewhere reports whether a row belongs to another location than that of the erasure.
func (s *search) elsewhere(location string) bool {
	return s.person.Location != "" && location != "" && location != s.person.Location
}

// owners returns the contact that an event names, and another one that it names; each is empty if there is none. The contact of the row
// precedes those of the body, and the person precedes other contacts.
func (s *search) owners(e store.EventData, c content) (owner, other string) {
	var ids []string
	if e.EntityType == event.EntityContact {
		ids = appendID(ids, e.EntityID)
	}
	for _, id := range slices.Concat([]string{e.ContactID}, c.owners) {
		ids = appendID(ids, id)
	}
	if body, err := source.Of(e.Source).Normalise(e.Payload, time.Time{}); err == nil && len(ids) == 0 {
		ids = appendID(ids, body.ContactID)
	}
	// A phone number in place of an id means no more than one elsewhere.
	ids = slices.DeleteFunc(ids, s.isMark)
	if len(ids) > 0 {
		owner = ids[0]
	}
	if slices.Contains(ids, s.person.ContactID) {
		owner = s.person.ContactID
	}
	for _, id := range append(ids, c.related...) {
		if id != owner && id != s.person.ContactID && !s.isMark(id) {
			return owner, id
		}
	}
	return owner, ""
}

func (s *search) isMark(id string) bool { return len(s.markedIn([]string{id})) > 0 }

// reachOf returns the phone numbers and addresses of the contact in an event's body.
func reachOf(e store.EventData) event.Reach {
	content, err := source.Of(e.Source).Content(e.Payload, event.Event{EntityType: e.EntityType}, time.Time{})
	if err != nil {
		return event.Reach{}
	}
	return content.Reach
}

// pass examines every event.
func (s *search) pass(ctx context.Context) error {
	s.result = result{
		keys: map[string]bool{}, foreign: map[string]bool{}, contested: map[string]bool{}, left: Left{OtherContacts: map[string]int{}},
	}
	return s.db.ScanEvents(ctx, func(e store.EventData) error {
		s.look(e)
		return nil
	})
}

// look classifies an event: it is the person's, another contact's, or names no contact.
func (s *search) look(e store.EventData) {
	c := contentOf(e)
	owner, other := s.owners(e, c)
	mine := owner != "" && owner == s.person.ContactID
	mentioned := s.markedIn(c.texts)
	named := mine || len(s.person.ContactID) >= shortestID && slices.ContainsFunc(c.texts, func(text string) bool {
		return wordIn(text, s.person.ContactID)
	})
	s.known = s.known || mine
	s.isLocation = s.isLocation || e.LocationID != "" && e.LocationID == s.person.ContactID
	foreign := cmp.Or(other, owner)
	if !mine && owner != "" {
		foreign = owner
	}
	if foreign != "" && foreign != s.person.ContactID {
		s.foreign[e.OrderingKey], s.foreignIDs[foreign] = true, true
		if !mine && len(mentioned) > 0 {
			s.shareWith(e)
		}
	}
	switch {
	case s.elsewhere(e.LocationID):
		if named || len(mentioned) > 0 {
			s.left.OtherLocations++
		}
	case foreign != "" && foreign != s.person.ContactID:
		if named || len(mentioned) > 0 {
			s.left.OtherContacts[foreign]++
		}
	case mine:
		s.learn(e)
		s.keys[e.OrderingKey] = true
		s.events = append(s.events, s.found(e, true))
	default:
		s.lookAtOpen(e, c, openEvent{named: named, mentioned: named || len(mentioned) > 0})
	}
}

// ofOnePerson are the entity types whose entities belong to one contact. An event without a contact belongs to the same contact as the
// other events of its entity.
var ofOnePerson = map[string]bool{
	event.EntityAppointment: true, event.EntityOpportunity: true, "note": true, "task": true, "message": true, "conversation": true,
	"order": true, "invoice": true,
}

func (s *search) markedIn(texts []string) []*mark {
	var found []*mark
	for _, m := range s.marks {
		if m.in(texts) {
			found = append(found, m)
		}
	}
	return found
}

// learn adds the phone numbers and addresses in an event of the person.
func (s *search) learn(e store.EventData) {
	if bytes.Equal(e.Payload, []byte("{}")) {
		return
	}
	reach := reachOf(e)
	for _, typed := range reach.Phones {
		s.addPhone(typed)
	}
	for _, typed := range reach.Emails {
		s.addEmail(typed)
	}
}

func (s *search) found(e store.EventData, named bool) Found {
	f := Found{ID: e.ID, Unfinished: !e.Status.Finished()}
	if ofOnePerson[e.EntityType] {
		f.key = e.OrderingKey
	}
	if e.EntityType == event.EntityAppointment && !named {
		f.appointment = e.EntityID
	}
	for _, m := range s.marks {
		for _, kept := range []string{
			e.EntityID, e.LocationID, e.Type, e.EntityType, e.AppointmentStatus, e.OrderingKey, e.DedupeKey, e.ReplayRequest,
		} {
			f.strip = f.strip || m.within(kept)
		}
	}
	return f
}
