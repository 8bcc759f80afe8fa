// Package store is the Postgres database of verity-sync: the webhooks as received, the ledger of the operations performed
// for each, the contact mappings and the state of each appointment. WebhookEvents are a projection of it. The package
// imports neither Kubernetes nor HTTP.
package store

import (
	"crypto/sha256"
	"time"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Delivery is an authenticated webhook that is not stored yet.
type Delivery struct {
	Event event.Event
	// Payload is the JSON object to store: the bytes received, or the JSON equivalent of a form or of a body with a
	// byte-order mark.
	Payload []byte
	// Raw holds the bytes received if they differ from Payload, else nil. They are forwarded.
	Raw []byte
	// Occurrence is true if the body reports an occurrence, such as a reply, and not a state. The same bytes then report
	// another occurrence: without an id, they are no duplicate.
	Occurrence bool
	// Headers holds the request headers on the allow-list, by canonical name.
	Headers map[string]string
	// BodyHash is the SHA-256 of the bytes received.
	BodyHash [sha256.Size]byte
}

// Receipt is the result of storing a Delivery.
type Receipt struct {
	// ID is the id of the row. For a duplicate it is that of the first delivery.
	ID         uuid.UUID
	ReceivedAt time.Time
	Duplicate  bool
}

// Backlog counts unfinished events.
type Backlog struct {
	// Pending counts the events that are neither done nor in error.
	Pending int64
	// Undispatched counts the pending events without a WebhookEvent.
	Undispatched int64
}
