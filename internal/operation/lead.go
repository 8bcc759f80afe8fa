package operation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/internal/source"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// LeadSpec declares Lead.
var LeadSpec = Spec{
	Name: store.OperationLead, Direction: store.DirectionToVerity, Condition: v1alpha1.SyncedCondition,
	EntityTypes: []string{event.EntityAppointment},
	Results: []string{
		v1alpha1.ResultLeadUpdated, v1alpha1.ResultLeadInserted, v1alpha1.ResultLeadCleared, v1alpha1.ResultLeadUnchanged,
		v1alpha1.ResultLeadNotInsertable, v1alpha1.ResultLeadSkipped, v1alpha1.ResultSuperseded,
	},
	Unset: "VERITY_DATABASE_URL is not set: leads are not synced",
}

// leadResults are the results of what was done to leads.
var leadResults = map[verity.Outcome]string{
	verity.LeadUpdated: v1alpha1.ResultLeadUpdated, verity.LeadInserted: v1alpha1.ResultLeadInserted,
	verity.LeadCleared: v1alpha1.ResultLeadCleared, verity.LeadUnchanged: v1alpha1.ResultLeadUnchanged,
	verity.LeadNotInsertable: v1alpha1.ResultLeadNotInsertable,
}

// Leads is Verity's database; *verity.Leads implements it.
type Leads interface {
	FindContact(ctx context.Context, phones []string, email string) (verity.Contact, bool, error)
	SyncLead(ctx context.Context, contactID string, desired func(context.Context) (verity.Desired, error)) (verity.Result, error)
}

// Lead keeps the leads of an appointment's contact pointing at the contact's live appointment that was booked last.
//
// A lead is derived from what is known, never assigned: the event is merged into what is known of its appointment, and the
// leads are written from that, under a lock on the contact. So the order of arrival does not matter, and whoever repeats a
// step ends the same:
//
//   - The newest event of an appointment writes, at every repetition: it is activity of the contact.
//   - An older one is superseded and writes nothing, unless the leads are not up to date with what is known of the
//     appointment. That is so where this event has changed what they follow from (by an earlier booking another
//     appointment may have become the last; it can say a status or a contact that no newer event has said), and where
//     somebody died between merging an event and writing the leads: the appointment's revision tells, whoever asks.
//     It then writes only the leads that say something else, so that an old event is no activity.
//   - An appointment that has ended, or is another contact's now, takes away only the leads that point at it.
//
// After the contact of an appointment has changed, the leads of both are derived.
type Lead struct {
	Known   ContactStore
	Leads   Leads
	Breaker *destination.Breaker
	// GHL is nil where GoHighLevel cannot be asked.
	GHL *GHL
	// EndPolicy say which appointments have ended.
	EndPolicy store.EndPolicy
	// Regions are those of phone numbers in national form.
	Regions Regions
}

// Spec implements Operation.
func (*Lead) Spec() Spec { return LeadSpec }

// Run implements Operation.
func (l *Lead) Run(ctx context.Context, e *store.Attempt) Outcome {
	if e.Event.EntityID == "" {
		return Permanent("payload", v1alpha1.InvalidPayloadReason, "it names no appointment")
	}
	s := &leadSync{Lead: l, event: e, details: map[string]any{}, asked: map[string]bool{}}
	out, err := s.run(ctx)
	if err != nil {
		out = outcomeOf(err)
	}
	out.Details = s.details
	return out
}

// leadSync is one run of Lead.
type leadSync struct {
	*Lead
	event   *store.Attempt
	details map[string]any

	// said is what the event says of the appointment, known what all events together say.
	said   store.AppointmentEvent
	known  store.Appointment
	newest bool
	// booking is what the payload says of how it was booked.
	booking event.Booking
	// asked are the appointments whose booking times GoHighLevel was asked for.
	asked map[string]bool

	// person and reach are what the payload says of the contact, and locationCountry what it says of the location.
	person          event.Person
	reach           event.Reach
	locationCountry string
	// atGHL is the contact as GoHighLevel has it, nil where it has not been asked.
	atGHL *ghlapi.Contact
}

func (s *leadSync) run(ctx context.Context) (Outcome, error) {
	if err := s.read(ctx); err != nil {
		return Outcome{}, err
	}
	if err := s.merge(ctx); err != nil {
		return Outcome{}, err
	}
	failpoint.Hit(failpoint.LeadMerged)
	if !s.newest && !s.known.Unsynced {
		return Done(v1alpha1.ResultSuperseded), nil
	}
	// The contact that has lost the appointment does not wait until the one that got it is found.
	left := s.known.FormerContactIDs
	if err := s.release(ctx, left); err != nil {
		return Outcome{}, err
	}
	live := s.known.Active(s.EndPolicy)
	if !live && s.known.VerityContactID != "" {
		// It is for the contact whose leads were written for it: nobody need be found to take them away.
		s.details["verityContactFrom"] = "appointments"
		return s.write(ctx, s.known.VerityContactID)
	}
	contact, err := s.find(ctx)
	nobody, isNobodys := errors.AsType[nobodysError](err)
	switch {
	case (isNobodys || errors.Is(err, errNoContact)) && !live:
		return s.nothingToRelease(ctx)
	case isNobodys:
		return Skip(v1alpha1.ResultLeadSkipped, nobody.Error()), nil
	case err != nil:
		return Outcome{}, err
	}
	if err := s.attach(ctx, contact, left); err != nil {
		return Outcome{}, err
	}
	failpoint.Hit(failpoint.LeadAttached)
	return s.write(ctx, contact)
}

