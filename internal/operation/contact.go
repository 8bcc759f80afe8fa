package operation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/aloware"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Aloware is where contacts are synced to; an *aloware.Client does it.
type Aloware interface {
	Sync(ctx context.Context, contact aloware.Contact) (created bool, err error)
	Lookup(ctx context.Context, phoneE164 string) (string, error)
}

// Contact keeps what a contact event says of its contact, and tells Aloware.
type Contact struct {
	Known Knowledge
	// Aloware is nil where it is not configured; Breaker stands before it.
	Aloware Aloware
	Breaker *destination.Breaker
	// GHL is nil where GoHighLevel cannot be asked.
	GHL *GHL
	// Regions are those of phone numbers in national form.
	Regions Regions
	// KeepOnPhoneChange leaves Aloware's contact alone where the phone number has changed. Otherwise Aloware gets, or has, another contact
	// with the new number, since it knows contacts by nothing else.
	KeepOnPhoneChange bool
}

// Name implements Operation.
func (*Contact) Name() string { return store.OperationContact }

// Direction implements Operation.
func (*Contact) Direction() string { return store.DirectionToAloware }

// Run implements Operation.
func (c *Contact) Run(ctx context.Context, e *store.Claimed) Outcome {
	if e.Event.ContactID == "" {
		return Permanent("payload", reasonInvalidPayload, "it names no contact")
	}
	s := &contactSync{Contact: c, event: e, details: map[string]any{}}
	out, err := s.run(ctx)
	if err != nil {
		out = outcomeOf(err)
	}
	out.Details = s.details
	return out
}

// contactSync is one run of Contact.
type contactSync struct {
	*Contact
	event   *store.Claimed
	details map[string]any
}

func (s *contactSync) run(ctx context.Context) (Outcome, error) {
	id := s.event.Event.ContactID
	person, at, locationCountry := ghl.Person{}, s.event.OccurredAt(), ""
	// What was stored decodes; what the earlier middleware stored may say nothing.
	if body, err := ghl.Decode("application/json", s.event.Payload); err == nil {
		person, locationCountry = ghl.PersonOf(body, s.event.Event.EntityType), ghl.LocationCountryOf(body)
	}
	location, err := locationOf(ctx, s.Known, id, s.event.Event.LocationID)
	if err != nil {
		return Outcome{}, err
	}
	if s.event.Event.Truncated && s.event.Event.Type != event.TypeContactDeleted {
		read, found, err := s.reread(ctx, location)
		if err != nil {
			return Outcome{}, err
		}
		if found {
			person = ghl.Person{
				Phone: read.Phone, Email: read.Email, FirstName: read.FirstName, LastName: read.LastName, Country: read.Country,
			}
			location = cmp.Or(location, read.LocationID)
			if read.DateUpdated.After(at) {
				at = read.DateUpdated
			}
		}
	}
	where := whereabouts{person.Country, location, locationCountry}
	contact := aloware.Contact{
		PhoneNumber: s.Regions.e164(person.Phone, where),
		Email:       address(person.Email), FirstName: person.FirstName, LastName: person.LastName, Country: person.Country,
	}
	mapping := store.Mapping{GHLContactID: id, LocationID: location, Phone: contact.PhoneNumber, Email: contact.Email}
	if err := s.Known.RememberContact(ctx, mapping, at); err != nil {
		return Outcome{}, ours(err)
	}
	if mapping, err = mappingOf(ctx, s.Known, id); err != nil {
		return Outcome{}, err
	}
	if s.Aloware != nil && mapping.SyncedOccurredAt != nil && mapping.SyncedOccurredAt.After(at) {
		return Done(resultSuperseded), nil
	}
	if why := s.whyNot(contact, person.Phone != ""); why != "" {
		return Skip(resultContactSkipped, why), nil
	}
	former := s.Regions.e164(mapping.AlowarePhone, where)
	changed := mapping.AlowareContactID != "" && former != "" && former != contact.PhoneNumber
	if changed && s.KeepOnPhoneChange {
		s.details["alowareContactID"] = mapping.AlowareContactID
		return Skip(resultContactSkipped,
			"the phone number changed, and with ALOWARE_ON_PHONE_CHANGE=keep Aloware's contact stays as it is"), nil
	}
	told, alowareID, err := s.send(ctx, contact)
	if told {
		// Also where it does not say the id: an older event is not to overwrite what it was told.
		failpoint.Hit(failpoint.ContactSent)
		if err := s.Known.ContactSynced(ctx, id, store.AlowareContact{ID: alowareID, Phone: contact.PhoneNumber}, at); err != nil {
			return Outcome{}, ours(err)
		}
	}
	if err != nil {
		return Outcome{}, err
	}
	note := s.noteOther(mapping, former == contact.PhoneNumber, alowareID, at)
	return Outcome{Result: resultContactSynced, TargetID: alowareID, Note: note}, nil
}

