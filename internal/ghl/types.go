package ghl

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// maxTypeLen bounds an unknown type, in bytes.
const maxTypeLen = 128

// name is the interpretation of a sender's type.
type name struct {
	// typ is empty if the sender names an entity but not what happened to it.
	typ    string
	entity string
	known  bool
	// loose is true for people's own name for an appointment's event. It counts only if the body has an appointment's id.
	loose bool
	// declared is true if the request declares it.
	declared bool
	// status is the appointment's status in the name, "" if there is none.
	status string
}

// entities are the entities of marketplace types, as named in normalised types.
var entities = []string{
	event.EntityAppointment, event.EntityContact, event.EntityOpportunity,
	"app", "association", "campaign", "conversation", "email", "invoice", "location", "message", "note",
	"object_schema", "order", "price", "product", "record", "relation", "saas_plan", "task", "user", "voice_ai_call",
}

// actions are the last words of marketplace types, with their normalised forms. Senders use both.
var actions = map[string]string{
	"create": "created", "update": "updated", "delete": "deleted", "complete": "completed",
	"sent": "sent", "paid": "paid", "partially_paid": "partially_paid", "void": "voided",
}

// aspects are the parts of an entity whose changes have marketplace types. Others are recognised, too, if the words of the type are
// separate.
var aspects = map[string][]string{
	event.EntityAppointment: {"status"},
	event.EntityContact:     {"dnd", "tag"},
	event.EntityOpportunity: {"stage", "status", "assigned_to", "monetary_value"},
	"campaign":              {"status"},
	"conversation":          {"unread"},
	"order":                 {"status"},
}

// irregular are the marketplace types that do not consist of entity and action.
var irregular = map[string]name{
	"INSTALL":                 {typ: "app.installed", entity: "app"},
	"UNINSTALL":               {typ: "app.uninstalled", entity: "app"},
	"PLAN_CHANGE":             {typ: "app.plan_changed", entity: "app"},
	"InboundMessage":          {typ: "message.inbound", entity: "message"},
	"OutboundMessage":         {typ: "message.outbound", entity: "message"},
	"ProviderOutboundMessage": {typ: "message.provider_outbound", entity: "message"},
	"LCEmailStats":            {typ: "email.stats", entity: "email"},
	"VoiceAiCallEnd":          {typ: "voice_ai_call.ended", entity: "voice_ai_call"},
}

// names has every known type by its letters and digits only. Types are matched in that form: AppointmentCreate, appointment_created and
// "Appointment Created" are the same.
var names = func() map[string]name {
	m := map[string]name{}
	add := func(entity, typ string, spellings ...string) {
		for _, spelling := range append(spellings, typ) {
			m[string(bare(spelling))] = name{typ: typ, entity: entity, known: true}
		}
	}
	for _, entity := range entities {
		for action, done := range actions {
			add(entity, entity+"."+done, entity+action)
		}
		for _, aspect := range aspects[entity] {
			add(entity, entity+"."+aspect+"_updated", entity+aspect+"update")
		}
	}
	for spelling, n := range irregular {
		add(n.entity, n.typ, spelling)
	}
	for _, entity := range []string{event.EntityAppointment, event.EntityContact, event.EntityOpportunity} {
		m[entity] = name{entity: entity, known: true}
	}
	return m
}()

// entityOf has the entities by their letters and digits only.
var entityOf = func() map[string]string {
	m := make(map[string]string, len(entities))
	for _, entity := range entities {
		m[string(bare(entity))] = entity
	}
	return m
}()

// classify interprets a sender's type. An unknown type keeps its own name, dotted if it was dotted, and in snake case otherwise. The
// result is the zero name if nothing remains.
func classify(typ string) name {
	if typ == "" {
		return name{}
	}
	typ = truncate(typ, maxTypeLen)
	if n, ok := names[string(bare(typ))]; ok {
		return n
	}
	if strings.Contains(typ, ".") {
		return dotted(typ)
	}
	if n, ok := appointmentEvent(bare(typ)); ok {
		return n
	}
	if n, ok := aspectUpdate(wordsOf(typ)); ok {
		return n
	}
	return snake(typ)
}

// snake returns an unknown type in snake case.
func snake(typ string) name {
	words := wordsOf(truncate(typ, maxTypeLen))
	if len(words) == 0 {
		return name{}
	}
	return name{typ: strings.Join(words, "_"), entity: event.EntityUnknown}
}

// dotted returns a type that is already in the normalised form. The part before the first dot is the entity.
func dotted(typ string) name {
	var parts []string
	for part := range strings.SplitSeq(typ, ".") {
		if words := wordsOf(part); len(words) > 0 {
			parts = append(parts, strings.Join(words, "_"))
		}
	}
	if len(parts) == 0 {
		return name{}
	}
	n := name{typ: strings.Join(parts, "."), entity: event.EntityUnknown}
	if entity, ok := entityOf[string(bare(parts[0]))]; ok && len(parts) > 1 {
		n.entity, n.known = entity, true
		if entity == event.EntityAppointment {
			n.status = saidStatus(parts[1])
		}
	}
	return n
}

// aspectUpdate reads <Entity><Aspect>Update. The entity may have several words.
func aspectUpdate(words []string) (name, bool) {
	last := len(words) - 1
	if last < 2 || words[last] != "update" && words[last] != "updated" {
		return name{}, false
	}
	for n := last - 1; n > 0; n-- {
		if entity, ok := entityOf[strings.Join(words[:n], "")]; ok {
			aspect := strings.Join(words[n:last], "_")
			return name{typ: entity + "." + aspect + "_updated", entity: entity, known: true}, true
		}
	}
	return name{}, false
}

// bare returns the letters and digits of s in lower case.
func bare(s string) []byte {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			out = utf8.AppendRune(out, unicode.ToLower(r))
		}
	}
	return out
}

// wordsOf splits s at changes of case that start a word and at everything except letters and digits. It returns the words in lower case:
// LCEmailStats is lc, email, stats.
func wordsOf(s string) []string {
	var words []string
	runes := []rune(s)
	start := 0
	flush := func(end int) {
		if end > start {
			words = append(words, strings.ToLower(string(runes[start:end])))
		}
		start = end
	}
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush(i)
			start = i + 1
		case i > start && unicode.IsUpper(r):
			afterLower := !unicode.IsUpper(runes[i-1])
			beforeLower := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if afterLower || beforeLower {
				flush(i)
			}
		}
	}
	flush(len(runes))
	return words
}

// truncate cuts s to at most n bytes, between runes.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// TypeOf returns the normalised type for a sender's spelling of it, such as "appointment.created" for AppointmentCreate, and whether it is
// known.
func TypeOf(spelling string) (typ string, known bool) {
	n := classify(spelling)
	return n.typ, n.known && n.typ != ""
}
