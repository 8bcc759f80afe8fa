package receiver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// sighting is what is known about a request so far. The log line shows it.
type sighting struct {
	source Source
	bytes  int
	sender event.Sender
	event  event.Event
	// delivery and receipt are set once the delivery is stored.
	delivery store.Delivery
	receipt  *store.Receipt
}

func (s *Server) serveWebhook(w http.ResponseWriter, r *http.Request, source Source) {
	started := time.Now()
	if s.draining.Load() {
		s.lastWebhook.Store(started.UnixNano())
	}
	seen := sighting{source: source}
	a := s.intake(r, &seen)
	s.write(w, r, a)
	if seen.receipt != nil && r.Context().Err() != nil && s.cfg.Unanswered != nil {
		// The sender has closed the connection, so it does not have the answer.
		s.cfg.Unanswered(seen.delivery, *seen.receipt)
	}
	took := time.Since(started)
	s.cfg.Metrics.Answered(source.Name(), a.code, took)
	s.logWebhook(a, seen, took)
}

// intake reads one request and stores its webhook. A panic is answered 429: the next release may handle what caused it, and until then the
// sender keeps the webhook.
func (s *Server) intake(r *http.Request, seen *sighting) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Metrics.Panicked()
			a = later("panic", fmt.Errorf("%s\n%s", describePanic(p), debug.Stack()))
		}
	}()
	if r.Method != http.MethodPost {
		return notAllowed(http.MethodPost)
	}
	failpoint.Hit(failpoint.ReceiverAccepted)
	held := &charge{budget: s.bodies}
	defer held.release()
	raw, err := readBody(r, held)
	seen.bytes = len(raw)
	switch {
	case errors.Is(err, errTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "too large", err)
	case errors.Is(err, errBusy):
		return later("overloaded", err)
	case err != nil:
		// A proxy or a network on this side may have cut it. The sender can send it again, complete.
		return later("incomplete", fmt.Errorf("read the body: %w", err))
	}
	failpoint.Hit(failpoint.ReceiverRead)
	// A request takes a slot only now, so that slow senders hold none.
	if !s.slots.TryAcquire(1) {
		a = later("overloaded", errInFlight)
	} else {
		defer s.slots.Release(1)
		a = s.accept(r, raw, held, seen)
	}
	a.bodyRead = true
	return a
}

// accept stores a webhook if its source accepts it.
func (s *Server) accept(r *http.Request, raw []byte, held *charge, seen *sighting) answer {
	unpacked := &charge{budget: s.bodies}
	defer unpacked.release()
	text, webhook, refused := s.decode(r, raw, unpacked, seen)
	switch {
	case isUnparseable(refused.cause):
		return s.keepUnparseable(r, text, webhook.Headers, refused.cause, seen)
	case refused.code != 0:
		return refused
	}
	if webhook.Raw != nil {
		// A form is in memory twice: as received, and as JSON.
		if err := held.raise(int64(len(webhook.Raw) + len(webhook.Payload))); err != nil {
			return later("overloaded", err)
		}
	}
	return s.commit(r.Context(), store.Delivery{
		Event:      webhook.Event,
		Payload:    webhook.Payload,
		Raw:        webhook.Raw,
		Occurrence: webhook.Occurrence,
		Headers:    headersOf(r.Header, webhook.Headers),
		BodyHash:   sha256.Sum256(text),
	}, seen)
}

// decode authenticates the bytes before it looks at their content. It returns the body without its content encoding, charged to unpacked,
// and what the source reads from it. The answer is the zero answer unless the webhook is not stored. Decoding allocates many times the size
// of a body, so few large bodies are decoded at a time.
func (s *Server) decode(
	r *http.Request, raw []byte, unpacked *charge, seen *sighting,
) (text []byte, webhook event.Webhook, refused answer) {
	size := len(raw)
	if contentEncoding(r.Header) != "" {
		size = maxBody // The most that it can become.
	}
	cost := decodingOf(size, len(r.URL.RawQuery))
	if !s.mayDecode(r.Context(), cost) {
		return nil, webhook, later("overloaded", errMemory)
	}
	defer s.decoding.Release(cost)

	sender, err := seen.source.Authenticate(event.Request{Header: r.Header, RawQuery: r.URL.RawQuery, Body: raw})
	if err != nil {
		return nil, webhook, s.refusalOf(err)
	}
	seen.sender = sender
	if text, refused = unpack(r.Header, raw, unpacked); refused.code != 0 {
		return nil, webhook, refused
	}
	webhook, err = sender.Decode(text, time.Now())
	seen.event = webhook.Event
	switch {
	case isUnparseable(err):
		return text, webhook, answer{cause: err}
	case err != nil:
		return text, webhook, s.refusalOf(err)
	}
	return text, webhook, answer{}
}

