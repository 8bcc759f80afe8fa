package ghl

import (
	"slices"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Normalise returns what a body is about, by the tables of rules.go. It cannot fail: the event lacks what no rule finds, and the body is
// stored anyway. A time of occurrence later than receivedAt becomes receivedAt. The dedupe key is valid for signed bodies only: see
// Verifier.Admit.
func Normalise(b Body, receivedAt time.Time) event.Event {
	e, _ := read(&b, receivedAt)
	return e
}

// read decides the fields in the order of fields.
func read(b *Body, receivedAt time.Time) (event.Event, *reading) {
	r := &reading{Body: b, receivedAt: receivedAt.UTC()}
	r.name = decide(r, 0, typeRules)
	e := event.Event{Source: event.SourceGHL, Type: r.name.typ, EntityType: r.name.entity, Truncated: b.truncated()}
	if e.Type == event.TypeUnparseable {
		e.Type = event.TypeUnknown // The name is for bodies that cannot be parsed.
	}
	r.contactID = decide(r, 1, contactIDRules)
	e.ContactID = r.contactID
	switch r.name.entity {
	case event.EntityUnknown:
	case event.EntityContact:
		e.EntityID = e.ContactID
		r.decided[2] = r.decided[1]
	case event.EntityAppointment:
		e.EntityID = decide(r, 2, appointmentIDRules)
		e.AppointmentStatus = decide(r, 3, statusRules)
	default:
		e.EntityID = decide(r, 2, otherIDRules)
	}
	e.LocationID = decide(r, 4, locationIDRules)
	if e.OccurredAt = decide(r, 5, occurredAtRules); e.OccurredAt.After(r.receivedAt) {
		e.OccurredAt = r.receivedAt
	}
	if id := decide(r, 6, dedupeRules); id != "" {
		e.DedupeKey = event.SourceGHL + ":" + id
	}
	e.OrderingKey = event.OrderingKeyOf(e.EntityType, e.EntityID)
	return e, r
}

// locationIDs are all locations in GoHighLevel's own members at the root. There is one, unless the sender puts the id of one location on
// the event of another.
func (b Body) locationIDs() []string {
	var ids []string
	for _, id := range [...]string{
		b.root.id("locationId"), b.root.location.id("id"), b.root.altID(), b.root.snapshot.id("locationId"),
	} {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// truncated reports whether the sender flags the body as cut. A flag of an unexpected kind counts, too: reading the entity again costs a
// call, while half an entity costs data.
func (b Body) truncated() bool {
	switch value := b.root.get("payloadTooLarge"); {
	case value == nil:
		return false
	case value[0] == '"':
		s := strings.TrimSpace(unquote(value))
		return s != "" && s != "0" && !strings.EqualFold(s, "false")
	default:
		return !slices.Contains([]string{"false", "null", "0"}, string(value))
	}
}
