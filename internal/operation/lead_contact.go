package operation

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// errContactNotFound is the cause of a failed search for the appointment's contact in Verity.
var errContactNotFound = errors.New("contact not found")

const (
	noMatch       = "no contact has the phone number or e-mail address of the appointment's contact"
	noContactKeys = "neither a phone number nor an e-mail address of the appointment's contact is known"
)

// withoutContactError says why an appointment has no contact. No lead follows such an appointment.
type withoutContactError string

func (e withoutContactError) Error() string { return string(e) }

const (
	withoutContactAtGHL     = withoutContactError("GoHighLevel says that the appointment has no contact: it is blocked or busy time")
	withoutContactInPayload = withoutContactError("the webhook has the whole appointment and no contact: it is blocked or busy time")
	withoutContactDeleted   = withoutContactError("the appointment is deleted, and no webhook has named its contact")
)

// contactUnidentified is the failure of an event that does not identify the appointment's contact, if GoHighLevel's API is not configured.
func contactUnidentified(unusable string) error {
	message := "it names no contact, phone number or e-mail address, and GoHighLevel's API is not configured"
	if unusable != "" {
		message = "it names no contact, and GoHighLevel's API is not configured; " + unusable
	}
	return &failure{reason: v1alpha1.InvalidPayloadReason, err: &destination.Error{
		Destination: "payload", Class: destination.Permanent, Err: errContactNotFound, Message: message,
	}}
}

func contactNotFound(message string) error {
	err := &destination.Error{
		Destination: verity.DatabaseDestination, Class: destination.Transient, Message: message, Err: errContactNotFound,
	}
	return &failure{err: err, reason: v1alpha1.ContactNotFoundReason, notYet: true}
}

// find returns the appointment's contact in Verity. It looks it up by the stored phone number and e-mail address, else by those of the
// payload, else by those that GoHighLevel has. Stored values can be outdated: if they match no contact, find tries those of GoHighLevel
// and the payload.
func (s *leadSync) find(ctx context.Context) (string, error) {
	if err := s.identify(ctx); err != nil {
		return "", err
	}
	mapping := s.appointment.Contact
	location := s.location(mapping.LocationID)
	stored := contactKeysOf(
		event.Reach{Phones: listOf(mapping.Phone), Emails: listOf(mapping.Email)}, s.region(s.person.Country, location))
	payload := s.payloadKeys(location)
	if err := s.storeMissing(ctx, mapping, payload); err != nil {
		return "", err
	}
	if first := stored.or(payload); !first.empty() {
		s.details["detailsFrom"] = "payload"
		if !stored.empty() {
			s.details["detailsFrom"] = "mapping"
		}
		contact, found, err := s.lookUp(ctx, first)
		if err != nil || found {
			return contact, err
		}
		if stored.empty() && s.atGHL == nil {
			return "", contactNotFound(noMatch)
		}
	}
	atGHL, err := s.askContact(ctx, mapping)
	if err != nil && (stored.empty() || !locationUnknown(err)) {
		return "", err
	}
	if all := stored.or(payload).or(atGHL); all.empty() {
		if s.appointment.GHLContactID == "" && s.GHL == nil {
			return "", contactUnidentified(all.unusable)
		}
		if all.unusable != "" {
			return "", contactNotFound("the appointment's contact cannot be looked up: " + all.unusable)
		}
		return "", contactNotFound(noContactKeys)
	}
	if !atGHL.empty() {
		s.details["detailsFrom"] = "ghl"
	}
	contact, found, err := s.lookUp(ctx, atGHL.and(payload))
	if err == nil && !found {
		err = contactNotFound(noMatch)
	}
	return contact, err
}

// payloadKeys returns the payload's contact keys. It returns none if they may be a former contact's, as in an older event.
func (s *leadSync) payloadKeys(location string) contactKeys {
	if id := s.event.Event.ContactID; id != s.appointment.GHLContactID && (id != "" || !s.newest) {
		return contactKeys{}
	}
	return contactKeysOf(s.reach, s.region(s.person.Country, location))
}

