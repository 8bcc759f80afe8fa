package operation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/aloware"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/internal/phone"
	"github.com/dfmiddleware/verity-sync/internal/source"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Aloware creates, updates and looks up contacts; *aloware.Client implements it.
type Aloware interface {
	Sync(ctx context.Context, contact aloware.Contact) (created bool, err error)
	Lookup(ctx context.Context, phoneE164 string) (string, error)
}

// ContactSpec declares Contact.
var ContactSpec = Spec{
	Name: store.OperationContact, Direction: store.DirectionToAloware, Condition: v1alpha1.SyncedCondition,
	EntityTypes: []string{event.EntityContact},
	Results:     []string{v1alpha1.ResultContactSynced, v1alpha1.ResultContactSkipped, v1alpha1.ResultSuperseded},
}

// Contact stores the contact of a contact event, and syncs it to Aloware.
type Contact struct {
	Store ContactStore
	// Aloware and its Breaker are nil if Aloware is not configured.
	Aloware Aloware
	Breaker *destination.Breaker
	// GHL is nil if it is not configured.
	GHL *GHL
	// Regions are the regions of phone numbers in national form.
	Regions Regions
	// KeepOnPhoneChange keeps Aloware's contact unchanged if the phone number has changed. Otherwise Aloware gets another contact with
	// the new number, since it identifies contacts by phone number only.
	KeepOnPhoneChange bool
}

// Spec implements Operation.
func (*Contact) Spec() Spec { return ContactSpec }

