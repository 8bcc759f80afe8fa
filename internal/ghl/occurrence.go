package ghl

import (
	"slices"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// messageMembers have the text of a message in a workflow's body: the block that the trigger of a reply adds, and the names that people use
// for it.
var messageMembers = []string{"message", "messageBody", "message_body", "body"}

// IsOccurrence reports whether the body, whose event is e, says that something happened, rather than what the state of something is.
//
// An appointment, a contact or an opportunity is a state: the same bytes again say nothing new. An entity with its own id is distinct by
// that id. Anything else with a type and no id, such as a reply or a form, is an occurrence. A workflow's reply has the shape of its
// contact, or no shape; its message shows what it is.
func (b Body) IsOccurrence(e event.Event) bool {
	if b.root.block("message").get("body") != nil {
		return true
	}
	switch {
	case e.EntityType == event.EntityAppointment, e.EntityType == event.EntityOpportunity:
		return false
	case e.EntityType == event.EntityContact, e.Type == event.TypeUnknown:
		return b.hasMessage()
	default:
		// A contact's id does not identify what the contact did.
		return e.EntityID == "" || e.EntityID == e.ContactID
	}
}

func (b Body) hasMessage() bool {
	return slices.ContainsFunc([]object{b.root.object, b.custom.object, b.root.block("triggerData")}, func(o object) bool {
		return slices.ContainsFunc(messageMembers, func(name string) bool {
			switch value := string(o.get(name)); value {
			case "", "null", `""`, "{}":
				return false
			default:
				return true
			}
		})
	})
}
