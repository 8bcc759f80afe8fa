// Package event holds the normalised form of a webhook: what it is about, whom it concerns and how it is told from
// its neighbours. It is the vocabulary that every other package shares, so it imports nothing of the project.
package event

import "time"

// SourceGHL is the source of everything that GoHighLevel posts. It is the first half of a WebhookEvent's name.
const SourceGHL = "ghl"

// Entity types that steps of the reconciler tell apart. Other entities keep their own lower-case name.
const (
	EntityAppointment = "appointment"
	EntityContact     = "contact"
	EntityOpportunity = "opportunity"
	// EntityUnknown stands where a body does not say what it is about. Such an event is stored and forwarded.
	EntityUnknown = "unknown"
)

// Types that steps of the reconciler tell apart. See Event.Type for how the others are named.
const (
	TypeAppointmentCreated = "appointment.created"
	TypeAppointmentUpdated = "appointment.updated"
	TypeAppointmentDeleted = "appointment.deleted"
	TypeContactUpdated     = "contact.updated"
	TypeContactDeleted     = "contact.deleted"
	TypeContactDndUpdated  = "contact.dnd_updated"
	TypeContactTagUpdated  = "contact.tag_updated"
	TypeOpportunityUpdated = "opportunity.updated"
	TypeUnknown            = "unknown"
	// TypeUnparseable is the type of a body that cannot be read. It is stored as it came and ends in error.
	TypeUnparseable = "unparseable"
)

// Event is one webhook, normalised. The zero value of a field means that the body did not say.
type Event struct {
	// Source names the sender's system, for instance "ghl".
	Source string
	// Type is lower-case and dotted, "<entity>.<what happened>": "appointment.created", "contact.tag_updated".
	// A type that is not known keeps its own name in snake case.
	Type string
	// EntityType is what the event is about: "appointment", "contact", …, or "unknown".
	EntityType string
	// EntityID is the sender's id of that entity.
	EntityID string
	// LocationID is GHL's id of the sub-account.
	LocationID string
	// ContactID is GHL's id of the contact concerned.
	ContactID string
	// AppointmentStatus is lower-case ("confirmed", "cancelled", …) and set for appointments only.
	AppointmentStatus string
	// OccurredAt is when it happened at the sender, in UTC; zero where the body does not say. The time of receipt
	// stands in for a zero value and for a time in the future.
	OccurredAt time.Time
	// DedupeKey identifies the delivery: "ghl:<webhookId>". Empty where the body carries no id of its own, or where no signature
	// shows that the id is GHL's: such a delivery is a duplicate only of the newest event of its OrderingKey, by the hash of its bytes.
	DedupeKey string
	// OrderingKey is "<entity type>:<entity id>"; events that share it are reconciled one after the other, oldest
	// first. Empty where there is no entity id. The location is no part of it: a workflow post of the same
	// appointment may lack it.
	OrderingKey string
	// Truncated is true where the sender cut the body (GHL does at 256 KB and says payloadTooLarge): what it holds
	// must be read again through the API before it is relied on.
	Truncated bool
}

// OrderingKeyOf returns the ordering key of an entity, or "" where the entity has no id.
func OrderingKeyOf(entityType, entityID string) string {
	if entityID == "" {
		return ""
	}
	return entityType + ":" + entityID
}
