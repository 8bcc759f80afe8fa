package ghl

import (
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Field is one of the things that Normalise reads out of a body.
type Field string

// The fields, in the order in which they are decided: a later one may depend on an earlier one.
const (
	FieldType       Field = "type"
	FieldContactID  Field = "contact id"
	FieldEntityID   Field = "entity id"
	FieldStatus     Field = "appointment status"
	FieldLocationID Field = "location id"
	FieldOccurredAt Field = "occurred at"
	FieldDedupeKey  Field = "dedupe key"
)

// fields lists them. A field's number is its place in it.
var fields = [...]Field{
	FieldType, FieldContactID, FieldEntityID, FieldStatus, FieldLocationID, FieldOccurredAt, FieldDedupeKey,
}

// rule is one way to read a field. The tables in rules.go list the rules of every field; the first that finds something decides.
type rule[T any] struct {
	// name says what the rule reads: a path in the body, or a sentence.
	name string
	// source says where bodies like that were met: a vendor's document, or a file of testdata.
	source string
	// read returns false where the rule finds nothing.
	read func(*reading) (T, bool)
}

// reading is one body on its way to an event.
type reading struct {
	*Body
	receivedAt time.Time
	// name is what the event's type was taken for, once it is decided.
	name name
	// contactID is the contact's id, once it is decided.
	contactID string
	// decided holds the rule that decided each field, by the field's place in fields.
	decided [len(fields)]decision
}

// decision is the name and the source of a rule.
type decision struct{ rule, source string }

// decide returns what the first rule that finds something reads, and records which one it was.
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

// ownIDAt is idAt for an appointment's id: a calendar's id in such a place is a merge field too many.
func ownIDAt(path, source string) rule[string] {
	in, member := resolve(path)
	return rule[string]{path, source, func(r *reading) (string, bool) {
		id := in(r.Body).id(member)
		return id, id != "" && !r.isCalendar(id)
	}}
}

// idWhere reads an id by a condition that a path cannot say.
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

// blocks are the objects of a body in which rules look, by their paths.
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

// resolve splits a path into the block and the member, which it adds to those that are kept of a body.
func resolve(path string) (in func(*Body) object, member string) {
	block := ""
	if dot := strings.LastIndexByte(path, '.'); dot >= 0 {
		block, path = path[:dot], path[dot+1:]
	}
	in, ok := blocks[block]
	if !ok {
		panic("a rule reads " + block + ", which is no block")
	}
	return in, want(path)
}

// Explanation says what a body becomes, and why.
type Explanation struct {
	Event  event.Event
	Fields []Decided
}

// Decided is a field of an event with the rule that decided it. Rule is empty where no rule found anything.
type Decided struct {
	Field  Field  `json:"field"`
	Value  string `json:"value"`
	Rule   string `json:"rule,omitempty"`
	Source string `json:"source,omitempty"`
}

// Explain is Normalise with the rule that decided each field.
func Explain(b Body, receivedAt time.Time) Explanation {
	e, r := read(&b, receivedAt)
	occurredAt := ""
	if !e.OccurredAt.IsZero() {
		occurredAt = e.OccurredAt.Format(time.RFC3339Nano)
	}
	values := [len(fields)]string{e.Type, e.ContactID, e.EntityID, e.AppointmentStatus, e.LocationID, occurredAt, e.DedupeKey}
	out := Explanation{Event: e}
	for i, field := range fields {
		d := Decided{Field: field, Value: values[i]}
		if d.Value != "" {
			d.Rule, d.Source = r.decided[i].rule, r.decided[i].source
		}
		out.Fields = append(out.Fields, d)
	}
	return out
}
