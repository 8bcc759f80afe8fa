package ghl

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Path is the URL path of GoHighLevel's webhooks.
const Path = "/api/webhooks/ghl"

// Source receives GoHighLevel's webhooks. It implements receiver.Source.
type Source struct{ verifier *Verifier }

// NewSource returns the source that accepts what cfg says. See NewVerifier for its error.
func NewSource(cfg AuthConfig) (*Source, error) {
	verifier, err := NewVerifier(cfg)
	if err != nil {
		return nil, err
	}
	return &Source{verifier}, nil
}

// Name implements receiver.Source.
func (*Source) Name() string { return event.SourceGHL }

// Path implements receiver.Source.
func (*Source) Path() string { return Path }

// Authenticate implements receiver.Source.
func (s *Source) Authenticate(r event.Request) (event.Sender, error) {
	query := QueryOf(r.RawQuery)
	proof, err := s.verifier.Authenticate(r.Header, query, r.Body)
	if err != nil {
		return nil, event.Refuse(event.Unauthenticated, err)
	}
	return &sender{verifier: s.verifier, request: r, query: query, proof: proof}, nil
}

// sender is an event.Sender.
type sender struct {
	verifier *Verifier
	request  event.Request
	query    url.Values
	proof    Proof
}

// Proof implements event.Sender.
func (s *sender) Proof() string { return s.proof.String() }

// Decode implements event.Sender.
func (s *sender) Decode(text []byte, receivedAt time.Time) (event.Webhook, error) {
	var declared Declaration
	body, err := Decode(s.request.Header.Get("Content-Type"), text)
	if err == nil && s.proof == ProofSecret {
		declared = DeclarationOf(s.request.Header, s.query)
		body, err = body.Declare(declared)
	}
	if err != nil {
		return event.Webhook{Headers: s.headers(Declaration{})}, event.Refuse(s.classOf(err), err)
	}
	webhook := event.Webhook{Payload: body.Payload, Raw: body.Raw, Headers: s.headers(declared)}
	if !bytes.Equal(text, s.request.Body) {
		delete(webhook.Headers, signatureKey) // The signature covers the compressed bytes, which are not stored.
	}
	request := Request{Header: s.request.Header, Query: s.query, Raw: s.request.Body, Body: body}
	s.proof, webhook.Event, err = s.verifier.Admit(s.proof, request, Normalise(body, receivedAt))
	switch {
	case errors.Is(err, ErrLocationIgnored):
		return webhook, event.Refuse(event.Ignored, err)
	case err != nil:
		return webhook, event.Refuse(event.Forbidden, err)
	}
	webhook.Occurrence = body.IsOccurrence(webhook.Event)
	return webhook, nil
}

// classOf returns the class of an error of Decode or Declare. GoHighLevel does not send a body again after a 400, and a field's value can
// break the body of a workflow: such a body is stored if the request has a secret.
func (s *sender) classOf(err error) event.RefusalClass {
	switch {
	case errors.Is(err, ErrFormTooLarge):
		return event.TooLarge
	case IsUnparseable(err) && s.proof == ProofSecret:
		return event.Unparseable
	default:
		return event.Malformed
	}
}

// signatureKey is HeaderSignature as a key of stored headers.
var signatureKey = http.CanonicalHeaderKey(HeaderSignature)

// headers returns the headers to store: the signature, which is forwarded, and the declaration from the query or the headers, with which
// the stored event is read again.
func (s *sender) headers(declared Declaration) map[string]string {
	kept := map[string]string{}
	if signature := s.request.Header.Get(HeaderSignature); signature != "" {
		kept[signatureKey] = signature
	}
	if declared.Type != "" {
		kept[HeaderType], kept[HeaderIDPath] = declared.Type, declared.IDPath
	}
	return kept
}

// Reader reads stored events of GoHighLevel. It implements source.Reader.
type Reader struct{}

// storedType is the content type of a payload: a form is stored as the JSON object that it decodes to.
const storedType = "application/json"

// Normalise implements source.Reader.
func (Reader) Normalise(payload []byte, receivedAt time.Time) (event.Event, error) {
	body, err := Decode(storedType, payload)
	if err != nil {
		return event.Event{}, err
	}
	return Normalise(body, receivedAt), nil
}

// Content implements source.Reader.
func (Reader) Content(payload []byte, e event.Event, receivedAt time.Time) (event.Content, error) {
	body, err := Decode(storedType, payload)
	if err != nil {
		return event.Content{}, err
	}
	return contentOf(body, e, receivedAt), nil
}

func contentOf(b Body, e event.Event, receivedAt time.Time) event.Content {
	return event.Content{
		Person: PersonOf(b, e.EntityType), Reach: ReachOf(b), LocationCountry: LocationCountryOf(b), Booking: BookingOf(b, e, receivedAt),
	}
}

// Fault implements source.Reader.
func (Reader) Fault(contentType string, body []byte) string { return Fault(contentType, body) }

// Explain implements source.Reader.
func (Reader) Explain(r event.Request, receivedAt time.Time) (event.Explanation, error) {
	body, err := Decode(r.Header.Get("Content-Type"), r.Body)
	if err != nil {
		return event.Explanation{}, err
	}
	if body, err = body.Declare(DeclarationOf(r.Header, QueryOf(r.RawQuery))); err != nil {
		return event.Explanation{}, err
	}
	return Explain(body, receivedAt), nil
}

// TypeOf implements source.Reader.
func (Reader) TypeOf(spelling string) (typ string, known bool) { return TypeOf(spelling) }
