// Package store keeps everything that verity-sync knows in Postgres: the webhooks as they came, the ledger of what was
// done with each, the contact mappings and what is known of each appointment. It is the truth that WebhookEvents are a
// projection of, and it knows no Kubernetes and no HTTP.
package store

import (
	"crypto/sha256"
	"time"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Delivery is one authenticated webhook on its way into webhook_events.
type Delivery struct {
	Event event.Event
	// Payload is the JSON object that is stored: the bytes received, or what a form or a body with a byte-order mark
	// amounts to.
	Payload []byte
	// Raw is the bytes received where they differ from Payload; nil where they do not. They are what is forwarded.
	Raw []byte
	// Occurrence is true where the body reports that something happened, such as a reply, and not how something is now. The
	// same bytes again report that it happened again, so that without an id of its own, hash and time make no duplicate of it.
	Occurrence bool
	// Headers are the request headers on the allow-list, by canonical name.
	Headers map[string]string
	// BodyHash is the SHA-256 of the bytes received.
	BodyHash [sha256.Size]byte
}

// Receipt says what became of a Delivery that is safely stored.
type Receipt struct {
	// ID is the id of the row: the first delivery's where this one is a duplicate.
	ID         uuid.UUID
	ReceivedAt time.Time
	Duplicate  bool
}

// Backlog is how much is not finished.
type Backlog struct {
	// Pending counts the events that are neither done nor in error.
	Pending int64
	// Undispatched counts those of them that have no WebhookEvent.
	Undispatched int64
}
