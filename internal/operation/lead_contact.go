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

// errNoContact says that no contact of Verity is the appointment's.
var errNoContact = errors.New("no contact")

const (
	nobody       = "no contact has the phone number or e-mail address of the appointment's contact"
	nothingKnown = "neither a phone number nor an e-mail address is known of the appointment's contact"
)

// nobodysError says why an appointment has no contact: there is nobody whose lead could follow it.
type nobodysError string

func (e nobodysError) Error() string { return string(e) }

const (
	nobodysAtGHL     = nobodysError("GoHighLevel says that the appointment has no contact: it is blocked or busy time")
	nobodysByPayload = nobodysError("the webhook has the whole appointment and no contact: it is blocked or busy time")
	nobodysDeleted   = nobodysError("the appointment is deleted, and no webhook has named its contact")
)

// neverKnown is the failure of an event that says nothing of whose the appointment is, where nobody can be asked.
func neverKnown(unusable string) error {
	message := "it names no contact, phone number or e-mail address, and GoHighLevel's API is not configured"
	if unusable != "" {
		message = "it names no contact, and GoHighLevel's API is not configured; " + unusable
	}
	return &failure{reason: v1alpha1.InvalidPayloadReason, err: &destination.Error{
		Destination: "payload", Class: destination.Permanent, Err: errNoContact, Message: message,
	}}
}

func noContact(message string) error {
	err := &destination.Error{Destination: verity.DatabaseDestination, Class: destination.Transient, Message: message, Err: errNoContact}
	return &failure{err: err, reason: v1alpha1.ContactNotFoundReason, notYet: true}
}

// find returns the contact of Verity that the appointment is for. Its phone number and e-mail address are those that are
// kept, else what the payload says, else what GoHighLevel says. What is kept ages: where it leads to nobody, GoHighLevel is
// asked once more, and what the payload says is tried as well.
func (s *leadSync) find(ctx context.Context) (string, error) {
	if err := s.identify(ctx); err != nil {
		return "", err
	}
	mapping := s.known.Contact
	location := s.location(mapping.LocationID)
	kept := particularsOf(
		event.Reach{Phones: listed(mapping.Phone), Emails: listed(mapping.Email)}, s.region(s.person.Country, location))
	said := s.saidOfContact(location)
	if err := s.fillIn(ctx, mapping, said); err != nil {
		return "", err
	}
	if first := kept.or(said); !first.empty() {
		s.details["detailsFrom"] = "payload"
		if !kept.empty() {
			s.details["detailsFrom"] = "mapping"
		}
		contact, found, err := s.lookUp(ctx, first)
		if err != nil || found {
			return contact, err
		}
		if kept.empty() && s.atGHL == nil {
			return "", noContact(nobody)
		}
	}
	asked, err := s.askContact(ctx, mapping)
	if err != nil && (kept.empty() || !locationUnknown(err)) {
		return "", err
	}
	if all := kept.or(said).or(asked); all.empty() {
		if s.known.GHLContactID == "" && s.GHL == nil {
			return "", neverKnown(all.unusable)
		}
		if all.unusable != "" {
			return "", noContact("nothing to look the appointment's contact up by: " + all.unusable)
		}
		return "", noContact(nothingKnown)
	}
	if !asked.empty() {
		s.details["detailsFrom"] = "ghl"
	}
	contact, found, err := s.lookUp(ctx, asked.and(said))
	if err == nil && !found {
		err = noContact(nobody)
	}
	return contact, err
}

// saidOfContact returns what the payload says of the contact, where that is the appointment's: an older event may be about
// the contact that had it before.
func (s *leadSync) saidOfContact(location string) contactKeys {
	if id := s.event.Event.ContactID; id != s.known.GHLContactID && (id != "" || !s.newest) {
		return contactKeys{}
	}
	return particularsOf(s.reach, s.region(s.person.Country, location))
}

// location returns that of the event, else that which is known of the appointment, else where the contact was met before.
func (s *leadSync) location(met string) string {
	return cmp.Or(s.event.Event.LocationID, s.known.LocationID, met)
}

// region returns that of the phone numbers of the appointment's contact. What the payload says of its location counts for that location
// only.
func (s *leadSync) region(country, location string) string {
	of := phoneHints{country: country, location: location}
	if id := s.event.Event.LocationID; id == "" || id == location {
		of.locationCountry = s.locationCountry
	}
	return s.Regions.of(of)
}