// location returns the event's location, else the appointment's, else the one that is stored for the contact.
func (s *leadSync) location(stored string) string {
	return cmp.Or(s.event.Event.LocationID, s.appointment.LocationID, stored)
}

// region returns the region of the contact's phone numbers. The payload's country of its location applies to that location only.
func (s *leadSync) region(country, location string) string {
	hints := phoneHints{country: country, location: location}
	if id := s.event.Event.LocationID; id == "" || id == location {
		hints.locationCountry = s.locationCountry
	}
	return s.Regions.of(hints)
}

// listOf returns a list of one text, or an empty list if the text is empty.
func listOf(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// storeMissing stores the payload's contact keys where none are stored yet. It uses the oldest time, so that they replace nothing: a
// workflow may send the phone number of a parent, while contact events are about the contact only.
func (s *leadSync) storeMissing(ctx context.Context, m store.Mapping, payload contactKeys) error {
	if s.appointment.GHLContactID == "" || cmp.Or(payload.phone, m.Phone) == m.Phone && cmp.Or(payload.email, m.Email) == m.Email {
		return nil
	}
	return s.remember(ctx, payload, s.location(""), time.Unix(0, 0))
}

func (s *leadSync) remember(ctx context.Context, keys contactKeys, location string, observedAt time.Time) error {
	err := s.Store.RememberContact(ctx, store.Mapping{
		GHLContactID: s.appointment.GHLContactID, LocationID: location, Phone: keys.phone, Email: address(keys.email), SaidBy: s.event.ID,
	}, observedAt)
	if err != nil {
		return ownDatabaseError(err)
	}
	return nil
}

// identify finds the id of the appointment's contact at GoHighLevel: from the events, else from the appointment at GoHighLevel, else by
// a search there for the payload's phone number or e-mail address. The id may stay unknown.
func (s *leadSync) identify(ctx context.Context) error {
	from, id := "appointments", s.appointment.GHLContactID
	switch {
	case id != "" && id == s.event.Event.ContactID:
		from = "payload"
	case id != "" && id == s.reported.GHLContactID:
		from = "ghl-appointment"
	case id == "":
		var err error
		if id, from, err = s.askContactID(ctx); err != nil || id == "" {
			return err
		}
		// The id counts as the event's, so that a newer event can replace it.
		s.reported.GHLContactID = id
		if err := s.merge(ctx); err != nil {
			return err
		}
	}
	s.details["contactIdFrom"] = from
	return nil
}

// askContactID asks GoHighLevel for the contact of an appointment whose events name none. It returns a withoutContactError if the
// appointment has no contact: according to GoHighLevel, or to the webhook if GoHighLevel cannot be asked or has no such appointment.
func (s *leadSync) askContactID(ctx context.Context) (id, from string, err error) {
	location := s.location("")
	payload := s.payloadKeys(location)
	if !s.appointment.Deleted {
		read, found, err := s.askAppointment(ctx, location, s.reported.AppointmentID)
		switch contact := strings.TrimSpace(read.ContactID); {
		case locationUnknown(err) && !payload.empty():
			return "", "", nil // Verity may have the payload's phone number.
		case locationUnknown(err) && s.booking.NoContact:
			return "", "", withoutContactInPayload
		case err != nil:
			return "", "", err
		case found && contact != "":
			s.reported.BookedAt = cmp.Or(s.reported.BookedAt, s.bookedAt(read))
			return contact, "ghl-appointment", nil
		case found && payload.empty():
			return "", "", withoutContactAtGHL
		}
		location = cmp.Or(location, read.LocationID)
	}
	switch {
	case payload.empty() && s.booking.NoContact:
		return "", "", withoutContactInPayload
	case payload.empty() && s.appointment.Deleted:
		return "", "", withoutContactDeleted
	}
	if location == "" {
		return "", "", nil // A search needs a location.
	}
	found, err := s.search(ctx, location, payload)
	if err != nil || found == nil {
		return "", "", err
	}
	s.atGHL = found
	return found.ID, "ghl-search", nil
}

// search searches GoHighLevel for the contact with a phone number, else for the one with an e-mail address; nil is none. It first calls
// the search for duplicates, since that answer is up to date. But a location that allows no duplicates compares only one field, which
// its settings name. So search also calls the search for contacts. If that finds several, the contact is unknown.
func (s *leadSync) search(ctx context.Context, location string, keys contactKeys) (*ghlapi.Contact, error) {
	duplicate := func(ctx context.Context, api GHLAPI, key contactKeys) ([]ghlapi.Contact, error) {
		found, err := api.FindDuplicate(ctx, location, key.phone, key.email)
		return []ghlapi.Contact{found}, err
	}
	contacts := func(ctx context.Context, api GHLAPI, key contactKeys) ([]ghlapi.Contact, error) {
		filter := ghlapi.Filter{Field: "phone", Operator: "eq", Value: key.phone}
		if key.phone == "" {
			filter.Field, filter.Value = "email", key.email
		}
		return api.SearchContacts(ctx, location, []ghlapi.Filter{filter})
	}
	for _, search := range []func(context.Context, GHLAPI, contactKeys) ([]ghlapi.Contact, error){duplicate, contacts} {
		for _, key := range []contactKeys{{phone: keys.phone}, {email: keys.email}} {
			if key.empty() {
				continue
			}
			found, ok, err := ask(ctx, s.GHL, location, func(ctx context.Context, api GHLAPI) ([]ghlapi.Contact, error) {
				return search(ctx, api, key)
			})
			if err != nil && !locationUnknown(err) {
				return nil, err
			}
			if ok && len(found) == 1 {
				return &found[0], nil
			}
		}
	}
	return nil, nil
}

// askContact requests the contact from GoHighLevel, stores its contact keys and returns them.
func (s *leadSync) askContact(ctx context.Context, m store.Mapping) (contactKeys, error) {
	id := s.appointment.GHLContactID
	if id == "" {
		return contactKeys{}, nil
	}
	location := s.location(m.LocationID)
	if s.atGHL == nil {
		read, found, err := ask(ctx, s.GHL, location, func(ctx context.Context, api GHLAPI) (ghlapi.Contact, error) {
			return api.GetContact(ctx, location, id)
		})
		if err != nil || !found {
			return contactKeys{}, err
		}
		s.atGHL = &read
	}
	keys := contactKeysOf(event.Reach{
		Phones: listOf(s.atGHL.Phone), Emails: append(listOf(s.atGHL.Email), s.atGHL.AdditionalEmails...),
	}, s.region(s.atGHL.Country, cmp.Or(s.atGHL.LocationID, location)))
	return keys, s.remember(ctx, keys, s.atGHL.LocationID, observedAt(s.atGHL, s.event))
}

// observedAt returns the time of the data that GoHighLevel returned for a contact: its last change, else the attempt's start.
func observedAt(c *ghlapi.Contact, e *store.Attempt) time.Time {
	if c.DateUpdated.IsZero() {
		return e.StartedAt
	}
	return c.DateUpdated
}

// lookUp finds a contact in Verity: by its phone number and e-mail address, else by its other ones.
func (s *leadSync) lookUp(ctx context.Context, keys contactKeys) (id string, found bool, err error) {
	var contact verity.Contact
	err = s.Breaker.Do(ctx, func(ctx context.Context) (err error) {
		contact, found, err = s.Leads.FindContact(ctx, append([]string{keys.phone}, keys.phones...), keys.email)
		if err == nil && !found && len(keys.others.phones) > 0 {
			contact, found, err = s.Leads.FindContact(ctx, keys.others.phones, "")
		}
		for _, email := range keys.others.emails {
			if err != nil || found {
				break
			}
			contact, found, err = s.Leads.FindContact(ctx, nil, email)
		}
		return err
	})
	if err != nil {
		return "", false, breakerError(s.Breaker, err)
	}
	if found {
		s.details["matchedBy"] = string(contact.MatchedBy)
	}
	return contact.ID, found, nil
}
