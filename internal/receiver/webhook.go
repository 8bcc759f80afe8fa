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
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// sighting is what became known of a webhook on its way in, for the log.
type sighting struct {
	bytes int
	proof ghl.Proof
	event event.Event
	// delivery and receipt are set once it is stored.
	delivery store.Delivery
	receipt  *store.Receipt
}

func (s *Server) serveWebhook(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	if s.draining.Load() {
		s.lastPost.Store(started.UnixNano())
	}
	var seen sighting
	a := s.intake(r, &seen)
	s.write(w, r, a)
	if seen.receipt != nil && r.Context().Err() != nil && s.cfg.Unanswered != nil {
		// The sender has hung up, so that it does not have its answer.
		s.cfg.Unanswered(seen.delivery, *seen.receipt)
	}
	took := time.Since(started)
	s.cfg.Metrics.Answered(event.SourceGHL, a.code, took)
	s.logWebhook(a, seen, took)
}

// intake takes one webhook in. A panic is answered 429: what tripped us may be gone with the next version, and until
// then GHL has the event.
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
		// It may have been cut by a proxy or by a network that is ours: a whole one is welcome.
		return later("incomplete", fmt.Errorf("read the body: %w", err))
	}
	failpoint.Hit(failpoint.ReceiverRead)
	// Slow senders have not taken a slot up to here.
	if !s.slots.TryAcquire(1) {
		a = later("overloaded", errBusy)
	} else {
		defer s.slots.Release(1)
		a = s.accept(r, raw, held, seen)
	}
	a.bodyRead = true
	return a
}

// accept stores a webhook that is authentic, and that the lists of apps and locations allow.
func (s *Server) accept(r *http.Request, raw []byte, held *charge, seen *sighting) answer {
	unpacked := &charge{budget: s.bodies}
	defer unpacked.release()
	webhook, refused := s.decode(r, raw, unpacked, seen)
	switch {
	case ghl.IsUnparseable(refused.cause) && seen.proof == ghl.ProofSecret:
		return s.keepUnparseable(r, webhook.text, refused.cause, seen)
	case refused.code != 0:
		return refused
	}
	body := webhook.body
	if body.Raw != nil {
		// A form is held twice: as it came, and as JSON.
		if err := held.raise(int64(len(body.Raw) + len(body.Payload))); err != nil {
			return later("overloaded", err)
		}
	}
	headers := headersOf(r.Header, webhook.declared)
	if contentEncoding(r.Header) != "" {
		delete(headers, http.CanonicalHeaderKey(ghl.HeaderSignature)) // It is over the bytes as they were received.
	}
	return s.commit(r.Context(), store.Delivery{
		Event:      seen.event,
		Payload:    body.Payload,
		Raw:        body.Raw,
		Occurrence: body.IsOccurrence(seen.event),
		Headers:    headers,
		BodyHash:   sha256.Sum256(webhook.text),
	}, seen)
}

// webhook is what a request has in it.
type webhook struct {
	// text is the body's bytes, unpacked.
	text     []byte
	body     ghl.Body
	declared ghl.Declaration
}

// decode authenticates the bytes before it looks at what is in them. It returns the answer to a webhook that is not to be stored, which is
// the zero answer for any other. Few large bodies are decoded at a time: what that allocates is many times their size. What is unpacked is
// charged to unpacked.
func (s *Server) decode(r *http.Request, raw []byte, unpacked *charge, seen *sighting) (w webhook, refused answer) {
	size := len(raw)
	if contentEncoding(r.Header) != "" {
		size = maxBody // As long as it may become.
	}
	cost := decodingOf(size, len(r.URL.RawQuery))
	if !s.mayDecode(r.Context(), cost) {
		return w, later("overloaded", errBusy)
	}
	defer s.decoding.Release(cost)

	query := ghl.QueryOf(r.URL.RawQuery)
	proof, err := s.cfg.Verifier.Authenticate(r.Header, query, raw)
	if err != nil {
		return w, refuse(http.StatusUnauthorized, "unauthenticated", err)
	}
	seen.proof = proof
	if w.text, refused = unpack(r.Header, raw, unpacked); refused.code != 0 {
		return w, refused
	}
	w.body, err = ghl.Decode(r.Header.Get("Content-Type"), w.text)
	if errors.Is(err, ghl.ErrFormTooLarge) {
		return w, refuse(http.StatusRequestEntityTooLarge, "too large", err)
	}
	if err == nil && proof == ghl.ProofSecret {
		w.declared = ghl.DeclarationOf(r.Header, query)
		w.body, err = w.body.Declare(w.declared)
	}
	if err != nil {
		return w, refuse(http.StatusBadRequest, "malformed", err)
	}
	request := ghl.Request{Header: r.Header, Query: query, Raw: raw, Body: w.body}
	seen.proof, seen.event, err = s.cfg.Verifier.Admit(proof, request, ghl.Normalise(w.body, time.Now()))
	switch {
	case errors.Is(err, ghl.ErrLocationIgnored):
		s.cfg.Metrics.Ignored()
		return w, answer{code: http.StatusOK, body: status{Status: "ignored"}, outcome: "ignored"}
	case err != nil:
		return w, refuse(http.StatusForbidden, "forbidden", err)
	}
	return w, answer{}
}

