package ghl

import (
	"slices"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// opportunityMarks are the members that only an opportunity has at the root: in bodies of workflow triggers, in the API's
// form, and in both as people rebuild them. With one of them there, the root's id is the opportunity's. "pipleline_stage" is
// GHL's spelling. A reference to an opportunity ("opportunityId") is no mark: notes and tasks have it too.
var opportunityMarks = []string{
	"pipeline_id", "opportunity_name", "pipeline_name", "pipleline_stage", "pipeline_stage", "pipeline_stage_id",
	"pipelineId", "opportunityName", "pipelineName", "pipelineStage", "pipelineStageId",
	"monetary_value", "monetaryValue",
}

// namedByShape are the marks that show that a body without a type is an opportunity's.
var namedByShape = []string{
	"pipeline_id", "opportunity_name", "pipelineId", "opportunityName", "pipeline_stage_id", "pipelineStageId",
	"monetary_value", "monetaryValue",
}

// Normalise says what a body is about. It cannot fail: what cannot be read is left out of the event, and the body is
// stored all the same. A time of occurrence later than receivedAt becomes receivedAt. The dedupe key holds
// for signed bodies only: see Verifier.Admit.
func Normalise(b Body, receivedAt time.Time) event.Event {
	n := b.name()
	e := event.Event{
		Source:     event.SourceGHL,
		Type:       n.typ,
		EntityType: n.entity,
		LocationID: b.locationID(),
		OccurredAt: b.occurredAt(receivedAt.UTC()),
		Truncated:  b.truncated(),
	}
	if e.Type == event.TypeUnparseable {
		e.Type = event.TypeUnknown // The name is for bodies that cannot be read; this one has been.
	}
	if id := b.root.id("webhookId"); id != "" {
		e.DedupeKey = event.SourceGHL + ":" + id
	}
	customID := ""
	if classify(b.custom.word("type")).entity == n.entity {
		customID = b.custom.id("id")
	}
	e.ContactID = b.contactID(n.entity, customID)
	switch n.entity {
	case event.EntityUnknown:
	case event.EntityContact:
		e.EntityID = e.ContactID
	case event.EntityAppointment:
		e.EntityID = b.appointmentID(customID, e.ContactID)
		e.AppointmentStatus = b.appointmentStatus()
	default:
		e.EntityID = b.entityID(n.entity, customID)
	}
	e.OrderingKey = event.OrderingKeyOf(e.EntityType, e.EntityID)
	return e
}

// name finds out what kind of event it is. A type that is known comes first, wherever it stands. In a workflow body, a
// type or event at the root that is not known is a custom field of that label: it says nothing where the shape of the
// body does.
func (b Body) name() name {
	var own name
	for _, member := range [...]string{"type", "event"} {
		n := classify(b.root.word(member))
		if n.known && (n.typ != "" || !b.workflow) {
			return b.complete(n)
		}
		if own.typ == "" && !n.known {
			own = n
		}
	}
	if own.typ != "" && b.workflow && b.shape().known {
		own = name{}
	}
	custom := classify(b.custom.word("type"))
	switch {
	case custom.known:
		return b.complete(custom)
	case own.typ != "":
		return own
	case custom.typ != "":
		return custom
	default:
		return b.shape()
	}
}

// complete gives a name that is only an entity the type that the body's shape would have given it.
func (b Body) complete(n name) name {
	if n.typ != "" {
		return n
	}
	n.typ = n.entity + ".updated"
	if n.entity == event.EntityAppointment {
		n.typ = b.appointmentType()
	}
	return n
}

// shape tells a body without a type by what it holds. A block named appointment counts as a calendar block does: GHL
// nests nothing else under that name.
func (b Body) shape() name {
	inCalendar := b.root.calendar != nil && explicitAppointmentID(b.root) != ""
	inBlock := b.root.appointment.id("id", "appointmentId") != ""
	switch {
	case inCalendar || inBlock:
		return name{typ: b.appointmentType(), entity: event.EntityAppointment, known: true}
	case b.root.id(namedByShape...) != "" || b.ownOpportunityID():
		return name{typ: event.TypeOpportunityUpdated, entity: event.EntityOpportunity, known: true}
	case explicitContactID(b.root) != "" || explicitContactID(b.custom) != "":
		return name{typ: event.TypeContactUpdated, entity: event.EntityContact, known: true}
	default:
		return name{typ: event.TypeUnknown, entity: event.EntityUnknown}
	}
}

// ownOpportunityID reports whether the body has an opportunity's id that is its own: what is about something else may refer
// to an opportunity, and has an id of its own kind beside it.
func (b Body) ownOpportunityID() bool {
	if b.root.id(idNames(event.EntityOpportunity)...) == "" {
		return false
	}
	for _, other := range [...]string{"conversation", "email", "invoice", "message", "note", "order", "record", "task"} {
		if b.root.id(idNames(other)...) != "" {
			return false
		}
	}
	return true
}

// appointmentType tells a change from a booking. It takes a status that only an existing appointment can have;
// "confirmed" and "booked" are what bookings come with, reschedules too.
func (b Body) appointmentType() string {
	switch b.appointmentStatus() {
	case "cancelled", "showed", "noshow", "invalid":
		return event.TypeAppointmentUpdated
	default:
		return event.TypeAppointmentCreated
	}
}

// appointmentStatus is lower-case. "appoinmentStatus" is GHL's spelling.
func (b Body) appointmentStatus() string {
	for _, status := range [...]string{
		b.root.appointment.id("appointmentStatus"),
		b.root.calendar.id("appoinmentStatus", "appointmentStatus", "status"),
		b.root.id("appointmentStatus"),
	} {
		if status != "" {
			return strings.ToLower(status)
		}
	}
	return ""
}

// appointmentID looks in the places that can only hold an appointment's id first. calendar.id is never one: it is the
// calendar, shared by all its bookings.
func (b Body) appointmentID(customID, contactID string) string {
	for _, id := range [...]string{explicitAppointmentID(b.root), explicitAppointmentID(b.custom)} {
		if id != "" {
			return id
		}
	}
	others := []string{"", contactID, b.root.calendar.id("id")}
	for _, id := range [...]string{customID, b.data.id("id"), b.rootID(event.EntityAppointment)} {
		if !slices.Contains(others, id) {
			return id
		}
	}
	return ""
}

func explicitAppointmentID(s scope) string {
	if id := s.appointment.id("id", "appointmentId"); id != "" {
		return id
	}
	if id := s.calendar.id("appointmentId"); id != "" {
		return id
	}
	return s.id("appointmentId", "appointment_id")
}

// contactID takes the root's id for events about a contact only.
func (b Body) contactID(entity, customID string) string {
	for _, id := range [...]string{explicitContactID(b.root), b.root.snapshot.id("id"), explicitContactID(b.custom)} {
		if id != "" {
			return id
		}
	}
	if entity != event.EntityContact {
		return ""
	}
	if customID != "" {
		return customID
	}
	return b.rootID(entity)
}

func explicitContactID(s scope) string {
	if id := s.appointment.id("contactId"); id != "" {
		return id
	}
	if id := s.id("contactId", "contact_id"); id != "" {
		return id
	}
	return s.contact.id("id")
}

func (b Body) locationID() string {
	for _, s := range [...]*scope{&b.root, &b.custom} {
		for _, id := range [...]string{s.id("locationId"), s.location.id("id"), s.id("location_id"), s.altLocationID()} {
			if id != "" {
				return id
			}
		}
	}
	return ""
}

// altLocationID is the location's id as events of payments have it, with a type beside it: an altId of another type is
// an agency's or something else's. The contact that such an event repeats says it too.
func (s *scope) altLocationID() string {
	if strings.EqualFold(s.word("altType"), "location") {
		if id := s.id("altId"); id != "" {
			return id
		}
	}
	return s.snapshot.id("locationId")
}

// locationIDs are all the locations that GHL's own members at the root name. They are one, unless the sender puts one
// location's name on another one's event.
func (b Body) locationIDs() []string {
	var ids []string
	for _, id := range [...]string{
		b.root.id("locationId"), b.root.location.id("id"), b.root.altLocationID(), b.root.snapshot.id("locationId"),
	} {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// entityID is the id of what is neither appointment nor contact.
func (b Body) entityID(entity, customID string) string {
	names := idNames(entity)
	if id := b.root.id(names...); id != "" {
		return id
	}
	if id := b.custom.id(names...); id != "" {
		return id
	}
	if customID != "" {
		return customID
	}
	return b.rootID(entity)
}

// rootID is the root's id as the id of such an entity. Invoices, orders, prices and products call theirs _id.
func (b Body) rootID(entity string) string {
	if entity != event.EntityOpportunity {
		for _, mark := range opportunityMarks {
			if b.root.get(mark) != nil {
				return ""
			}
		}
	}
	return b.root.id("id", "_id")
}

// occurredAt is the first time that the body gives in a form that can be read, at most receivedAt.
func (b Body) occurredAt(receivedAt time.Time) time.Time {
	for _, value := range [...][]byte{
		b.root.get("timestamp"),
		b.root.appointment.get("dateUpdated"),
		b.root.get("dateUpdated"),
		b.root.get("updatedAt"),
		b.root.get("deletedAt"),
	} {
		if at, ok := parseTime(value); ok {
			if at.After(receivedAt) {
				return receivedAt
			}
			return at
		}
	}
	return time.Time{}
}

// truncated says whether the sender flags the body as cut. A flag of an unexpected kind counts: reading the entity
// again costs a call, relying on half of it costs data.
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