// listed returns a list of a text, which is empty where the text is.
func listed(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// fillIn keeps what the payload says where nothing is kept yet. It never replaces anything, as if it were of long ago: a
// workflow may say the phone of a parent or of whoever made the booking, while contact events speak of the contact alone.
func (s *leadSync) fillIn(ctx context.Context, m store.Mapping, said contactKeys) error {
	if s.known.GHLContactID == "" || cmp.Or(said.phone, m.Phone) == m.Phone && cmp.Or(said.email, m.Email) == m.Email {
		return nil
	}
	return s.remember(ctx, said, s.location(""), time.Unix(0, 0))
}

func (s *leadSync) remember(ctx context.Context, p contactKeys, location string, observedAt time.Time) error {
	err := s.Known.RememberContact(ctx, store.Mapping{
		GHLContactID: s.known.GHLContactID, LocationID: location, Phone: p.phone, Email: address(p.email), SaidBy: s.event.ID,
	}, observedAt)
	if err != nil {
		return ownDatabaseError(err)
	}
	return nil
}

// identify finds out whose the appointment is at GoHighLevel: what the events say, else what GoHighLevel says of the
// appointment, else who has the phone number or the e-mail address of the payload there. It may stay unknown.
func (s *leadSync) identify(ctx context.Context) error {
	from, id := "appointments", s.known.GHLContactID
	switch {
	case id != "" && id == s.event.Event.ContactID:
		from = "payload"
	case id != "" && id == s.said.GHLContactID:
		from = "ghl-appointment"
	case id == "":
		var err error
		if id, from, err = s.askWhose(ctx); err != nil || id == "" {
			return err
		}
		// The event says it, as it were, so that it lasts as long as no newer one says something else.
		s.said.GHLContactID = id
		if err := s.merge(ctx); err != nil {
			return err
		}
	}
	s.details["contactIdFrom"] = from
	return nil
}

// askWhose asks GoHighLevel for the contact of an appointment of which no event says one. That it has none is a nobodysError. GoHighLevel
// has the last word; where it cannot be asked, or does not know the appointment, what the webhook says counts.
func (s *leadSync) askWhose(ctx context.Context) (id, from string, err error) {
	location := s.location("")
	said := s.saidOfContact(location)
	if !s.known.Deleted {
		read, found, err := s.askAppointment(ctx, location, s.said.AppointmentID)
		switch contact := strings.TrimSpace(read.ContactID); {
		case locationUnknown(err) && !said.empty():
			return "", "", nil // Verity may know the payload's phone number all the same.
		case locationUnknown(err) && s.booking.NoContact:
			return "", "", nobodysByPayload
		case err != nil:
			return "", "", err
		case found && contact != "":
			s.said.BookedAt = cmp.Or(s.said.BookedAt, s.bookedAt(read))
			return contact, "ghl-appointment", nil
		case found && said.empty():
			return "", "", nobodysAtGHL
		}
		location = cmp.Or(location, read.LocationID)
	}
	switch {
	case said.empty() && s.booking.NoContact:
		return "", "", nobodysByPayload
	case said.empty() && s.known.Deleted:
		return "", "", nobodysDeleted
	}
	if location == "" {
		return "", "", nil // A search is always one of a location.
	}
	found, err := s.search(ctx, location, said)
	if err != nil || found == nil {
		return "", "", err
	}
	s.atGHL = found
	return found.ID, "ghl-search", nil
}

// search asks GoHighLevel who has a phone number, else who has an e-mail address; nil is nobody. It asks for the contact
// that a new one would be a duplicate of, first: that answer is up to date. A location that allows no duplicates looks for
// them by one thing alone (its settings say by which), so that the search of contacts is asked as well. Where that finds
// several, it may be any of them, and is as good as unknown.
func (s *leadSync) search(ctx context.Context, location string, said contactKeys) (*ghlapi.Contact, error) {
	duplicate := func(ctx context.Context, api GHLAPI, p contactKeys) ([]ghlapi.Contact, error) {
		found, err := api.FindDuplicate(ctx, location, p.phone, p.email)
		return []ghlapi.Contact{found}, err
	}
	contacts := func(ctx context.Context, api GHLAPI, p contactKeys) ([]ghlapi.Contact, error) {
		filter := ghlapi.Filter{Field: "phone", Operator: "eq", Value: p.phone}
		if p.phone == "" {
			filter.Field, filter.Value = "email", p.email
		}
		return api.SearchContacts(ctx, location, []ghlapi.Filter{filter})
	}
	for _, search := range []func(context.Context, GHLAPI, contactKeys) ([]ghlapi.Contact, error){duplicate, contacts} {
		for _, p := range []contactKeys{{phone: said.phone}, {email: said.email}} {
			if p.empty() {
				continue
			}
			found, ok, err := ask(ctx, s.GHL, location, func(ctx context.Context, api GHLAPI) ([]ghlapi.Contact, error) {
				return search(ctx, api, p)
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

// askContact returns what GoHighLevel says of the contact, and keeps it.
func (s *leadSync) askContact(ctx context.Context, m store.Mapping) (contactKeys, error) {
	id := s.known.GHLContactID
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
	p := particularsOf(event.Reach{
		Phones: listed(s.atGHL.Phone), Emails: append(listed(s.atGHL.Email), s.atGHL.AdditionalEmails...),
	}, s.region(s.atGHL.Country, cmp.Or(s.atGHL.LocationID, location)))
	return p, s.remember(ctx, p, s.atGHL.LocationID, observed(s.atGHL, s.event))
}

// observed is when a contact was as GoHighLevel has shown it in an attempt.
func observed(c *ghlapi.Contact, e *store.Attempt) time.Time {
	if c.DateUpdated.IsZero() {
		return e.StartedAt
	}
	return c.DateUpdated
}

// lookUp finds a contact in Verity: by its phone number and e-mail address, else by its further ones.
func (s *leadSync) lookUp(ctx context.Context, p contactKeys) (id string, found bool, err error) {
	var contact verity.Contact
	err = s.Breaker.Do(ctx, func(ctx context.Context) (err error) {
		contact, found, err = s.Leads.FindContact(ctx, append([]string{p.phone}, p.phones...), p.email)
		if err == nil && !found && len(p.others.phones) > 0 {
			contact, found, err = s.Leads.FindContact(ctx, p.others.phones, "")
		}
		for _, email := range p.others.emails {
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