// mayDecode waits until that many bytes may be allocated, and reports whether they may. The sender may have gone meanwhile.
func (s *Server) mayDecode(ctx context.Context, cost int64) bool {
	if s.decoding.TryAcquire(cost) {
		return true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	return s.decoding.Acquire(ctx, cost) == nil
}

// keepUnparseable stores a body that cannot be read, as it came: GoHighLevel does not send it again after a 400, and it may
// be an event of ours with a value that broke it. Nothing in it can be trusted, so that no list of apps or locations is
// asked. Beyond the rate it is asked for again.
func (s *Server) keepUnparseable(r *http.Request, raw []byte, fault error, seen *sighting) answer {
	if !s.unparseable.Allow() {
		return later("unparseable, too many", fmt.Errorf("%w: %w", errUnparseableRate, fault))
	}
	hash := sha256.Sum256(raw)
	seen.event = event.Event{
		Source: event.SourceGHL, Type: event.TypeUnparseable, EntityType: event.EntityUnknown,
		DedupeKey: event.SourceGHL + ":" + event.TypeUnparseable + ":" + hex.EncodeToString(hash[:]),
	}
	a := s.commit(r.Context(), store.Delivery{
		Event: seen.event, Payload: []byte("{}"), Raw: raw, Headers: headersOf(r.Header, ghl.Declaration{}), BodyHash: hash,
	}, seen)
	if a.outcome == accepted {
		a.outcome, a.cause = event.TypeUnparseable, fault
		a.body = status{ID: seen.receipt.ID.String(), Status: event.TypeUnparseable}
	}
	return a
}

// commit stores a delivery even if its sender has gone: one that timed out may never come again.
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

// logWebhook writes one line that tells all there is to tell. What was stored is a debug line: there are the metrics,
// the database and the WebhookEvents to look at. Those that are refused cannot fill the log.
func (s *Server) logWebhook(a answer, seen sighting, took time.Duration) {
	if a.code == http.StatusOK && a.cause == nil && !s.cfg.Log.V(1).Enabled() {
		return // What is taken in is by far the most, and not worth a line that nobody will read.
	}
	log := s.cfg.Log.WithValues("outcome", a.outcome, "code", a.code, "bytes", seen.bytes, "seconds", took.Seconds())
	if seen.event.Type != "" {
		log = log.WithValues("proof", seen.proof.String(), "type", seen.event.Type, "entity", seen.event.EntityID,
			"location", seen.event.LocationID)
	}
	if seen.receipt != nil {
		log = log.WithValues("id", seen.receipt.ID.String())
	}
	if a.code == http.StatusOK && a.cause == nil {
		log.V(1).Info("webhook taken in")
		return
	}
	suppressed, ok := s.refusals.admit(a.outcome)
	if !ok {
		return
	}
	log = log.WithValues("suppressed", suppressed)
	switch {
	case a.code == http.StatusOK:
		log.Info("webhook stored though it cannot be read, its event ends in Error", "reason", a.cause.Error())
	case a.outcome == uncertain:
		log.Error(a.cause, "webhook may be stored, asked to send it again, which is a duplicate then")
	case a.code == http.StatusTooManyRequests:
		log.Error(a.cause, "webhook not stored, asked to send it again")
	default:
		log.Info("webhook refused", "reason", a.cause.Error())
	}
}

// describePanic says what p is without what it holds, which may be a piece of the payload.
func describePanic(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return "panic: " + err.Error()
	}
	return fmt.Sprintf("panic: a %T", p)
}
