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

// Contact stores what a contact event says about its contact, and syncs the contact to Aloware.
type Contact struct {
	Known ContactStore
	// Aloware and its Breaker are nil if Aloware is not configured.
	Aloware Aloware
	Breaker *destination.Breaker
	// GHL is nil if it is not configured.
	GHL *GHL
	// Regions are those of phone numbers in national form.
	Regions Regions
	// KeepOnPhoneChange keeps Aloware's contact unchanged if the phone number has changed. Otherwise Aloware gets another contact with
	// the new number, since it identifies contacts by nothing else.
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

// contactSaid is the data of a contact from the event, completed from GoHighLevel if the event says too little.
type contactSaid struct {
	person                    event.Person
	reach                     event.Reach
	location, locationCountry string
	at                        time.Time
	// silent is true if neither says whether the contact has a phone number.
	silent bool
}

// read returns the contact's data from the event. A webhook without any phone number does not mean that the contact has none: then,
// and if the payload was cut, read asks GoHighLevel.
func (s *contactSync) read(ctx context.Context) (said contactSaid, err error) {
	said.at = s.event.OccurredAt()
	// Stored payloads decode, except some of the legacy middleware.
	e := s.event.Event
	if content, err := source.Of(e.Source).Content(s.event.Payload, e, s.event.ReceivedAt); err == nil {
		said.person, said.locationCountry, said.reach = content.Person, content.LocationCountry, content.Reach
	}
	if said.location, err = locationOf(ctx, s.Known, s.event.Event.ContactID, s.event.Event.LocationID); err != nil {
		return said, err
	}
	said.silent = len(said.reach.Phones) == 0 && !said.reach.NoPhone
	cut := s.event.Event.Truncated && s.event.Event.Type != event.TypeContactDeleted
	if !cut && (!said.silent || s.GHL == nil || s.unsynced() != "") {
		return said, nil
	}
	known, found, err := s.reread(ctx, said.location)
	if err != nil || !found {
		return said, err
	}
	said.silent = false
	person := event.Person{
		Phone: known.Phone, Email: known.Email, FirstName: known.FirstName, LastName: known.LastName, Country: known.Country,
	}
	if !cut {
		person = fillPerson(said.person, person)
	}
	said.person, said.reach.Phones = person, listed(known.Phone)
	if cut || len(said.reach.Emails) == 0 {
		said.reach.Emails = append(listed(known.Email), known.AdditionalEmails...)
	}
	said.location = cmp.Or(said.location, known.LocationID)
	if known.DateUpdated.After(said.at) {
		said.at = known.DateUpdated
	}
	return said, nil
}

func (s *contactSync) run(ctx context.Context) (Outcome, error) {
	said, err := s.read(ctx)
	if err != nil {
		return Outcome{}, err
	}
	id, person, at := s.event.Event.ContactID, said.person, said.at
	where := phoneHints{person.Country, said.location, said.locationCountry}
	usable := particularsOf(said.reach, s.Regions.of(where))
	contact := aloware.Contact{
		PhoneNumber: usable.phone,
		Email:       address(usable.email), FirstName: person.FirstName, LastName: person.LastName, Country: person.Country,
	}
	mapping := store.Mapping{
		GHLContactID: id, LocationID: said.location, Phone: contact.PhoneNumber, Email: contact.Email, SaidBy: s.event.ID,
	}
	if err := s.Known.RememberContact(ctx, mapping, at); err != nil {
		return Outcome{}, ownDatabaseError(err)
	}
	if mapping, err = mappingOf(ctx, s.Known, id); err != nil {
		return Outcome{}, err
	}
	if s.Aloware != nil && mapping.SyncedOccurredAt != nil && mapping.SyncedOccurredAt.After(at) {
		return Done(v1alpha1.ResultSuperseded), nil
	}
	if said.silent {
		contact.PhoneNumber = s.Regions.e164(mapping.Phone, where)
		contact.Email = cmp.Or(contact.Email, mapping.Email)
	}
	if why := s.whyNot(contact, said.reach.Phones, where); why != "" {
		return Skip(v1alpha1.ResultContactSkipped, why), nil
	}
	former := s.Regions.e164(mapping.AlowarePhone, where)
	changed := mapping.AlowareContactID != "" && former != "" && former != contact.PhoneNumber
	if changed && s.KeepOnPhoneChange {
		s.details["alowareContactID"] = mapping.AlowareContactID
		return Skip(v1alpha1.ResultContactSkipped,
			"the phone number changed, and with ALOWARE_ON_PHONE_CHANGE=keep Aloware's contact stays as it is"), nil
	}
	accepted, alowareID, err := s.send(ctx, contact)
	if accepted {
		// Even without the id: an older event must not overwrite the contact.
		failpoint.Hit(failpoint.ContactSent)
		if err := s.Known.ContactSynced(ctx, id, store.AlowareContact{ID: alowareID, Phone: contact.PhoneNumber}, at); err != nil {
			return Outcome{}, ownDatabaseError(err)
		}
	}
	if err != nil {
		return Outcome{}, err
	}
	note := s.noteOther(mapping, former == contact.PhoneNumber, alowareID, at)
	return Outcome{Result: v1alpha1.ResultContactSynced, TargetID: alowareID, Note: note}, nil
}

// noteOther reports that Aloware has another contact than before: for another phone number, or for the same one after the former
// contact was deleted there. A repeated run, whose outcome was not recorded, reports it again.
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
		s.details["reread"] = "GoHighLevel knows no such contact"
	default:
		s.details["reread"] = "done"
	}
	return read, found, err
}

// fillPerson returns said, with missing fields from known.
func fillPerson(said, known event.Person) event.Person {
	if said.FirstName == "" && said.LastName == "" {
		said.FirstName, said.LastName = known.FirstName, known.LastName
	}
	said.Phone, said.Email = cmp.Or(said.Phone, known.Phone), cmp.Or(said.Email, known.Email)
	said.Country = cmp.Or(said.Country, known.Country)
	return said
}

// unsynced says why events of this type are not synced to Aloware, "" if they are.
func (s *contactSync) unsynced() string {
	switch {
	case s.Aloware == nil:
		return "ALOWARE_API_TOKEN is not set: contacts are not synced to Aloware"
	case s.event.Event.Type == event.TypeContactDeleted:
		return "Aloware has no way to delete a contact"
	case s.event.Event.Type == event.TypeContactDndUpdated:
		return "Aloware has no way to take over do-not-disturb settings"
	case s.event.Event.Type == event.TypeContactTagUpdated:
		return "tags are not synced to Aloware"
	}
	return ""
}

// whyNot says why the contact is not synced to Aloware, "" if it is. typed are the contact's phone numbers as typed.
func (s *contactSync) whyNot(contact aloware.Contact, typed []string, where phoneHints) string {
	switch why := s.unsynced(); {
	case why != "":
		return why
	case contact.PhoneNumber != "":
		return ""
	case len(typed) > 0:
		return "the contact's phone number is unusable, and Aloware knows contacts by their phone number: " +
			phone.Unusable(typed[0], s.Regions.of(where))
	default:
		return "the contact has no phone number, and Aloware knows contacts by their phone number"
	}
}

// send creates or updates the contact. It returns the contact's id in Aloware, and whether Aloware accepted the contact, which can
// be the case without an id.
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
