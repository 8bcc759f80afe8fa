package erasure

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/phone"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// shortestID is how long an id is at least that is looked for in texts. A shorter one could be any word or number.
const shortestID = 8

// mark is a phone number or an e-mail address of the person.
type mark struct {
	email string
	phone *phone.Finder
	// given is true where the operator says that it is the person's; shared where another contact has it too.
	given, shared bool
}

func (m *mark) in(texts []string) bool {
	return slices.ContainsFunc(texts, func(text string) bool {
		if m.phone != nil {
			return m.phone.In(text)
		}
		return strings.Contains(text, "@") && phone.EmailIn(text, m.email)
	})
}

// within reports whether an id or a key holds it, in whatever form.
func (m *mark) within(text string) bool {
	if m.phone != nil {
		return m.phone.Within(text)
	}
	const unmistakable = 10
	letters := bare(m.email)
	return len(letters) >= unmistakable && strings.Contains(bare(text), letters) || phone.EmailIn(text, m.email)
}

// search is a search for one person.
type search struct {
	db     *store.Store
	person Person
	// marks are by the phone number or the address.
	marks map[string]*mark
	// appointments are those known to be the contact's; aloware are the contact's ids at Aloware.
	appointments map[string]bool
	aloware      []string
	mapped       bool
	// result is that of the last pass.
	result
}

// result is what a pass over the events finds.
type result struct {
	events []Found
	// keys are the entities of the person's events, and whether no other contact has events of them.
	keys map[string]bool
	// open are the events that name no contact. Whose they are is decided at the end of the pass.
	open []openEvent
	left Left
}

// openEvent is an event that names no contact and may be the person's.
type openEvent struct {
	found Found
	// key is the entity that it is about, "" where that may be about several people.
	key string
	// certain is true where the contact's id is in it, or it is about the contact's appointment.
	certain bool
	marks   []*mark
	// others is true where it has a phone number or an address that is not known to be the person's.
	others bool
}

func newSearch(db *store.Store, person Person) *search {
	s := &search{db: db, person: person, marks: map[string]*mark{}, appointments: map[string]bool{}}
	for _, number := range person.Phones {
		s.addPhone(number, true)
	}
	for _, address := range person.Emails {
		s.addEmail(address, true)
	}
	return s
}

func (s *search) addPhone(typed string, given bool) {
	for _, number := range phone.Numbers(typed, s.person.Region) {
		if s.marks[number] == nil {
			s.marks[number] = &mark{phone: phone.NewFinder(number), given: given}
		}
	}
}

func (s *search) addEmail(typed string, given bool) {
	for _, address := range phone.Emails(typed) {
		if s.marks[address] == nil {
			s.marks[address] = &mark{email: address, given: given}
		}
	}
}

// resolve finds out which contact has the phone numbers and the addresses that are given. It may be none.
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
		owner := s.owner(e, contentOf(e))
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

// know reads what is kept of the contact.
func (s *search) know(ctx context.Context) error {
	if s.person.ContactID == "" {
		return nil
	}
	err := s.db.ScanMappings(ctx, func(m store.Mapping) {
		if m.GHLContactID != s.person.ContactID || s.elsewhere(m.LocationID) {
			return
		}
		s.mapped = true
		s.addPhone(m.Phone, false)
		s.addPhone(m.AlowarePhone, false)
		s.addEmail(m.Email, false)
		s.aloware = append(s.aloware, m.FormerAlowareContactIDs...)
		if m.AlowareContactID != "" {
			s.aloware = append(s.aloware, m.AlowareContactID)
		}
	})
	if err != nil {
		return err
	}
	ids, err := s.db.AppointmentsOfGHLContact(ctx, s.person.ContactID, s.person.Location)
	for _, id := range ids {
		s.appointments[id] = true
	}
	return err
}

// share finds out which phone numbers and addresses other contacts have too.
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

// shareWith marks what another contact's event says of how to reach that contact. A number in a note is not that contact's.
func (s *search) shareWith(e store.EventData) {
	reach := reachOf(e)
	for _, m := range s.marks {
		m.shared = m.shared || m.in(reach.Phones) || m.in(reach.Emails)
	}
}

// elsewhere reports whether a row is of another location than the erasure is limited to.
func (s *search) elsewhere(location string) bool {
	return s.person.Location != "" && location != "" && location != s.person.Location
}

// owner returns the contact that an event names, "" where it names none: that of the row, else that of the body. Of several contacts of a
// body the person counts.
func (s *search) owner(e store.EventData, c content) string {
	switch {
	case e.ContactID != "":
		return e.ContactID
	case e.EntityType == event.EntityContact && e.EntityID != "":
		return e.EntityID
	case len(c.owners) > 0 && !slices.Contains(c.owners, s.person.ContactID):
		return c.owners[0]
	case len(c.owners) > 0:
		return s.person.ContactID
	}
	body, err := ghl.Decode("application/json", e.Payload)
	if err != nil {
		return ""
	}
	return ghl.Normalise(body, time.Time{}).ContactID
}

