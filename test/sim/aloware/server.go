// Package aloware simulates the two calls of Aloware's webhook API that verity-sync uses, over HTTP: it keeps contacts by
// phone number and refuses what the real one refuses, a wrong token with a web page and status 200. It shares no code with
// the client.
package aloware

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/record"
)

// MinuteLimit is how many requests the real API answers in a minute.
const MinuteLimit = 5000

// firstID is the id of the first contact that is created.
const firstID = 70_001

// Contact is a contact as the look-up shows it.
type Contact struct {
	ID          int64  `json:"id"`
	PhoneNumber string `json:"phone_number"`
	FirstName   string `json:"first_name,omitempty"`
	LastName    string `json:"last_name,omitempty"`
	Name        string `json:"name,omitempty"`
	Email       string `json:"email,omitempty"`
	Country     string `json:"country,omitempty"`
	LeadSource  string `json:"lead_source,omitempty"`
}

// Server is the simulator, an http.Handler. Besides the API it answers control requests:
//
//	GET, DELETE /_sim/contacts         all contacts
//	GET, POST, DELETE /_sim/faults     see fault.Script
//	GET, DELETE /_sim/requests         see record.Log
type Server struct {
	// Faults are what goes wrong with the requests to the API.
	Faults fault.Script
	// Requests are the requests that the API was sent, those that met a fault included.
	Requests record.Log
	// Now is the clock of the limit; nil is time.Now.
	Now func() time.Time

	mu       sync.Mutex
	token    string
	contacts []Contact
	recent   []time.Time

	handler http.Handler
}

// New returns a simulator without contacts that wants this token.
func New(token string) *Server {
	s := &Server{token: token}
	api := http.NewServeMux()
	api.HandleFunc("POST /api/v1/webhook/forms", s.postForm)
	api.HandleFunc("GET /api/v1/webhook/contact/phone-number", s.lookUp)

	root := http.NewServeMux()
	root.Handle("/", s.Requests.Wrap(s.Faults.Wrap(api)))
	root.Handle("/_sim/faults", &s.Faults)
	root.Handle("/_sim/requests", &s.Requests)
	root.HandleFunc("GET /_sim/contacts", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, s.Contacts())
	})
	root.HandleFunc("DELETE /_sim/contacts", func(w http.ResponseWriter, _ *http.Request) {
		s.DeleteContacts()
		w.WriteHeader(http.StatusNoContent)
	})
	s.handler = root
	return s
}

// ServeHTTP answers the API and the control requests.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// SetToken replaces the token.
func (s *Server) SetToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}

// Contacts returns all contacts, oldest first.
func (s *Server) Contacts() []Contact {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Contact{}, s.contacts...)
}

// DeleteContacts forgets all contacts.
func (s *Server) DeleteContacts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contacts = nil
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, code int, message string) {
	answer(w, code, map[string]string{"error": message})
}

// admit reports whether a request with this token is served, and answers it where it is not. The limit's window slides.
func (s *Server) admit(w http.ResponseWriter, token string) bool {
	now := time.Now()
	if s.Now != nil {
		now = s.Now()
	}
	for len(s.recent) > 0 && !s.recent[0].After(now.Add(-time.Minute)) {
		s.recent = s.recent[1:]
	}
	if len(s.recent) >= MinuteLimit {
		refuse(w, http.StatusTooManyRequests, "Too Many Attempts.")
		return false
	}
	s.recent = append(s.recent, now)
	if token == "" || token != s.token {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		_, _ = fmt.Fprint(w, "<!DOCTYPE html><title>Aloware</title><form>Sign in</form>")
		return false
	}
	return true
}

// find returns where the contact with a phone number is, -1 where there is none. Numbers are the same when their
// digits are, with or without the country code of the United States.
func (s *Server) find(digits string) int {
	for i := range s.contacts {
		if digitsOf(s.contacts[i].PhoneNumber) == digits {
			return i
		}
	}
	return -1
}

// digitsOf returns the digits of a number, "" where they are no number.
func digitsOf(phone string) string {
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, phone)
	if len(digits) == 10 {
		return "1" + digits
	}
	if len(digits) < 8 || len(digits) > 15 {
		return ""
	}
	return digits
}

const errPhone = "Phone number is empty or invalid."

func (s *Server) lookUp(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	query := r.URL.Query()
	if !s.admit(w, query.Get("api_token")) {
		return
	}
	digits := digitsOf(query.Get("phone_number"))
	if digits == "" {
		refuse(w, http.StatusBadRequest, errPhone)
		return
	}
	i := s.find(digits)
	if i < 0 {
		refuse(w, http.StatusNotFound, "Contact not found.")
		return
	}
	answer(w, http.StatusOK, s.contacts[i])
}

// form is what postForm takes.
type form struct {
	APIToken    string `json:"api_token"`
	ForceUpdate bool   `json:"force_update"`
	Contact
}

func (s *Server) postForm(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var f form
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if media != "application/json" || json.NewDecoder(r.Body).Decode(&f) != nil {
		refuse(w, http.StatusBadRequest, "The request is no JSON object.")
		return
	}
	if !s.admit(w, f.APIToken) {
		return
	}
	digits := digitsOf(f.PhoneNumber)
	if digits == "" {
		refuse(w, http.StatusBadRequest, errPhone)
		return
	}
	i := s.find(digits)
	if i < 0 {
		f.ID = firstID
		if n := len(s.contacts); n > 0 {
			f.ID = s.contacts[n-1].ID + 1
		}
		f.PhoneNumber = "+" + digits
		s.contacts = append(s.contacts, f.Contact)
		answer(w, http.StatusCreated, map[string]string{"message": "Contact created."})
		return
	}
	s.contacts[i].update(&f.Contact, f.ForceUpdate)
	answer(w, http.StatusOK, map[string]string{"message": "Contact updated."})
}

// update fills in what is empty, and with force overwrites what is not. What was not sent stays.
func (c *Contact) update(sent *Contact, force bool) {
	for _, field := range []struct{ have, sent *string }{
		{&c.FirstName, &sent.FirstName},
		{&c.LastName, &sent.LastName},
		{&c.Name, &sent.Name},
		{&c.Email, &sent.Email},
		{&c.Country, &sent.Country},
		{&c.LeadSource, &sent.LeadSource},
	} {
		if *field.sent != "" && (force || *field.have == "") {
			*field.have = *field.sent
		}
	}
}
