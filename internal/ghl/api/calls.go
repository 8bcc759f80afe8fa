package ghlapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// GetAppointment returns an appointment, or ErrNotFound.
func (c *Client) GetAppointment(ctx context.Context, locationID, id string) (Appointment, error) {
	if err := checkID(locationID, "appointment", id); err != nil {
		return Appointment{}, err
	}
	var body json.RawMessage
	err := c.do(ctx, locationID, call{
		endpoint: EndpointGetAppointment, version: versionCalendars, entity: "appointment",
		method: http.MethodGet, path: "/calendars/events/appointments/" + id,
	}, &body)
	if err != nil {
		return Appointment{}, err
	}
	// GHL's documentation has it under "event" and under "appointment".
	var wrapped struct {
		Event       json.RawMessage `json:"event"`
		Appointment json.RawMessage `json:"appointment"`
	}
	if err := json.Unmarshal(body, &wrapped); err != nil {
		return Appointment{}, malformed(locationID, err)
	}
	switch {
	case wrapped.Event != nil:
		body = wrapped.Event
	case wrapped.Appointment != nil:
		body = wrapped.Appointment
	}
	var found *Appointment
	if err := json.Unmarshal(body, &found); err != nil {
		return Appointment{}, malformed(locationID, err)
	}
	return present(locationID, "appointment", found, func(a *Appointment) string { return a.ID })
}

// GetContact returns a contact, or ErrNotFound.
func (c *Client) GetContact(ctx context.Context, locationID, id string) (Contact, error) {
	if err := checkID(locationID, "contact", id); err != nil {
		return Contact{}, err
	}
	return c.contact(ctx, locationID, call{
		endpoint: EndpointGetContact, version: versionContacts, entity: "contact",
		method: http.MethodGet, path: "/contacts/" + id,
	})
}

// FindDuplicate returns the contact that GHL identifies by this phone number (E.164) or e-mail address, or ErrNotFound. One of the two may
// be empty. The location is required.
func (c *Client) FindDuplicate(ctx context.Context, locationID, phoneE164, email string) (Contact, error) {
	if err := checkSearch(locationID, phoneE164 != "" || email != ""); err != nil {
		return Contact{}, err
	}
	query := url.Values{"locationId": {locationID}}
	if phoneE164 != "" {
		query.Set("number", phoneE164)
	}
	if email != "" {
		query.Set("email", email)
	}
	return c.contact(ctx, locationID, call{
		endpoint: EndpointFindDuplicate, version: versionContacts,
		method: http.MethodGet, path: "/contacts/search/duplicate", query: query,
	})
}

func (c *Client) contact(ctx context.Context, locationID string, call call) (Contact, error) {
	var body struct {
		Contact json.RawMessage `json:"contact"`
	}
	if err := c.do(ctx, locationID, call, &body); err != nil {
		return Contact{}, err
	}
	var found *Contact
	if body.Contact == nil {
		found = &Contact{}
	} else if err := json.Unmarshal(body.Contact, &found); err != nil {
		return Contact{}, malformed(locationID, err)
	}
	return present(locationID, "contact", found, func(c *Contact) string { return c.ID })
}

// Filter is a condition of SearchContacts.
type Filter struct {
	// Field is a field's name in the search: "email", "phone", "firstNameLowerCase", …
	Field string `json:"field"`
	// Operator is "eq", "not_eq", "contains" or "not_contains".
	Operator string `json:"operator"`
	// Value has at most 75 characters.
	Value string `json:"value"`
}

// searchLimit is the maximum number of contacts in the result of a search. GHL allows 500.
const searchLimit = 20

// SearchContacts returns the first 20 contacts that meet all filters. GHL's search index lags by seconds: a contact that it does not find
// may exist. The location is required.
func (c *Client) SearchContacts(ctx context.Context, locationID string, filters []Filter) ([]Contact, error) {
	if err := checkSearch(locationID, len(filters) > 0); err != nil {
		return nil, err
	}
	var body struct {
		Contacts *[]Contact `json:"contacts"`
	}
	err := c.do(ctx, locationID, call{
		endpoint: EndpointSearchContacts, version: versionContacts, method: http.MethodPost, path: "/contacts/search",
		body: struct {
			LocationID string   `json:"locationId"`
			Page       int      `json:"page"`
			PageLimit  int      `json:"pageLimit"`
			Filters    []Filter `json:"filters"`
		}{locationID, 1, searchLimit, filters},
	}, &body)
	if err != nil {
		return nil, err
	}
	if body.Contacts == nil || slices.ContainsFunc(*body.Contacts, func(c Contact) bool { return c.ID == "" }) {
		return nil, failure(locationID, destination.Transient, "the answer has no list of contacts", nil)
	}
	return *body.Contacts, nil
}

// AddTags adds tags to a contact. It returns ErrNotFound if the contact does not exist. A change of tags makes GHL send a ContactTagUpdate:
// see Contact.MissingTags.
func (c *Client) AddTags(ctx context.Context, locationID, contactID string, tags []string) error {
	if err := checkID(locationID, "contact", contactID); err != nil || len(tags) == 0 {
		return err
	}
	return c.do(ctx, locationID, call{
		endpoint: EndpointAddTags, version: versionContacts, entity: "contact",
		method: http.MethodPost, path: "/contacts/" + contactID + "/tags",
		body: struct {
			Tags []string `json:"tags"`
		}{tags},
	}, &struct{}{})
}

// checkID rejects an invalid id, which would become part of a path.
func checkID(locationID, entity, id string) error {
	if !idForm.MatchString(id) {
		return failure(locationID, destination.Permanent, "the "+entity+" id is not valid", ErrValidation)
	}
	return nil
}

// checkSearch rejects a search without a condition or without a location: unlike an id, a phone number does not determine the location.
func checkSearch(locationID string, hasCondition bool) error {
	switch {
	case locationID == "":
		return failure(locationID, destination.Permanent, "the location to search is unknown", ErrLocationUnknown)
	case !hasCondition:
		return failure(locationID, destination.Permanent, "there is nothing to search for", ErrValidation)
	}
	return nil
}

// present returns the entity of an answer. GHL answers null if it does not exist.
func present[E any](locationID, entity string, found *E, id func(*E) string) (E, error) {
	var none E
	if found == nil {
		return none, failure(locationID, destination.Permanent, "GoHighLevel has no such "+entity, ErrNotFound)
	}
	if id(found) == "" {
		return none, failure(locationID, destination.Transient, "the answer has no "+entity, nil)
	}
	return *found, nil
}