// reachOf returns the phone numbers and addresses that an event's body says of its contact.
func reachOf(e store.EventData) ghl.Reach {
	body, err := ghl.Decode("application/json", e.Payload)
	if err != nil {
		return ghl.Reach{}
	}
	return ghl.ReachOf(body)
}

// pass looks at every event.
func (s *search) pass(ctx context.Context) error {
	s.result = result{keys: map[string]bool{}, left: Left{OtherContacts: map[string]int{}}}
	foreign := map[string]bool{}
	err := s.db.ScanEvents(ctx, func(e store.EventData) error {
		c := contentOf(e)
		owner := s.owner(e, c)
		mine := owner != "" && owner == s.person.ContactID
		mentioned := s.markedIn(c.texts)
		named := mine || len(s.person.ContactID) >= shortestID && slices.ContainsFunc(c.texts, func(text string) bool {
			return wordIn(text, s.person.ContactID)
		})
		switch {
		case s.elsewhere(e.LocationID):
			if named || len(mentioned) > 0 {
				s.left.OtherLocations++
			}
		case mine:
			s.learn(e)
			s.keys[e.OrderingKey] = true
			s.events = append(s.events, s.found(e, true))
		case owner != "":
			foreign[e.OrderingKey] = true
			if len(mentioned) > 0 {
				s.shareWith(e)
			}
			if named || len(mentioned) > 0 {
				s.left.OtherContacts[owner]++
			}
		default:
			o := openEvent{found: s.found(e, false), marks: mentioned}
			if o.certain = named || e.EntityType == event.EntityAppointment && s.appointments[e.EntityID]; ofOnePerson[e.EntityType] {
				o.key = e.OrderingKey
			}
			if o.certain || len(mentioned) > 0 || o.key != "" {
				o.others = s.hasOthers(reachOf(e))
				s.open = append(s.open, o)
			}
		}
		return nil
	})
	for key := range foreign {
		delete(s.keys, key)
	}
	return err
}

// ofOnePerson are the entities of which each one is about one contact, so that an event without a contact is about the same one as the
// others of its entity.
var ofOnePerson = map[string]bool{
	event.EntityAppointment: true, event.EntityOpportunity: true, "note": true, "task": true, "message": true, "conversation": true,
	"order": true, "invoice": true,
}

// hasOthers reports whether a body says a phone number or an address of its contact that is not known to be the person's.
func (s *search) hasOthers(reach ghl.Reach) bool {
	known := func(typed []string, usable func(string) bool) bool {
		return !slices.ContainsFunc(typed, func(text string) bool { return usable(text) && len(s.markedIn([]string{text})) == 0 })
	}
	return !known(reach.Phones, func(text string) bool { return phone.Unusable(text, s.person.Region) == "" }) ||
		!known(reach.Emails, func(text string) bool { _, ok := phone.Email(text); return ok })
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

// learn takes what an event of the person says of how to reach the person.
func (s *search) learn(e store.EventData) {
	if bytes.Equal(e.Payload, []byte("{}")) {
		return
	}
	reach := reachOf(e)
	for _, typed := range reach.Phones {
		s.addPhone(typed, false)
	}
	for _, typed := range reach.Emails {
		s.addEmail(typed, false)
	}
}

func (s *search) found(e store.EventData, named bool) Found {
	f := Found{ID: e.ID, Name: v1alpha1.NameOf(e.Source, e.ID.String()), Unfinished: !e.Status.Finished(), named: named}
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

// plan decides the events that name no contact, and looks for what there is beside events.
func (s *search) plan(ctx context.Context) (*Plan, error) {
	if err := s.share(ctx); err != nil {
		return nil, err
	}
	p := &Plan{Person: s.person, Left: s.left}
	for _, o := range s.open {
		claimed := o.certain || o.key != "" && s.keys[o.key] ||
			slices.ContainsFunc(o.marks, func(m *mark) bool { return m.given || !m.shared && !o.others })
		switch {
		case claimed:
			p.Events = append(p.Events, o.found)
			if o.found.appointment != "" && !slices.Contains(p.orphans, o.found.appointment) {
				p.orphans = append(p.orphans, o.found.appointment)
			}
		case len(o.marks) > 0:
			p.Left.Unclear = append(p.Left.Unclear, o.found.ID)
		}
	}
	p.Events = append(p.Events, s.events...)
	order(p.Events)
	for _, m := range s.marks {
		if m.phone != nil {
			p.Phones++
		} else {
			p.Emails++
		}
	}
	if s.mapped {
		p.Mappings = 1
	}
	n, err := s.db.CountUnownedAppointments(ctx, p.orphans)
	if err != nil {
		return nil, err
	}
	p.Appointments = len(s.appointments) + int(n)
	ids := make([]uuid.UUID, len(p.Events))
	for i, e := range p.Events {
		ids[i] = e.ID
	}
	if p.Ledger, err = s.db.CountLedger(ctx, ids); err != nil {
		return nil, err
	}
	return p, s.log(ctx, p)
}
