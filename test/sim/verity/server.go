// Package verity simulates Verity as verity-sync knows it: the HTTP endpoint that webhooks are forwarded to, and a
// database with contacts and leads. It is stricter than a receiver needs to be, so that what passes here passes there,
// and shares no code with the client.
//
// Besides the endpoint it answers control requests below /_sim/: see Server.
package verity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/record"
)

// WebhookPath is where Verity takes GHL's webhooks.
const WebhookPath = "/api/integrations/ghl/webhook"

// bodyLimit is twice what verity-sync accepts itself.
const bodyLimit = 2 << 20

// Server is the simulator, an http.Handler. Its fields are set before it serves.
//
//	GET, POST, DELETE /_sim/faults  see fault.Script
//	GET, DELETE /_sim/requests      see record.Log
//	GET, DELETE /_sim/deliveries    the accepted webhooks, an array of Delivery; ?key= narrows it to one
type Server struct {
	// Faults are what goes wrong with the requests to the endpoint.
	Faults fault.Script
	// Requests are the newest requests to the endpoint, those that met a fault or were refused included.
	Requests record.Log
	// Secret is what X-Middleware-Secret has to be; empty is not checked.
	Secret string
	// OnContact, if set, is called with the phone number (in E.164) and the e-mail address of each webhook that carries
	// one, before it is answered: Verity makes its contacts from the webhooks that it is sent. An error answers 500.
	OnContact func(ctx context.Context, phone, email string) error

	mu         sync.Mutex
	deliveries map[string]*Delivery
	order      []string

	handler http.Handler
}

// Delivery is a webhook that was accepted under its idempotency key.
type Delivery struct {
	Key string `json:"key"`
	// SHA256 is that of the body, in hex.
	SHA256 string `json:"sha256"`
	// Times are when it was accepted: more than one where it was sent again.
	Times []time.Time `json:"times"`
}

// New returns a simulator that was sent nothing yet.
func New() *Server {
	s := &Server{deliveries: map[string]*Delivery{}}
	endpoint := http.NewServeMux()
	endpoint.HandleFunc("POST "+WebhookPath, s.receive)

	root := http.NewServeMux()
	root.Handle("/", s.Requests.Wrap(s.Faults.Wrap(endpoint)))
	root.Handle("/_sim/faults", &s.Faults)
	root.Handle("/_sim/requests", &s.Requests)
	root.HandleFunc("GET /_sim/deliveries", func(w http.ResponseWriter, r *http.Request) {
		key := r.FormValue("key")
		answer(w, http.StatusOK, slices.DeleteFunc(s.Deliveries(), func(d Delivery) bool { return key != "" && d.Key != key }))
	})
	root.HandleFunc("DELETE /_sim/deliveries", func(w http.ResponseWriter, _ *http.Request) {
		s.Forget()
		w.WriteHeader(http.StatusNoContent)
	})
	s.handler = root
	return s
}

// ServeHTTP answers the endpoint and the control requests.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Deliveries returns all accepted webhooks in the order in which they were first accepted.
func (s *Server) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Delivery, len(s.order))
	for i, key := range s.order {
		list[i] = *s.deliveries[key]
		list[i].Times = slices.Clone(list[i].Times)
	}
	return list
}

// Forget drops all deliveries: their keys are new again.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.deliveries)
	s.order = nil
}

// receive is the endpoint.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "the body is too large")
		return
	}
	fields, code, problem := s.check(r, body)
	if problem != "" {
		refuse(w, code, problem)
		return
	}
	if err := s.makeContact(r.Context(), fields); err != nil {
		refuse(w, http.StatusInternalServerError, "the contact could not be stored")
		return
	}
	isNew, same := s.accept(r.Header.Get("Idempotency-Key"), body)
	switch {
	case !same:
		refuse(w, http.StatusUnprocessableEntity, "this idempotency key came with another body before")
	case !isNew:
		answer(w, http.StatusOK, map[string]string{"status": "duplicate"})
	default:
		answer(w, http.StatusOK, map[string]string{"status": "accepted"})
	}
}

// check returns the fields of a webhook that is as it should be, else the status and the reason of the refusal.
func (s *Server) check(r *http.Request, body []byte) (fields payload, code int, problem string) {
	secret := r.Header.Get("X-Middleware-Secret")
	if s.Secret != "" && subtle.ConstantTimeCompare([]byte(secret), []byte(s.Secret)) != 1 {
		return payload{}, http.StatusUnauthorized, "the secret is wrong"
	}
	if r.Header.Get("X-Middleware-Forwarded") != "true" {
		return payload{}, http.StatusBadRequest, "X-Middleware-Forwarded is missing"
	}
	if r.Header.Get("Idempotency-Key") == "" {
		return payload{}, http.StatusBadRequest, "Idempotency-Key is missing"
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return payload{}, http.StatusUnsupportedMediaType, "Content-Type is missing"
	}
	fields, err = parse(mediaType, body)
	switch {
	case errors.Is(err, errMediaType):
		return payload{}, http.StatusUnsupportedMediaType, err.Error()
	case err != nil:
		return payload{}, http.StatusBadRequest, err.Error()
	}
	return fields, 0, ""
}

// accept notes a webhook; isNew is false where its key is known, and same where it then came with the same body.
func (s *Server) accept(key string, body []byte) (isNew, same bool) {
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	known, found := s.deliveries[key]
	if !found {
		known = &Delivery{Key: key, SHA256: hash}
		s.deliveries[key] = known
		s.order = append(s.order, key)
	}
	if known.SHA256 != hash {
		return false, false
	}
	known.Times = append(known.Times, time.Now())
	return !found, true
}

func (s *Server) makeContact(ctx context.Context, fields payload) error {
	if s.OnContact == nil || fields.phone == "" && fields.email == "" {
		return nil
	}
	return s.OnContact(ctx, fields.phone, fields.email)
}

func refuse(w http.ResponseWriter, code int, problem string) {
	answer(w, code, map[string]string{"error": problem})
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}
