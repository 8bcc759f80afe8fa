package ghlapi

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Contact is a contact as the API shows it, reduced to the fields that matter here, and with some that verity-sync must not store.
type Contact struct {
	ID         string `json:"id"`
	LocationID string `json:"locationId"`
	FirstName  string `json:"firstName,omitempty"`
	LastName   string `json:"lastName,omitempty"`
	Email      string `json:"email,omitempty"`
	Phone      string `json:"phone,omitempty"`
	// AdditionalEmails are texts or objects.
	AdditionalEmails []any            `json:"additionalEmails,omitempty"`
	Country          string           `json:"country,omitempty"`
	Tags             []string         `json:"tags"`
	SSN              string           `json:"ssn,omitempty"`
	CustomFields     []map[string]any `json:"customFields,omitempty"`
	DateAdded        time.Time        `json:"dateAdded"`
	DateUpdated      time.Time        `json:"dateUpdated"`
}

// contact is a Contact and what the search still shows of it.
type contact struct {
	Contact
	indexed   *Contact
	indexedAt time.Time
}

// Appointment is a booking as the API shows it.
type Appointment struct {
	ID                string    `json:"id"`
	CalendarID        string    `json:"calendarId,omitempty"`
	LocationID        string    `json:"locationId"`
	ContactID         string    `json:"contactId,omitempty"`
	Title             string    `json:"title,omitempty"`
	AppointmentStatus string    `json:"appointmentStatus,omitempty"`
	StartTime         time.Time `json:"startTime,omitzero"`
	DateAdded         time.Time `json:"dateAdded"`
	DateUpdated       time.Time `json:"dateUpdated"`
}

// PutContact adds a contact or replaces it. Zero dates become the present.
func (s *Server) PutContact(c Contact) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if c.DateAdded.IsZero() {
		c.DateAdded = now
	}
	if c.DateUpdated.IsZero() {
		c.DateUpdated = now
	}
	s.store(c)
}

// store keeps c, and for the search what it has shown so far.
func (s *Server) store(c Contact) {
	c.Tags = slices.Clone(c.Tags)
	if c.Tags == nil {
		c.Tags = []string{}
	}
	next := &contact{Contact: c, indexedAt: s.now().Add(s.SearchLag)}
	if old, ok := s.contacts[c.ID]; ok {
		next.indexed = old.seenBySearch(s.now())
	}
	s.contacts[c.ID] = next
}

// seenBySearch returns the contact as the search knows it at that time, nil where it does not.
func (c *contact) seenBySearch(now time.Time) *Contact {
	if now.Before(c.indexedAt) {
		return c.indexed
	}
	return &c.Contact
}

// Contact returns what the simulator knows of a contact.
func (s *Server) Contact(id string) (Contact, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.contacts[id]
	if !ok {
		return Contact{}, false
	}
	return c.Contact, true
}

// DeleteContact forgets a contact.
func (s *Server) DeleteContact(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.contacts, id)
}

// PutAppointment adds an appointment or replaces it. Zero dates become the present.
func (s *Server) PutAppointment(a Appointment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if a.DateAdded.IsZero() {
		a.DateAdded = now
	}
	if a.DateUpdated.IsZero() {
		a.DateUpdated = now
	}
	s.appointments[a.ID] = a
}

// Appointment returns what the simulator knows of an appointment.
func (s *Server) Appointment(id string) (Appointment, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.appointments[id]
	return a, ok
}

// DeleteAppointment forgets an appointment.
func (s *Server) DeleteAppointment(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.appointments, id)
}

func (s *Server) getAppointment(r *http.Request, locationID string) reply {
	a, known := s.appointments[r.PathValue("id")]
	switch {
	case !known:
		return refuse(http.StatusNotFound, "Appointment not found")
	case a.LocationID != locationID:
		return wrongLocation
	}
	return success(map[string]any{"event": a, "traceId": "00000000-0000-4000-8000-000000000000"})
}

func (s *Server) getContact(r *http.Request, locationID string) reply {
	c, bad := s.contactOf(r, locationID)
	if bad != nil {
		return *bad
	}
	return success(map[string]any{"contact": view(c.Contact)})
}

// contactOf returns the contact that the path names, or the refusal.
func (s *Server) contactOf(r *http.Request, locationID string) (*contact, *reply) {
	c, known := s.contacts[r.PathValue("id")]
	if !known {
		bad := refuse(http.StatusNotFound, "Contact not found")
		return nil, &bad
	}
	if c.LocationID != locationID {
		return nil, &wrongLocation
	}
	return c, nil
}

// view is a contact with what the API derives from it.
func view(c Contact) any {
	return struct {
		Contact
		EmailLowerCase string `json:"emailLowerCase,omitempty"`
	}{c, strings.ToLower(c.Email)}
}

// addTags merges tags into the contact's, which the real API keeps in lower case.
func (s *Server) addTags(r *http.Request, locationID string) reply {
	var body struct {
		Tags []string `json:"tags"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return invalid("each value in tags must be a string", "tags must be an array")
	}
	if len(body.Tags) == 0 || slices.Contains(body.Tags, "") {
		return invalid("tags should not be empty")
	}
	c, bad := s.contactOf(r, locationID)
	if bad != nil {
		return *bad
	}
	changed := c.Contact
	changed.Tags = slices.Clone(c.Tags)
	for _, tag := range body.Tags {
		if tag = strings.ToLower(tag); !slices.Contains(changed.Tags, tag) {
			changed.Tags = append(changed.Tags, tag)
		}
	}
	answer := reply{code: http.StatusCreated, body: map[string]any{"tags": changed.Tags}}
	if len(changed.Tags) > len(c.Tags) {
		changed.DateUpdated = s.now()
		s.store(changed)
		if s.OnTags != nil {
			answer.before = func() { s.OnTags(changed) }
		}
	}
	return answer
}
