package ghl

import (
	"slices"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Where the bodies of a rule were seen.
const (
	guide     = "GoHighLevel's webhook guide"
	workflow  = "testdata/samples/workflow-appointment-real-2026-09.json"
	tagged    = "testdata/samples/workflow-tag-contact-real-2026-08.json"
	custom    = "bodies of Custom Webhook that people rebuild in customData"
	flatBody  = "testdata/reports/p03-flat-appointment-no-type.json"
	ownWord   = "testdata/reports/p01-customdata-own-word.json"
	dealBody  = "testdata/reports/p04-opportunity-camel-case.json"
	payment   = "testdata/reports/p09-ordercreate-altid.json"
	legacy    = "testdata/samples/legacy-test-appointment-created.json"
	byRequest = "the URL or a header of the request"
)

// typeRules decide the type of an event. A known type comes first, wherever it is; then the shape of the body; then what the request
// declares; then an unknown word, which becomes the event's type. In a workflow body, a type or event at the root is a custom field.
var typeRules = []rule[name]{
	{"type", guide, func(r *reading) (name, bool) { return r.knownType(r.root.word("type")) }},
	{"event", legacy, func(r *reading) (name, bool) { return r.knownType(r.root.word("event")) }},
	{"customData.type", custom, func(r *reading) (name, bool) { return r.complete(classify(r.custom.word("type"))) }},
	{"type, event or customData.type, which names an appointment's event, beside an appointment's id", flatBody, (*reading).looseType},
	{"the appointment or calendar block with an appointment's id", workflow, shape(event.EntityAppointment, (*reading).appointmentBlock)},
	{"an appointment's id beside its calendar, time or status", flatBody, shape(event.EntityAppointment, (*reading).flatAppointment)},
	{"a pipeline, or an opportunity's name, value or id", dealBody, shape(event.EntityOpportunity, (*reading).opportunity)},
	{"the same of an appointment in customData", flatBody, shape(event.EntityAppointment, (*reading).customAppointment)},
	{"the same of an opportunity in customData", dealBody, shape(event.EntityOpportunity, (*reading).customOpportunity)},
	{"id beside a person's name and phone number or e-mail address", guide, shape(event.EntityContact, (*reading).flatContact)},
	{"the type that the request declares", byRequest, (*reading).declaredType},
	{"a contact's id, and no unknown type", tagged, (*reading).contactAlone},
	{"type, an unknown word", guide, func(r *reading) (name, bool) { return own(r.root.word("type")) }},
	{"event, an unknown word", guide, func(r *reading) (name, bool) { return own(r.root.word("event")) }},
	{"customData.type, an unknown word", ownWord, func(r *reading) (name, bool) { return own(r.custom.word("type")) }},
	{"the body does not say what it is about", guide, func(*reading) (name, bool) {
		return name{typ: event.TypeUnknown, entity: event.EntityUnknown}, true
	}},
}

// rootContactIDs and customContactIDs are the paths that can only have a contact's id.
var (
	rootContactIDs = []rule[string]{
		idAt("appointment.contactId", guide),
		idAt("appointment.contact_id", guide),
		idAt("contactId", guide),
		idAt("contact_id", workflow),
		idAt("contact.id", tagged),
	}
	customContactIDs = []rule[string]{
		idAt("customData.appointment.contactId", custom),
		idAt("customData.contactId", custom),
		idAt("customData.contact_id", custom),
		idAt("customData.contact.id", custom),
	}
)

// contactIDRules use the root's id only for events about a contact.
var contactIDRules = slices.Concat(rootContactIDs, []rule[string]{idAt("contactSnapshot.id", payment)}, customContactIDs, []rule[string]{
	declaredIDOf(event.EntityContact),
	idWhere("customData.id, of a contact by customData.type", custom, func(r *reading) string {
		return r.unlessForeign(r.customID(event.EntityContact))
	}),
	idWhere("id, in a contact's event", guide, func(r *reading) string {
		if r.name.entity != event.EntityContact {
			return ""
		}
		return r.unlessForeign(r.rootID(event.EntityContact))
	}),
	idWhere("customData.id, of a contact by its shape", custom, func(r *reading) string {
		if r.name.entity != event.EntityContact || !r.personIn(&r.custom) {
			return ""
		}
		return r.custom.id("id")
	}),
})

// rootAppointmentIDs and customAppointmentIDs are the paths that can only have an appointment's id. calendar.id is not one of them: it is
// the calendar's, which all its bookings share.
var (
	rootAppointmentIDs = []rule[string]{
		ownIDAt("appointment.id", guide),
		ownIDAt("appointment.appointmentId", guide),
		ownIDAt("calendar.appointmentId", workflow),
		ownIDAt("appointmentId", flatBody),
		ownIDAt("appointment_id", flatBody),
	}
	customAppointmentIDs = []rule[string]{
		ownIDAt("customData.appointment.id", custom),
		ownIDAt("customData.appointment.appointmentId", custom),
		ownIDAt("customData.calendar.appointmentId", custom),
		ownIDAt("customData.appointmentId", custom),
		ownIDAt("customData.appointment_id", custom),
	}
)

// appointmentIDRules start with the paths that can only have an appointment's id.
var appointmentIDRules = slices.Concat(
	[]rule[string]{},
	[]rule[string]{declaredIDOf(event.EntityAppointment)}, rootAppointmentIDs, customAppointmentIDs,
	[]rule[string]{
		idWhere("customData.id, of an appointment by customData.type", custom, func(r *reading) string {
			return r.unlessForeign(r.customID(event.EntityAppointment))
		}),
		idWhere("data.id", guide, func(r *reading) string { return r.unlessForeign(r.data.id("id")) }),
		idWhere("id, in an appointment's event", legacy, func(r *reading) string {
			return r.unlessForeign(r.rootID(event.EntityAppointment))
		}),
		idWhere("customData.id, of an appointment by its shape", custom, func(r *reading) string {
			if !apiAppointment(&r.custom, r.contactID) {
				return ""
			}
			return r.unlessForeign(r.custom.id("id"))
		}),
	})

// otherIDRules are for every other entity.
var otherIDRules = []rule[string]{
	declaredIDOf(""),
	idWhere("the entity's name and Id, or _id", guide, func(r *reading) string { return r.root.id(namesOf[r.name.entity]...) }),
	idWhere("the same in customData", custom, func(r *reading) string { return r.custom.id(namesOf[r.name.entity]...) }),
	idWhere("customData.id, by customData.type", custom, func(r *reading) string { return r.unlessForeign(r.customID(r.name.entity)) }),
	idWhere("id or _id", payment, func(r *reading) string { return r.unlessForeign(r.rootID(r.name.entity)) }),
	idWhere("customData.id, of an opportunity by its shape", dealBody, func(r *reading) string {
		if r.name.entity != event.EntityOpportunity || r.custom.id(namedByShape...) == "" {
			return ""
		}
		return r.unlessForeign(r.custom.id("id"))
	}),
}

// declaredIDOf reads the id at the declared path, for one entity, or for any if it is "".
func declaredIDOf(entity string) rule[string] {
	return idWhere("the id at the path that the request declares", byRequest, func(r *reading) string {
		if entity == "" {
			return r.declaredID(r.name.entity)
		}
		return r.declaredID(entity)
	})
}

// statusRules read the status of an appointment. "appoinmentStatus" is GHL's spelling.
var statusRules = []rule[string]{
	statusAt("appointment.appointmentStatus", guide, statusOf),
	statusAt("calendar.appoinmentStatus", workflow, statusOf),
	statusAt("calendar.appointmentStatus", workflow, statusOf),
	statusAt("calendar.status", workflow, statusOf),
	statusAt("appointmentStatus", guide, statusOf),
	statusAt("appointment_status", flatBody, statusOf),
	statusAt("appoinmentStatus", flatBody, statusOf),
	statusAt("appointment.status", flatBody, knownStatus),
	{"status, where an appointment can have it", flatBody, func(r *reading) (string, bool) {
		if r.workflow { // A trigger's own: an opportunity's, for instance.
			return "", false
		}
		status := knownStatus(r.root.id("status"))
		return status, status != ""
	}},
	statusAt("customData.appointment.appointmentStatus", custom, statusOf),
	statusAt("customData.calendar.appoinmentStatus", custom, statusOf),
	statusAt("customData.calendar.appointmentStatus", custom, statusOf),
	statusAt("customData.calendar.status", custom, knownStatus),
	statusAt("customData.appointmentStatus", custom, statusOf),
	statusAt("customData.appointment_status", custom, statusOf),
	statusAt("customData.status", custom, knownStatus),
	{"the name of the event", flatBody, func(r *reading) (string, bool) { return r.name.status, r.name.status != "" }},
}

// statusAt reads the status at a path.
func statusAt(path, source string, in func(string) string) rule[string] {
	block, member := resolve(path)
	return rule[string]{path, source, func(r *reading) (string, bool) {
		text := block(r.Body).id(member)
		if text == "" {
			return "", false
		}
		status := in(text)
		return status, status != ""
	}}
}

// locationIDRules ignore declarations: a request must not choose the location that is checked against GHL_LOCATION_IDS.
var locationIDRules = []rule[string]{
	idAt("locationId", guide),
	idAt("location.id", workflow),
	idAt("location_id", custom),
	altLocation("altId, where altType is location", func(b *Body) *scope { return &b.root }),
	idAt("contactSnapshot.locationId", payment),
	idAt("customData.locationId", custom),
	idAt("customData.location.id", custom),
	idAt("customData.location_id", custom),
	altLocation("customData.altId, where altType is location", func(b *Body) *scope { return &b.custom }),
}

// altLocation reads the location's id of events about payments, which have a type beside it: an altId of another type is an agency's, for
// instance.
func altLocation(name string, in func(*Body) *scope) rule[string] {
	return idWhere(name, payment, func(r *reading) string { return in(r.Body).altID() })
}

func (s *scope) altID() string {
	if !strings.EqualFold(s.word("altType"), "location") {
		return ""
	}
	return s.id("altId")
}

// occurredAtRules use the first valid time.
var occurredAtRules = []rule[time.Time]{
	timeAt("timestamp", guide),
	timeAt("appointment.dateUpdated", guide),
	timeAt("dateUpdated", guide),
	timeAt("updatedAt", payment),
	timeAt("deletedAt", "testdata/samples/flat-appointmentdelete-nocontact.json"),
}

// dedupeRules read GoHighLevel's id of the webhook, which is the same in all its deliveries.
var dedupeRules = []rule[string]{idAt("webhookId", guide)}