// read takes from the event what it says of the appointment. What was cut on its way is read again.
func (s *leadSync) read(ctx context.Context) error {
	e := s.event.Event
	s.said = store.AppointmentEvent{
		AppointmentID: e.EntityID, LocationID: e.LocationID, GHLContactID: e.ContactID,
		At: s.event.OccurredAt(), Undated: e.OccurredAt.IsZero(), ReceivedAt: s.event.ReceivedAt, EventID: s.event.ID,
		Status: e.AppointmentStatus, Deleted: e.Type == event.TypeAppointmentDeleted,
	}
	// What was stored decodes; what the earlier middleware stored may say nothing.
	if content, err := source.Of(e.Source).Content(s.event.Payload, e, s.event.ReceivedAt); err == nil {
		s.person, s.locationCountry, s.reach, s.booking = content.Person, content.LocationCountry, content.Reach, content.Booking
	}
	s.said.BookedAt, s.said.Creation = s.booking.At, s.booking.Creation
	if !e.Truncated || s.said.Deleted {
		return nil // GoHighLevel has forgotten what was deleted there.
	}
	location, err := locationOf(ctx, s.Known, e.ContactID, e.LocationID)
	if err != nil {
		return err
	}
	read, found, err := s.askAppointment(ctx, location, e.EntityID)
	switch {
	case s.GHL == nil:
		s.details["reread"] = "GoHighLevel's API is not configured"
	case locationUnknown(err):
		s.details["reread"] = "no token for the location"
	case err != nil:
		return err
	case !found:
		s.details["reread"] = "GoHighLevel knows no such appointment"
	default:
		s.details["reread"] = "done"
		s.said.GHLContactID = cmp.Or(read.ContactID, e.ContactID)
		s.said.LocationID = cmp.Or(e.LocationID, read.LocationID)
		s.said.Status = cmp.Or(read.Status, e.AppointmentStatus)
		s.said.BookedAt = cmp.Or(s.said.BookedAt, s.bookedAt(read))
	}
	return nil
}

func (s *leadSync) askAppointment(ctx context.Context, location, id string) (ghlapi.Appointment, bool, error) {
	s.asked[id] = true
	return ask(ctx, s.GHL, location, func(ctx context.Context, api GHLAPI) (ghlapi.Appointment, error) {
		return api.GetAppointment(ctx, location, id)
	})
}

func (s *leadSync) merge(ctx context.Context) error {
	var err error
	if s.known, s.newest, err = s.Known.MergeAppointment(ctx, s.said); err != nil {
		return ownDatabaseError(err)
	}
	return nil
}

// nothingToRelease ends the sync of an appointment that has ended and whose contact cannot be found in Verity: no lead of
// theirs can point at it. What is known of it stays, so that an event that comes late does not revive it.
func (s *leadSync) nothingToRelease(ctx context.Context) (Outcome, error) {
	if err := s.Known.AppointmentSynced(ctx, s.said.AppointmentID, s.known.Revision); err != nil {
		return Outcome{}, ownDatabaseError(err)
	}
	if !s.newest {
		return Done(v1alpha1.ResultSuperseded), nil
	}
	return Skip(v1alpha1.ResultLeadUnchanged, "the appointment has ended, and Verity has no contact whose lead could point at it"), nil
}

// attach records whose the appointment is in Verity, and derives the leads of those that turn out to have had it before.
// left are those that were seen to.
func (s *leadSync) attach(ctx context.Context, contactID string, left []string) error {
	former, err := s.Known.AttachAppointment(ctx, s.said.AppointmentID, s.known.GHLContactID, contactID)
	if err != nil {
		return ownDatabaseError(err)
	}
	return s.release(ctx, slices.DeleteFunc(former, func(id string) bool { return slices.Contains(left, id) }))
}

// write derives the leads of the appointment's contact.
func (s *leadSync) write(ctx context.Context, contactID string) (Outcome, error) {
	scope := verity.AllLeads
	switch {
	case !s.known.Active(s.EndPolicy):
		scope = verity.EndedLeads
	case !s.newest:
		scope = verity.OtherLeads
	}
	result, desired, err := s.derive(ctx, contactID, scope)
	if err != nil {
		return Outcome{}, err
	}
	failpoint.Hit(failpoint.LeadCommitted)
	s.details["leads"] = result.Leads
	if desired.AppointmentID != "" {
		s.details["appointment"] = desired.AppointmentID
	}
	out := Outcome{Result: leadResults[result.Outcome], VerityContactID: contactID, TargetID: contactID, Skipped: result.Because}
	if result.Because != "" {
		return out, nil // The leads stay out of date: the next event of the appointment tries again.
	}
	if err := s.Known.AppointmentSynced(ctx, s.said.AppointmentID, s.known.Revision); err != nil {
		return Outcome{}, ownDatabaseError(err)
	}
	if result.Left > 0 {
		s.details["left"], s.details["uniqueIndex"] = result.Left, result.Constraint
		out.Note = fmt.Sprintf("the unique index %s of Verity's leads lets one lead of the contact point at the appointment: "+
			"%d further leads stay as they are", result.Constraint, result.Left)
	}
	switch {
	case !s.newest && result.Leads == 0:
		out.Result = v1alpha1.ResultSuperseded
	case result.Spared > 0:
		s.details["spared"] = result.Spared
		if result.Leads == 0 {
			out.Skipped = "the contact's lead points at an appointment of which nothing is known, and none of those that are known is " +
				"known to be booked after it"
		}
	}
	return out, nil
}

// release takes the leads of contacts that had the appointment away from it.
func (s *leadSync) release(ctx context.Context, contactIDs []string) error {
	for _, id := range contactIDs {
		result, _, err := s.derive(ctx, id, verity.EndedLeads)
		if err != nil {
			return err
		}
		if result.Leads > 0 {
			s.details["releasedFrom"] = id
		}
		if result.Because != "" {
			s.details["notReleasedFrom"] = id
		}
	}
	return nil
}
