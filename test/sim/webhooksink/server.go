// Package webhooksink simulates a receiver of Standard Webhooks over HTTP: it verifies messages with the library of the
// specification, and keeps those that it accepted. It shares no code with the sender.
package webhooksink

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/record"
)

// Message is a message that was accepted, perhaps several times.
type Message struct {
	ID   string
	Type string
	Data json.RawMessage
	// Body is the body of the first delivery; Times are the times of all.
	Body  string
	Times []time.Time
}

// Server is the simulator, an http.Handler.
type Server struct {
	// Secret is the secret that messages are signed with.
	Secret string
	// Faults are the faults of requests.
	Faults fault.Script
	// Requests are all requests, including those that met a fault.
	Requests record.Log

	mu       sync.Mutex
	messages []*Message
	handler  http.Handler
}

// New returns a simulator without messages.
func New() *Server {
	s := &Server{Secret: "whsec_" + base64.StdEncoding.EncodeToString([]byte("a secret of 32 bytes for signing"))}
	s.handler = s.Requests.Wrap(s.Faults.Wrap(http.HandlerFunc(s.receive)))
	return s
}

// ServeHTTP receives a message.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Messages returns the accepted messages, in the order of their first deliveries.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	messages := make([]Message, len(s.messages))
	for i, m := range s.messages {
		messages[i] = *m
		messages[i].Times = append([]time.Time{}, m.Times...)
	}
	return messages
}

// eventType is a type as the specification has it: words, delimited by full stops.
var eventType = regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$`)

func (s *Server) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	verifier, err := standardwebhooks.NewWebhook(s.Secret)
	if err != nil || verifier.Verify(body, r.Header) != nil {
		http.Error(w, "the signature is wrong", http.StatusUnauthorized)
		return
	}
	var envelope struct {
		Type      string          `json:"type"`
		Timestamp time.Time       `json:"timestamp"`
		Data      json.RawMessage `json:"data"`
	}
	var data map[string]any
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || json.Unmarshal(body, &envelope) != nil ||
		!eventType.MatchString(envelope.Type) || envelope.Timestamp.IsZero() || json.Unmarshal(envelope.Data, &data) != nil {
		http.Error(w, "the message is invalid", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.Header.Get("webhook-id")
	for _, m := range s.messages {
		if m.ID == id {
			m.Times = append(m.Times, time.Now())
			if m.Body != string(body) {
				http.Error(w, "the id is that of another message", http.StatusConflict)
				return
			}
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	s.messages = append(s.messages, &Message{
		ID: id, Type: envelope.Type, Data: envelope.Data, Body: string(body), Times: []time.Time{time.Now()},
	})
	w.WriteHeader(http.StatusNoContent)
}
