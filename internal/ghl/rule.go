package ghl

import (
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// The fields, in the order in which they are decided: a later one may depend on an earlier one.
const (
	FieldType       = "type"
	FieldContactID  = "contact id"
	FieldEntityID   = "entity id"
	FieldStatus     = "appointment status"
	FieldLocationID = "location id"
	FieldOccurredAt = "occurred at"
	FieldDedupeKey  = "dedupe key"
)

// fields lists them. A field's number is its index in the list.
var fields = [...]string{
	FieldType, FieldContactID, FieldEntityID, FieldStatus, FieldLocationID, FieldOccurredAt, FieldDedupeKey,
}

// rule is one way to read a field. The tables in rules.go list the rules of each field. The first that finds a value decides.
type rule[T any] struct {
	// name says what the rule reads: a path in the body, or a sentence.
	name string
	// source says where such bodies were seen: a vendor's document, or a file of testdata.
	source string
	// read returns false if the rule finds nothing.
	read func(*reading) (T, bool)
}

// reading is a body that is being normalised.
type reading struct {
	*Body
	receivedAt time.Time
	// name is the event's type, after it is decided.
	name name
	// contactID is the contact's id, after it is decided.
	contactID string
	// decided has the rule that decided each field, by the field's index in fields.
	decided [len(fields)]decision
}

// decision is the name and the source of a rule.
type decision struct{ rule, source string }

// decide returns the value of the first rule that finds one, and records that rule.
func decide[T any](r *reading, field int, rules []rule[T]) (value T) {
	for i := range rules {
		if value, ok := rules[i].read(r); ok {
			r.decided[field] = decision{rules[i].name, rules[i].source}
			return value
		}
	}
	return value
}

// idAt reads the id at a path such as "calendar.appointmentId".
func idAt(path, source string) rule[string] {
	in, member := resolve(path)
	return rule[string]{path, source, func(r *reading) (string, bool) {
		id := in(r.Body).id(member)
		return id, id != ""
	}}
}

// ownIDAt is idAt for an appointment's id. A calendar's id there is a mistaken merge field.
func ownIDAt(path, source string) rule[string] {
	in, member := resolve(path)
	return rule[string]{path, source, func(r *reading) (string, bool) {
		id := in(r.Body).id(member)
		return id, id != "" && !r.isCalendar(id)
	}}
}

// idWhere reads an id by a condition that is not a path.
func idWhere(name, source string, read func(*reading) string) rule[string] {
	return rule[string]{name, source, func(r *reading) (string, bool) {
		id := read(r)
		return id, id != ""
	}}
}

// timeAt reads the time at a path.
func timeAt(path, source string) rule[time.Time] {
	in, member := resolve(path)
	return rule[time.Time]{path, source, func(r *reading) (time.Time, bool) { return parseTime(in(r.Body).get(member)) }}
}

// blocks are the objects of a body that rules read, by their paths.
var blocks = map[string]func(*Body) object{
	"":                       func(b *Body) object { return b.root.object },
	"appointment":            func(b *Body) object { return b.root.appointment },
	"calendar":               func(b *Body) object { return b.root.calendar },
	"contact":                func(b *Body) object { return b.root.contact },
	"location":               func(b *Body) object { return b.root.location },
	"contactSnapshot":        func(b *Body) object { return b.root.snapshot },
	"data":                   func(b *Body) object { return b.data },
	"customData":             func(b *Body) object { return b.custom.object },
	"customData.appointment": func(b *Body) object { return b.custom.appointment },
	"customData.calendar":    func(b *Body) object { return b.custom.calendar },
	"customData.contact":     func(b *Body) object { return b.custom.contact },
	"customData.location":    func(b *Body) object { return b.custom.location },
}

// resolve splits a path into the block and the member, and adds the member to wanted.
func resolve(path string) (in func(*Body) object, member string) {
	block := ""
	if dot := strings.LastIndexByte(path, '.'); dot >= 0 {
		block, path = path[:dot], path[dot+1:]
	}
	in, ok := blocks[block]
	if !ok {
		panic("a rule reads " + block + ", which is not a block")
	}
	return in, want(path)
}

// Explain is Normalise with the rule that decided each field, and what the body says about its contact.
func Explain(b Body, receivedAt time.Time) event.Explanation {
	e, r := read(&b, receivedAt)
	occurredAt := ""
	if !e.OccurredAt.IsZero() {
		occurredAt = e.OccurredAt.Format(time.RFC3339Nano)
	}
	values := [len(fields)]string{e.Type, e.ContactID, e.EntityID, e.AppointmentStatus, e.LocationID, occurredAt, e.DedupeKey}
	out := event.Explanation{Event: e, Content: contentOf(b, e, receivedAt)}
	for i, field := range fields {
		d := event.Decided{Field: field, Value: values[i]}
		if d.Value != "" {
			d.Rule, d.Source = r.decided[i].rule, r.decided[i].source
		}
		if field == FieldDedupeKey {
			d.Note = dedupeNote(d)
		}
		out.Fields = append(out.Fields, d)
	}
	return out
}

func dedupeNote(d event.Decided) string {
	if d.Value == "" {
		return "no webhookId: the same bytes are the same event"
	}
	return d.Rule + ", of a signed request only"
}
