package ghl

import (
	"slices"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// messageMembers hold the text of a message in a workflow's body: the block that the trigger of a reply adds, and the
// names under which people rebuild it.
var messageMembers = []string{"message", "messageBody", "message_body", "body"}

// IsOccurrence says whether the body, of which Normalise made e, reports that something happened, and not how something is now.
//
// An appointment, a contact or an opportunity is state: the same bytes again say nothing new. What has an id of its own is
// told from the next one by it. Anything else that has a type and no id, such as a reply or a form, is an occurrence. A
// reply from a workflow has the shape of its contact, or none; the message in it tells.
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
		// The id of the person is not that of what the person did.
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