// Run implements Operation.
func (c *Contact) Run(ctx context.Context, e *store.Attempt) Outcome {
	if e.Event.ContactID == "" {
		return Permanent("payload", v1alpha1.InvalidPayloadReason, "it names no contact")
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
	event   *store.Attempt
	details map[string]any
}

// contactData is the data of a contact from the event, completed from GoHighLevel if the event has too little.
type contactData struct {
	person                    event.Person
	reach                     event.Reach
	location, locationCountry string
	at                        time.Time
	// phoneUnknown is true if neither the event nor GoHighLevel shows whether the contact has a phone number.
	phoneUnknown bool
}

// read returns the contact's data from the event. A webhook without any phone number does not mean that the contact has none: then,
// and if the payload was cut, read asks GoHighLevel.
func (s *contactSync) read(ctx context.Context) (data contactData, err error) {
	data.at = s.event.OccurredAt()
	// Stored payloads decode, except some of the legacy middleware.
	e := s.event.Event
	if content, err := source.Of(e.Source).Content(s.event.Payload, e, s.event.ReceivedAt); err == nil {
		data.person, data.locationCountry, data.reach = content.Person, content.LocationCountry, content.Reach
	}
	if data.location, err = locationOf(ctx, s.Store, s.event.Event.ContactID, s.event.Event.LocationID); err != nil {
		return data, err
	}
	data.phoneUnknown = len(data.reach.Phones) == 0 && !data.reach.NoPhone
	cut := s.event.Event.Truncated && s.event.Event.Type != event.TypeContactDeleted
	if !cut && (!data.phoneUnknown || s.GHL == nil || s.unsynced() != "") {
		return data, nil
	}
	contact, found, err := s.reread(ctx, data.location)
	if err != nil || !found {
		return data, err
	}
	data.phoneUnknown = false
	person := event.Person{
		Phone: contact.Phone, Email: contact.Email, FirstName: contact.FirstName, LastName: contact.LastName, Country: contact.Country,
	}
	if !cut {
		person = fillPerson(data.person, person)
	}
	data.person, data.reach.Phones = person, listOf(contact.Phone)
	if cut || len(data.reach.Emails) == 0 {
		data.reach.Emails = append(listOf(contact.Email), contact.AdditionalEmails...)
	}
	data.location = cmp.Or(data.location, contact.LocationID)
	if contact.DateUpdated.After(data.at) {
		data.at = contact.DateUpdated
	}
	return data, nil
}

func (s *contactSync) run(ctx context.Context) (Outcome, error) {
	data, err := s.read(ctx)
	if err != nil {
		return Outcome{}, err
	}
	id, person, at := s.event.Event.ContactID, data.person, data.at
	hints := phoneHints{person.Country, data.location, data.locationCountry}
	keys := contactKeysOf(data.reach, s.Regions.of(hints))
	contact := aloware.Contact{
		PhoneNumber: keys.phone,
		Email:       address(keys.email), FirstName: person.FirstName, LastName: person.LastName, Country: person.Country,
	}
	mapping := store.Mapping{
		GHLContactID: id, LocationID: data.location, Phone: contact.PhoneNumber, Email: contact.Email, SaidBy: s.event.ID,
	}
	if err := s.Store.RememberContact(ctx, mapping, at); err != nil {
		return Outcome{}, ownDatabaseError(err)
	}
	if mapping, err = mappingOf(ctx, s.Store, id); err != nil {
		return Outcome{}, err
	}
	if s.Aloware != nil && mapping.SyncedOccurredAt != nil && mapping.SyncedOccurredAt.After(at) {
		return Done(v1alpha1.ResultSuperseded), nil
	}
	if data.phoneUnknown {
		contact.PhoneNumber = s.Regions.e164(mapping.Phone, hints)
		contact.Email = cmp.Or(contact.Email, mapping.Email)
	}
	if reason := s.skipReason(contact, data.reach.Phones, hints); reason != "" {
		return Skip(v1alpha1.ResultContactSkipped, reason), nil
	}
	former := s.Regions.e164(mapping.AlowarePhone, hints)
	changed := mapping.AlowareContactID != "" && former != "" && former != contact.PhoneNumber
	if changed && s.KeepOnPhoneChange {
		s.details["alowareContactID"] = mapping.AlowareContactID
		return Skip(v1alpha1.ResultContactSkipped,
			"the phone number changed; with ALOWARE_ON_PHONE_CHANGE=keep, Aloware's contact is not changed"), nil
	}
	accepted, alowareID, err := s.send(ctx, contact)
	if accepted {
		// Even without the id: an older event must not overwrite the contact.
		failpoint.Hit(failpoint.ContactSent)
		if err := s.Store.ContactSynced(ctx, id, store.AlowareContact{ID: alowareID, Phone: contact.PhoneNumber}, at); err != nil {
			return Outcome{}, ownDatabaseError(err)
		}
	}
	if err != nil {
		return Outcome{}, err
	}
	note := s.noteNewContact(mapping, former == contact.PhoneNumber, alowareID, at)
	return Outcome{Result: v1alpha1.ResultContactSynced, TargetID: alowareID, Note: note}, nil
}

// noteNewContact reports that Aloware has another contact than before: for another phone number, or for the same one after the former
// contact was deleted there. A repeated run, whose outcome was not recorded, reports it again.
func (s *contactSync) noteNewContact(before store.Mapping, sameNumber bool, alowareID string, at time.Time) string {
	previous := before.AlowareContactID
	form := "the phone number changed: Aloware has contact %s for the new number, and keeps contact %s for the former number"
	if sameNumber && previous != alowareID {
		form = "Aloware now has contact %s for the phone number, in place of contact %s"
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

// reread asks GoHighLevel for the contact. If that is not possible, the event's own data is used.
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
		s.details["reread"] = "GoHighLevel has no such contact"
	default:
		s.details["reread"] = "done"
	}
	return read, found, err
}

// fillPerson returns person, with missing fields from other.
func fillPerson(person, other event.Person) event.Person {
	if person.FirstName == "" && person.LastName == "" {
		person.FirstName, person.LastName = other.FirstName, other.LastName
	}
	person.Phone, person.Email = cmp.Or(person.Phone, other.Phone), cmp.Or(person.Email, other.Email)
	person.Country = cmp.Or(person.Country, other.Country)
	return person
}

// unsynced returns the reason why events of this type are not synced to Aloware, or "" if they are.
func (s *contactSync) unsynced() string {
	switch {
	case s.Aloware == nil:
		return "ALOWARE_API_TOKEN is not set: contacts are not synced to Aloware"
	case s.event.Event.Type == event.TypeContactDeleted:
		return "Aloware's API cannot delete a contact"
	case s.event.Event.Type == event.TypeContactDndUpdated:
		return "Aloware's API cannot store do-not-disturb settings"
	case s.event.Event.Type == event.TypeContactTagUpdated:
		return "tags are not synced to Aloware"
	}
	return ""
}

// skipReason returns the reason why the contact is not synced to Aloware, or "" if it is. typed are the contact's phone numbers as typed.
func (s *contactSync) skipReason(contact aloware.Contact, typed []string, hints phoneHints) string {
	switch reason := s.unsynced(); {
	case reason != "":
		return reason
	case contact.PhoneNumber != "":
		return ""
	case len(typed) > 0:
		return "the contact's phone number is unusable, and Aloware identifies contacts by phone number: " +
			phone.Unusable(typed[0], s.Regions.of(hints))
	default:
		return "the contact has no phone number, and Aloware identifies contacts by phone number"
	}
}

// send creates or updates the contact. It returns whether Aloware accepted the contact, and the contact's id there. The id can be
// missing although Aloware accepted the contact.
func (s *contactSync) send(ctx context.Context, contact aloware.Contact) (accepted bool, id string, err error) {
	err = s.Breaker.Do(ctx, func(ctx context.Context) error {
		created, err := s.Aloware.Sync(ctx, contact)
		if err != nil {
			return err
		}
		accepted, s.details["created"] = true, created
		id, err = s.Aloware.Lookup(ctx, contact.PhoneNumber)
		return err
	})
	if errors.Is(err, aloware.ErrNotFound) {
		// Aloware has just accepted it, so a later lookup will find it.
		err = &destination.Error{
			Destination: aloware.Destination, Class: destination.Transient, Message: "the contact cannot be found yet", Err: err,
		}
	}
	if err != nil {
		return accepted, "", breakerError(s.Breaker, err)
	}
	return accepted, id, nil
}
