package erasure

import (
	"cmp"
	"context"
	"slices"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/phone"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// openEvent is an event that names no contact and may be the person's.
type openEvent struct {
	found Found
	// key is the ordering key of its entity; empty if the entity may be about several people.
	key string
	// named is true if the event contains the contact's id, mentioned if it contains that id, a phone number or an address of the person.
	named, mentioned bool
	// booked is true if the event is about a known appointment of the contact.
	booked bool
	// marks are the person's phone numbers and addresses in the body; others is true if the body has any that are not the person's.
	marks  []*mark
	others bool
}

func (s *search) lookAtOpen(e store.EventData, c content, o openEvent) {
	o.booked = e.EntityType == event.EntityAppointment && s.appointments[e.EntityID]
	if ofOnePerson[e.EntityType] {
		o.key = e.OrderingKey
	}
	if !o.mentioned && o.key == "" {
		return
	}
	o.found, o.marks, o.others = s.found(e, false), s.markedIn(c.body), s.hasOthers(c)
	if o.others && o.key != "" {
		s.contested[o.key] = true
	}
	s.open = append(s.open, o)
}

// hasOthers reports whether a body has a phone number or an address that is not known to be the person's. Those of the location, of users
// and of calendars do not count.
func (s *search) hasOthers(c content) bool {
	var finders []*phone.Finder
	var addresses []string
	for _, m := range s.marks {
		if m.phone != nil {
			finders = append(finders, m.phone)
		} else {
			addresses = append(addresses, m.email)
		}
	}
	return slices.ContainsFunc(slices.Concat(c.body, c.form), func(text string) bool {
		return phone.OthersIn(text, s.person.Region, finders) || phone.OtherEmailsIn(text, addresses)
	})
}

// claims reports whether an event without a contact is the person's. In doubt, it is not: if its body has another phone number or address,
// or if its entity belongs to another contact. It is the person's if it has the contact's id, if it is about an entity of the person, or if
// it has a phone number or an address that no other contact has.
func (s *search) claims(o openEvent) bool {
	if o.others || o.key != "" && s.foreign[o.key] {
		return false
	}
	return o.named && s.known || o.booked && !s.contested[o.key] || o.key != "" && s.keys[o.key] ||
		slices.ContainsFunc(o.marks, func(m *mark) bool { return !m.shared })
}

// claim decides which events without a contact are the person's. If one is, the others of its entity are, too.
func (s *search) claim(p *Plan) {
	open := s.open
	for round := 1; ; round++ {
		var rest []openEvent
		for _, o := range open {
			if !s.claims(o) {
				rest = append(rest, o)
				continue
			}
			o.found.round = round
			p.Events = append(p.Events, o.found)
			if o.found.appointment != "" && !s.contested[o.key] && !slices.Contains(p.orphans, o.found.appointment) {
				p.orphans = append(p.orphans, o.found.appointment)
			}
		}
		if len(rest) == len(open) {
			break
		}
		open = rest
		for _, f := range p.Events {
			if f.key != "" && !s.contested[f.key] {
				s.keys[f.key] = true
			}
		}
	}
	for _, o := range open {
		if o.mentioned || o.booked || o.key != "" && s.keys[o.key] {
			p.Left.Unclear = append(p.Left.Unclear, o.found.ID)
		}
	}
	p.Events = append(p.Events, s.events...)
	slices.SortStableFunc(p.Events, func(a, b Found) int { return cmp.Compare(b.round, a.round) })
}

// plan returns what is erased: events, and the related rows of other tables.
func (s *search) plan(ctx context.Context) (*Plan, error) {
	if err := s.share(ctx); err != nil {
		return nil, err
	}
	p := &Plan{Person: s.person, Left: s.left}
	s.claim(p)
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
