package ghl

import (
	"slices"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// opportunityMarks are the members that only an opportunity has at the root: in bodies of workflow triggers, in the API's form, and in
// both as people rebuild them. With one of them, the root's id is the opportunity's. "pipleline_stage" is GoHighLevel's spelling. A
// reference to an opportunity ("opportunityId") is not a mark: notes and tasks have it, too.
var opportunityMarks = []string{
	"pipeline_id", "opportunity_name", "pipeline_name", "pipleline_stage", "pipeline_stage", "pipeline_stage_id",
	"pipelineId", "opportunityName", "pipelineName", "pipelineStage", "pipelineStageId",
	"monetary_value", "monetaryValue",
}

// namedByShape are the marks of an opportunity in a body without a type.
var namedByShape = []string{
	"pipeline_id", "opportunity_name", "pipelineId", "opportunityName", "pipeline_stage_id", "pipelineStageId",
	"monetary_value", "monetaryValue",
}

// appointmentMarks are members that an appointment has beside its id. A reference to an appointment has none of them.
var appointmentMarks = []string{
	"calendarId", "calendar_id", "startTime", "start_time", "endTime", "end_time",
	"appointmentStatus", "appointment_status", "appoinmentStatus",
}

// otherThings are entities that can refer to an appointment or an opportunity. A body with the id of one of them is about that entity.
var otherThings = []string{"conversation", "email", "invoice", "message", "note", "order", "record", "task"}

// shape returns a rule that applies if the body looks like the entity's. It does not apply to a marketplace webhook with a type, even an
// unknown one: there the type decides.
func shape(entity string, looks func(*reading) bool) func(*reading) (name, bool) {
	return func(r *reading) (name, bool) {
		if r.typedEnvelope() || !looks(r) {
			return name{}, false
		}
		return r.complete(name{entity: entity, known: true})
	}
}

// typedEnvelope reports whether the body is a marketplace webhook with an unknown type.
func (r *reading) typedEnvelope() bool {
	return !r.workflow && r.root.id("webhookId") != "" && r.hasOwnWord()
}

// hasOwnWord reports whether the root has an unknown type or event.
func (r *reading) hasOwnWord() bool {
	_, typ := own(r.root.word("type"))
	_, evt := own(r.root.word("event"))
	return typ || evt
}

// own returns an unknown type under its own name.
func own(text string) (name, bool) {
	n := classify(text)
	if n.loose {
		n = snake(text)
	}
	return n, n.typ != "" && !n.known
}

// knownType reads a type at the root. In a workflow body, the name of an entity alone is a custom field.
func (r *reading) knownType(text string) (name, bool) {
	n := classify(text)
	if n.typ == "" && r.workflow {
		return name{}, false
	}
	return r.complete(n)
}

// complete adds a type to a name that is only an entity, as the body's shape would. It returns false for an unknown name.
func (r *reading) complete(n name) (name, bool) {
	if !n.known || n.loose {
		return name{}, false
	}
	if n.typ == "" {
		n.typ = n.entity + ".updated"
		r.name = n
		if status, _ := firstOfRules(r, statusRules); n.entity == event.EntityAppointment && !ofExisting(status) {
			n.typ = event.TypeAppointmentCreated
		}
	}
	return n, true
}

// firstOfRules is decide without recording the rule.
func firstOfRules[T any](r *reading, rules []rule[T]) (value T, ok bool) {
	for i := range rules {
		if value, ok = rules[i].read(r); ok {
			return value, true
		}
	}
	return value, false
}

func found(r *reading, rules []rule[string]) bool {
	_, ok := firstOfRules(r, rules)
	return ok
}

// looseType reads people's own names for an appointment's event, if the body has an appointment's id.
func (r *reading) looseType() (name, bool) {
	for _, text := range [...]string{r.root.word("type"), r.root.word("event"), r.custom.word("type")} {
		n := classify(text)
		if !n.loose {
			continue
		}
		if found(r, rootAppointmentIDs) || found(r, customAppointmentIDs) || !r.workflow && r.ownRootID() {
			n.loose = false
			return r.complete(n)
		}
	}
	return name{}, false
}

// ownRootID reports whether the root has an id that is neither the contact's nor another entity's.
func (r *reading) ownRootID() bool {
	id := r.rootID(event.EntityAppointment)
	contact, _ := firstOfRules(r, rootContactIDs)
	return id != "" && id != contact && r.unlessForeign(id) != "" && contact != ""
}

// appointmentBlock treats a block named appointment like a calendar block: GoHighLevel nests nothing else under that name.
func (r *reading) appointmentBlock() bool {
	return r.root.calendar != nil && found(r, rootAppointmentIDs) || r.root.appointment.id("id", "appointmentId") != ""
}

func (r *reading) flatAppointment() bool {
	contact, _ := firstOfRules(r, rootContactIDs)
	return flatAppointment(&r.root) || apiAppointment(&r.root, contact)
}

func (r *reading) customAppointment() bool {
	s := &r.custom
	contact, _ := firstOfRules(r, customContactIDs)
	return s.appointment.id("id", "appointmentId") != "" || s.calendar.id("appointmentId") != "" ||
		flatAppointment(s) || apiAppointment(s, contact)
}

func flatAppointment(s *scope) bool {
	return s.id("appointmentId", "appointment_id") != "" &&
		(s.id(appointmentMarks...) != "" || knownStatus(s.id("status")) != "") && !s.refersTo(otherThings)
}

// apiAppointment reports whether the scope is an appointment in the API's form: with an id, and the contact's id beside it.
func apiAppointment(s *scope, contact string) bool {
	id := s.id("id")
	return id != "" && contact != "" && id != contact && s.id("calendarId", "calendar_id") != "" &&
		s.id("startTime", "start_time") != "" && !s.refersTo(otherThings)
}

// refersTo reports whether the scope has the id of one of the entities.
func (s *scope) refersTo(entities []string) bool {
	return slices.ContainsFunc(entities, func(entity string) bool { return s.id(namesOf[entity]...) != "" })
}

// opportunity reports whether the body is about an opportunity. A body about something else may refer to one, but has another entity's id
// beside it.
func (r *reading) opportunity() bool { return r.root.opportunity() }

func (s *scope) opportunity() bool {
	return s.id(namedByShape...) != "" || s.id(namesOf[event.EntityOpportunity]...) != "" && !s.refersTo(otherThings)
}

// customOpportunity needs more marks than the root: a workflow about a contact may name a pipeline in customData.
func (r *reading) customOpportunity() bool {
	s := &r.custom
	marks := 0
	for _, mark := range namedByShape {
		if s.id(mark) != "" {
			marks++
		}
	}
	wanted := 1
	if found(r, rootContactIDs) {
		wanted = 2
	}
	return marks >= wanted && s.id("id", "opportunityId", "opportunity_id") != ""
}

func (r *reading) flatContact() bool {
	switch {
	case found(r, rootContactIDs) || found(r, customContactIDs):
		return false // contactAlone applies.
	case r.personIn(&r.root):
		return true
	default:
		return r.root.id("id") == "" && r.personIn(&r.custom)
	}
}

// personIn reports whether a scope has an id with a person's name and phone number or e-mail address, and no member of another entity. A
// member called name may be a location's or a company's, too: those have an address.
func (r *reading) personIn(s *scope) bool {
	id := s.id("id")
	if id == "" || r.unlessForeign(id) == "" || id == s.id("locationId", "location_id") || s.location.id("id") == id ||
		firstOf(phoneMembers, s.object) == "" && firstOf(emailMembers, s.object) == "" {
		return false
	}
	text := r.Payload
	if s == &r.custom {
		text = r.root.get("customData")
	}
	if hasOthers(text) {
		return false
	}
	return firstOf(nameMembers, s.object) != "" || firstOf([]string{"name"}, s.object) != "" && !hasAddress(text)
}

// contactAlone is the weakest shape, because nearly every body names a contact. An unknown type takes precedence.
func (r *reading) contactAlone() (name, bool) {
	_, word := own(r.custom.word("type"))
	if word || r.hasOwnWord() && !r.workflow || !found(r, rootContactIDs) && !found(r, customContactIDs) {
		return name{}, false
	}
	return r.complete(name{entity: event.EntityContact, known: true})
}

// customID is customData.id, if customData.type names the entity.
func (r *reading) customID(entity string) string {
	if entity == event.EntityUnknown || r.name.entity != entity || classify(r.custom.word("type")).entity != entity {
		return ""
	}
	return r.custom.id("id")
}

// rootID is the root's id for an entity. Invoices, orders, prices and products name it _id.
func (r *reading) rootID(entity string) string {
	if entity != event.EntityOpportunity {
		for _, mark := range opportunityMarks {
			if r.root.get(mark) != nil {
				return ""
			}
		}
	}
	return r.root.id("id", "_id")
}

// calendarMembers and pipelineMembers have ids that are never an entity's: of its calendar, its pipeline, or its stage.
var (
	calendarMembers = []string{"calendarId", "calendar_id"}
	pipelineMembers = []string{"pipelineId", "pipeline_id", "pipelineStageId", "pipeline_stage_id"}
)

// isCalendar reports whether the id is a calendar's in the body.
func (b *Body) isCalendar(id string) bool {
	return id == b.root.calendar.id("id") || id == b.custom.calendar.id("id") || b.has(id, calendarMembers)
}

// has reports whether one of the members has the id, in a scope that can have an entity's id.
func (b *Body) has(id string, members []string) bool {
	for _, o := range [...]object{b.root.object, b.root.appointment, b.custom.object, b.custom.appointment} {
		for _, member := range members {
			if o.id(member) == id {
				return true
			}
		}
	}
	return false
}

// unlessForeign returns id, or "" if it is the contact's, the calendar's or the pipeline's.
func (r *reading) unlessForeign(id string) string {
	if id == "" || id == r.contactID || r.isCalendar(id) || r.has(id, pipelineMembers) {
		return ""
	}
	return id
}
