// Package event holds the normalised form of a webhook, and the terms in which a source describes one. It is the vocabulary that every
// other package shares, so it imports nothing of the project.
package event

import "time"

// SourceGHL is the source of GoHighLevel's webhooks. It is the first part of a WebhookEvent's name.
const SourceGHL = "ghl"

// Sources lists every source by its name: lower-case letters, digits and dashes, at most 32 characters.
var Sources = []string{SourceGHL}

// IsOnlySource reports whether name is the only source there is, so that no other source's event can have its id.
func IsOnlySource(name string) bool { return len(Sources) == 1 && name == Sources[0] }

// Entity types that operations distinguish. Other entities keep their own lower-case name.
const (
	EntityAppointment = "appointment"
	EntityContact     = "contact"
	EntityOpportunity = "opportunity"
	// EntityUnknown is the entity type of a body that does not say what it is about. Such an event is stored and forwarded.
	EntityUnknown = "unknown"
)

// Types that operations distinguish. See Event.Type for how the others are named.
const (
	TypeAppointmentCreated = "appointment.created"
	TypeAppointmentUpdated = "appointment.updated"
	TypeAppointmentDeleted = "appointment.deleted"
	TypeContactUpdated     = "contact.updated"
	TypeContactDeleted     = "contact.deleted"
	TypeContactDndUpdated  = "contact.dnd_updated"
	TypeContactTagUpdated  = "contact.tag_updated"
	TypeUnknown            = "unknown"
	// TypeUnparseable is the type of a body that cannot be parsed. The body is stored as received, and the event ends in Error.
	TypeUnparseable = "unparseable"
)

// Event is one webhook, normalised. A field has its zero value if the body does not say.
type Event struct {
	// Source is the system that sent the webhook, one of Sources.
	Source string
	// Type is lower-case and dotted, "<entity>.<what happened>": "appointment.created", "contact.tag_updated".
	// An unknown type keeps its own name in snake case.
	Type string
	// EntityType is what the event is about: "appointment", "contact", …, or "unknown".
	EntityType string
	// EntityID is the source's id of that entity.
	EntityID string
	// LocationID is the source's id of the account that the event belongs to: GoHighLevel's sub-account.
	LocationID string
	// ContactID is the source's id of the contact.
	ContactID string
	// AppointmentStatus is lower-case ("confirmed", "cancelled", …). Only appointments have one.
	AppointmentStatus string
	// OccurredAt is the time of the change at the source, in UTC; zero if the body does not say. The time of receipt replaces a zero
	// value and a time in the future.
	OccurredAt time.Time
	// DedupeKey identifies the webhook across its deliveries: "ghl:<webhookId>". It is empty if the body has no id of the webhook, or if
	// no signature covers that id. Such a delivery is a duplicate only of the newest event of its OrderingKey, by the hash of its bytes.
	DedupeKey string
	// OrderingKey is "<entity type>:<entity id>". Events with the same key are processed one at a time, oldest first. It is empty without
	// an entity id. It does not include the location: a workflow's webhook about the same appointment may lack it.
	OrderingKey string
	// Truncated is true if the source cut the body (GoHighLevel does at 256 KB and sets payloadTooLarge). Operations read the entity
	// through the API before they rely on it.
	Truncated bool
}

// OrderingKeyOf returns the ordering key of an entity, or "" if the entity has no id.
func OrderingKeyOf(entityType, entityID string) string {
	if entityID == "" {
		return ""
	}
	return entityType + ":" + entityID
}
