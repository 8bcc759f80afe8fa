// Package ghlapi simulates GoHighLevel's REST API over HTTP, as far as verity-sync uses it: it keeps locations, contacts
// and appointments, and is as strict about tokens, headers, parameters and limits as its documentation says the real one
// is, so that a client that passes here would pass there. It shares no code with that client.
//
// Besides the API it answers control requests below /_sim/: see Server.
package ghlapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/record"
)

// The versions that the endpoints want in the header "Version".
const (
	calendarsVersion = "2021-04-15"
	contactsVersion  = "2021-07-28"
)

// Server is the simulator, an http.Handler. Everything it does can be set up from Go, or over HTTP:
//
//	PUT, GET, DELETE /_sim/locations/{id}     a Location
//	PUT, GET, DELETE /_sim/contacts/{id}      a Contact
//	PUT, GET, DELETE /_sim/appointments/{id}  an Appointment
//	GET, POST, DELETE /_sim/faults            see fault.Script
//	GET, DELETE /_sim/requests                see record.Log
type Server struct {
	// Faults are what goes wrong with the requests to the API.
	Faults fault.Script
	// Requests are the requests that the API was sent, those that met a fault included.
	Requests record.Log
	// OnTags, if set, is called when a request has changed a contact's tags, before it is answered. The real API posts
	// a ContactTagUpdate to the location's webhooks.
	OnTags func(Contact)
	// SearchLag is how long a change to a contact stays unseen by the contact search.
	SearchLag time.Duration
	// Now is the clock of tokens and limits; nil is time.Now.
	Now func() time.Time

	mu           sync.Mutex
	locations    map[string]*location
	contacts     map[string]*contact
	appointments map[string]Appointment

	handler http.Handler
}

// New returns a simulator without contacts.
func New() *Server {
	s := &Server{locations: map[string]*location{}, contacts: map[string]*contact{}, appointments: map[string]Appointment{}}
	api := http.NewServeMux()
	api.Handle("GET /calendars/events/appointments/{id}", s.endpoint(calendarsVersion, s.getAppointment))
	api.Handle("GET /contacts/{id}", s.endpoint(contactsVersion, s.getContact))
	api.Handle("GET /contacts/search/duplicate", s.endpoint(contactsVersion, s.findDuplicate))
	api.Handle("POST /contacts/search", s.endpoint(contactsVersion, s.searchContacts))
	api.Handle("POST /contacts/{id}/tags", s.endpoint(contactsVersion, s.addTags))
	api.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(http.StatusNotFound, fmt.Sprintf("Cannot %s %s", r.Method, r.URL.Path)).write(w)
	})

	root := http.NewServeMux()
	root.Handle("/", s.Requests.Wrap(s.Faults.Wrap(api)))
	root.Handle("/_sim/faults", &s.Faults)
	root.Handle("/_sim/requests", &s.Requests)
	s.mountControl(root)
	s.handler = root
	return s
}

// ServeHTTP answers the API and the control requests.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

func (s *Server) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// reply is an answer of the API, and what is to happen before it is given, without the lock.
type reply struct {
	code   int
	body   any
	before func()
}

func (a reply) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(a.code)
	_ = json.NewEncoder(w).Encode(a.body)
}

// refuse answers an error in the API's form.
func refuse(code int, message string) reply {
	return reply{code: code, body: map[string]any{"statusCode": code, "message": message, "error": http.StatusText(code)}}
}

// invalid answers 422, where the message is a list, one sentence for each broken rule.
func invalid(messages ...string) reply {
	const code = http.StatusUnprocessableEntity
	return reply{code: code, body: map[string]any{"statusCode": code, "message": messages, "error": http.StatusText(code)}}
}

func success(body any) reply { return reply{code: http.StatusOK, body: body} }

var wrongLocation = refuse(http.StatusForbidden, "The token does not have access to this location.")

// endpoint makes the checks that all endpoints have in common, and calls do under the lock, with the location of the token.
func (s *Server) endpoint(version string, do func(r *http.Request, locationID string) reply) http.Handler {
	answer := func(r *http.Request, h http.Header) reply {
		s.mu.Lock()
		defer s.mu.Unlock()
		loc, bad := s.authorize(r)
		if bad != nil {
			return *bad
		}
		switch r.Header.Get("Version") {
		case version:
		case "":
			return refuse(http.StatusUnauthorized, "version header was not found.")
		default:
			return refuse(http.StatusUnauthorized, "version header is invalid")
		}
		if !loc.spend(s.now(), h) {
			return refuse(http.StatusTooManyRequests, "Too Many Requests")
		}
		return do(r, loc.ID)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := answer(r, w.Header())
		if a.before != nil {
			a.before()
		}
		a.write(w)
	})
}

// authorize returns the location that the request's token belongs to, or the refusal.
func (s *Server) authorize(r *http.Request) (*location, *reply) {
	bad := refuse(http.StatusUnauthorized, "Invalid token: access token is invalid")
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	for _, loc := range s.locations {
		if token == "" || loc.Token != token {
			continue
		}
		if !loc.TokenExpires.IsZero() && !s.now().Before(loc.TokenExpires) {
			bad = refuse(http.StatusUnauthorized, "Invalid token: access token is expired")
			return nil, &bad
		}
		return loc, nil
	}
	return nil, &bad
}