// mayDecode waits until that many bytes may be allocated, and reports whether they may. It waits even if the sender closes the connection.
func (s *Server) mayDecode(ctx context.Context, cost int64) bool {
	if s.decoding.TryAcquire(cost) {
		return true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	return s.decoding.Acquire(ctx, cost) == nil
}

// keepUnparseable stores a body that cannot be decoded, as received. Its content cannot be trusted, so the lists of apps and locations do
// not apply. Above the rate it is answered 429.
func (s *Server) keepUnparseable(r *http.Request, text []byte, headers map[string]string, fault error, seen *sighting) answer {
	if !s.unparseable.Allow() {
		return later("unparseable, too many", fmt.Errorf("%w: %w", errUnparseableRate, fault))
	}
	hash := sha256.Sum256(text)
	source := seen.source.Name()
	seen.event = event.Event{
		Source: source, Type: event.TypeUnparseable, EntityType: event.EntityUnknown,
		DedupeKey: source + ":" + event.TypeUnparseable + ":" + hex.EncodeToString(hash[:]),
	}
	a := s.commit(r.Context(), store.Delivery{
		Event: seen.event, Payload: []byte("{}"), Raw: text, Headers: headersOf(r.Header, headers), BodyHash: hash,
	}, seen)
	if a.outcome == accepted {
		a.outcome, a.cause = event.TypeUnparseable, fault
		a.body = status{ID: seen.receipt.ID.String(), Status: event.TypeUnparseable}
	}
	return a
}

// commit stores a delivery even if its sender has closed the connection: the sender may never send it again.
func (s *Server) commit(ctx context.Context, d store.Delivery, seen *sighting) answer {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	failpoint.Hit(failpoint.ReceiverVerified)
	receipt, err := s.cfg.Committer.Commit(ctx, d)
	if err != nil {
		if destination.ClassOf(err) == destination.Permanent {
			return refuse(http.StatusBadRequest, "malformed", err)
		}
		if errors.Is(err, store.ErrUncertain) {
			return mayBeStored(err)
		}
		return later("not stored", err)
	}
	failpoint.Hit(failpoint.ReceiverCommitted)
	seen.delivery, seen.receipt = d, &receipt
	outcome := accepted
	if receipt.Duplicate {
		s.cfg.Metrics.Duplicate()
		outcome = "duplicate"
	}
	return answer{code: http.StatusOK, body: status{ID: receipt.ID.String(), Status: outcome}, outcome: outcome}
}

// logWebhook writes one line with everything that is known about a request. A stored webhook is a debug line: metrics, the database and
// WebhookEvents show it. The number of other lines is limited.
func (s *Server) logWebhook(a answer, seen sighting, took time.Duration) {
	if a.code == http.StatusOK && a.cause == nil && !s.cfg.Log.V(1).Enabled() {
		return // The common case: build no line that is not written.
	}
	log := s.cfg.Log.WithValues(
		"source", seen.source.Name(), "outcome", a.outcome, "code", a.code, "bytes", seen.bytes, "seconds", took.Seconds())
	if seen.event.Type != "" {
		log = log.WithValues("proof", seen.sender.Proof(), "type", seen.event.Type, "entity", seen.event.EntityID,
			"location", seen.event.LocationID)
	}
	if seen.receipt != nil {
		log = log.WithValues("event", seen.receipt.ID.String())
	}
	if a.code == http.StatusOK && a.cause == nil {
		log.V(1).Info("webhook accepted")
		return
	}
	suppressed, ok := s.refusals.admit(a.outcome)
	if !ok {
		return
	}
	log = log.WithValues("suppressed", suppressed)
	switch {
	case a.code == http.StatusOK:
		log.Info("webhook stored, but it cannot be parsed; its event ends in Error", "error", a.cause.Error())
	case a.outcome == uncertain:
		log.Error(a.cause, "webhook may be stored; the sender sends it again, and no event is lost or doubled")
	case a.code == http.StatusTooManyRequests:
		log.Error(a.cause, "webhook not stored; the sender sends it again")
	default:
		log.Info("webhook rejected; it is not stored", "error", a.cause.Error())
	}
}

// describePanic returns the kind of a panic without its value, which may be a piece of the payload.
func describePanic(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return "panic: " + err.Error()
	}
	return fmt.Sprintf("panic: a %T", p)
}
