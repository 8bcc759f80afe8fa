package event

import (
	"net/http"
	"time"
)

// Request is one HTTP request to the path of a source.
type Request struct {
	Header http.Header
	// RawQuery is the query of the URL, not decoded.
	RawQuery string
	// Body is the body as received, in its content encoding. A signature covers these bytes.
	Body []byte
}

// Sender is who sent a request that a source has authenticated. Nothing else can decode the request's body.
type Sender interface {
	// Proof says in a word or two what authenticated the request. Log lines show it.
	Proof() string
	// Decode decodes and normalises text, which is the request's body without its content encoding. It must allocate in proportion to
	// text: the receiver admits few large bodies at a time. An error is a *Refusal; the Webhook may then still have an Event, for the log,
	// and Headers. Decode may change what Proof returns.
	Decode(text []byte, receivedAt time.Time) (Webhook, error)
}

// Webhook is what a source reads from one request. Payload and Raw may share the memory of the request's body.
type Webhook struct {
	Event Event
	// Payload is the JSON object to store. It must be valid JSON in valid UTF-8.
	Payload []byte
	// Raw is the body without its content encoding, if it differs from Payload: a form, for instance. Nil otherwise.
	Raw []byte
	// Occurrence is true if the body reports that something happened, rather than a state: the same bytes may then be another event.
	Occurrence bool
	// Headers are the headers to store in addition to those that the receiver stores for every source. They must not hold a secret.
	Headers map[string]string
}

// RefusalClass says what a Refusal means for the sender.
type RefusalClass uint8

// The classes of refusals, with the answers to them.
const (
	// Unauthenticated: nothing proves who sent the request. HTTP 401.
	Unauthenticated RefusalClass = iota + 1
	// Forbidden: the request is authentic, but not for this installation. HTTP 403.
	Forbidden
	// Ignored: the request is authentic, but of a location that is not configured. HTTP 200; nothing is stored.
	Ignored
	// Malformed: the body is not a webhook. HTTP 400.
	Malformed
	// TooLarge: the body decodes to more than a webhook can have. HTTP 413.
	TooLarge
	// Unparseable: the body is broken, its sender is trusted, and the source does not send it again. HTTP 200: the body is stored as
	// received, and its event ends in Error.
	Unparseable
)

// Refusal is why a source does not accept a request. The sender may see its text.
type Refusal struct {
	Class RefusalClass
	Err   error
}

// Refuse returns a Refusal of a class, with its reason.
func Refuse(class RefusalClass, err error) error { return &Refusal{class, err} }

// Error implements error.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the reason.
func (r *Refusal) Unwrap() error { return r.Err }