// noteOther reports that Aloware has another contact than before: for another phone number, or for the same one where somebody
// deleted the former contact there. A run that is repeated, since its outcome was not recorded, reports it again.
func (s *contactSync) noteOther(before store.Mapping, sameNumber bool, alowareID string, at time.Time) string {
	previous := before.AlowareContactID
	form := "the phone number changed: Aloware has the contact %s for the new one, and keeps the contact %s for the former one"
	if sameNumber && previous != alowareID {
		form = "Aloware has the contact %s for the phone number now, in place of the contact %s"
	}
	if n := len(before.FormerAlowareContactIDs); n > 0 && previous == alowareID &&
		before.AlowareSince != nil && before.AlowareSince.Equal(at) {
		previous = before.FormerAlowareContactIDs[n-1]
	}
	if previous == "" || previous == alowareID {
		return ""
	}
	s.details["previousAlowareContactID"] = previous
	note := fmt.Sprintf(form, alowareID, previous)
	s.details["because"] = note
	return note
}

// reread asks GoHighLevel for a contact of whom the event was cut on its way. Where that cannot be done, what has come is
// what there is.
func (s *contactSync) reread(ctx context.Context, location string) (ghlapi.Contact, bool, error) {
	id := s.event.Event.ContactID
	read, found, err := ask(ctx, s.GHL, location, func(ctx context.Context, api GHLAPI) (ghlapi.Contact, error) {
		return api.GetContact(ctx, location, id)
	})
	switch {
	case s.GHL == nil:
		s.details["reread"] = "GoHighLevel's API is not configured"
	case locationUnknown(err):
		s.details["reread"], err = "no token for the location", nil
	case err != nil:
	case !found:
		s.details["reread"] = "GoHighLevel knows no such contact"
	default:
		s.details["reread"] = "done"
	}
	return read, found, err
}

// whyNot says why Aloware is not told, "" where it is.
func (s *contactSync) whyNot(contact aloware.Contact, hasPhone bool) string {
	switch {
	case s.Aloware == nil:
		return "ALOWARE_API_TOKEN is not set: contacts are not synced to Aloware"
	case s.event.Event.Type == event.TypeContactDeleted:
		return "Aloware has no way to delete a contact"
	case s.event.Event.Type == event.TypeContactDndUpdated:
		return "Aloware has no way to take over do-not-disturb settings"
	case s.event.Event.Type == event.TypeContactTagUpdated:
		return "tags are not synced to Aloware"
	case contact.PhoneNumber == "" && hasPhone:
		return "what the contact has for a phone number is none, and Aloware knows contacts by their phone number"
	case contact.PhoneNumber == "":
		return "the contact has no phone number, and Aloware knows contacts by their phone number"
	}
	return ""
}

// send creates or updates the contact and returns its id in Aloware, and whether Aloware has taken it, which it can have without an id.
func (s *contactSync) send(ctx context.Context, contact aloware.Contact) (told bool, id string, err error) {
	err = s.Breaker.Do(ctx, func(ctx context.Context) error {
		created, err := s.Aloware.Sync(ctx, contact)
		if err != nil {
			return err
		}
		told, s.details["created"] = true, created
		id, err = s.Aloware.Lookup(ctx, contact.PhoneNumber)
		return err
	})
	if errors.Is(err, aloware.ErrNotFound) {
		// It was taken a moment ago: it will be found.
		err = &destination.Error{
			Destination: aloware.Destination, Class: destination.Transient, Message: "the contact cannot be found yet", Err: err,
		}
	}
	if err != nil {
		return told, "", heldUp(s.Breaker, err)
	}
	return told, id, nil
}
