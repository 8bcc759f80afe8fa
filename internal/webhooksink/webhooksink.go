// Package webhooksink sends every event to a URL as a signed message of Standard Webhooks
// (https://www.standardwebhooks.com). It has the client and the operation of this destination.
package webhooksink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Destination is the name of the webhook sink in errors, metrics and breakers.
const Destination = "webhook-sink"

const (
	// maxResponse is the part of a response's body that is read, in bytes. Nothing in it is used.
	maxResponse = 64 << 10
	// responseTimeout bounds the time to read it once the status is known.
	responseTimeout = time.Second
)

// Spec declares the operation.
var Spec = operation.Spec{
	Name: store.OperationWebhookSink, Direction: store.DirectionToWebhookSink, Condition: v1alpha1.SentCondition,
}

// Options are the dependencies of New.
type Options struct {
	// URL is the address that messages are sent to, http or https.
	URL string
	// Secret signs the messages, see ParseSecret.
	Secret string
	// AllowPrivate permits addresses that are not on the public internet.
	AllowPrivate bool
	// Product is the User-Agent's version.
	Product string
	Breaker *destination.Breaker
}

// Sink is the operation. It is safe for concurrent use.
type Sink struct {
	url     string
	key     []byte
	client  *http.Client
	breaker *destination.Breaker
}

// New checks the options. Its errors contain neither the URL nor the secret.
func New(o Options) (*Sink, error) {
	target, err := url.Parse(o.URL)
	if err != nil || target.Hostname() == "" || target.Scheme != "http" && target.Scheme != "https" {
		return nil, errors.New("the URL of the webhook sink is not an http or https URL")
	}
	key, err := ParseSecret(o.Secret)
	if err != nil {
		return nil, fmt.Errorf("read the secret of the webhook sink: %w", err)
	}
	if o.Breaker == nil {
		return nil, errors.New("the webhook sink needs a breaker")
	}
	control := publicOnly
	if o.AllowPrivate {
		control = nil
	}
	return &Sink{url: o.URL, key: key, client: destination.NewDirectClient(o.Product, control), breaker: o.Breaker}, nil
}

// Spec implements operation.Operation.
func (*Sink) Spec() operation.Spec { return Spec }

// Run implements operation.Operation. A repeated message has the same id and the same body.
func (s *Sink) Run(ctx context.Context, e *store.Attempt) operation.Outcome {
	id := messageID(e)
	body, err := message(e)
	if err != nil {
		return operation.Permanent(Destination, v1alpha1.InvalidPayloadReason, "the payload is not a JSON object")
	}
	err = s.breaker.Do(ctx, func(ctx context.Context) error { return s.send(ctx, id, body) })
	failpoint.Hit(failpoint.WebhookSent)
	out := operation.Outcome{Err: err, Details: map[string]any{"webhookID": id}}
	if err != nil {
		out.Wait = s.breaker.WaitAfter(err)
	}
	return out
}

// messageID identifies the event and its run, as operation.IdempotencyKey does. It has no full stop: the specification reserves it
// for the signed content.
func messageID(e *store.Attempt) string {
	return strings.ReplaceAll(operation.IdempotencyKey(e), ".", "-")
}

// envelope is the body of a message, in the form that the specification recommends.
type envelope struct {
	Type string `json:"type"`
	// Timestamp is when the event occurred; the header has the time of the attempt.
	Timestamp time.Time       `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

// message returns the body of an event's message. Its data is the JSON object that was received; for a form, it is the object that
// was read from it.
func message(e *store.Attempt) ([]byte, error) {
	data := e.Body()
	if trimmed := bytes.TrimSpace(data); !bytes.HasPrefix(trimmed, []byte("{")) || !json.Valid(data) || !utf8.Valid(data) {
		data = e.Payload
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(envelope{Type: e.Event.Type, Timestamp: e.OccurredAt().UTC(), Data: data}); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n")), nil
}

// send makes one request. A status of 2xx is a success, whatever follows it. Its errors are *destination.Errors.
func (s *Sink) send(ctx context.Context, id string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, destination.CallTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return &destination.Error{
			Destination: Destination, Class: destination.Permanent, Message: "the request cannot be created", Err: err,
		}
	}
	now := time.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("webhook-signature", sign(s.key, id, now, body))
	// Without a value, it is not sent. It tells net/http that it may repeat the request on a new connection.
	req.Header["Idempotency-Key"] = nil
	resp, err := s.client.Do(req)
	if errors.Is(err, errNotPublic) {
		return &destination.Error{
			Destination: Destination, Class: destination.Unavailable, Message: errNotPublic.Error(), Err: errNotPublic,
		}
	}
	if err != nil {
		return destination.FromTransport(Destination, err)
	}
	defer resp.Body.Close()
	timeout := time.AfterFunc(responseTimeout, cancel)
	defer timeout.Stop()
	_, _ = destination.ReadBody(resp.Body, maxResponse) // So that the connection can be reused.
	if failure := destination.FromResponse(Destination, resp, now); failure != nil {
		return failure
	}
	return nil
}
