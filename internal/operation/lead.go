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

// leadResults are the events' results, by the outcome at Verity.
var leadResults = map[verity.Outcome]string{
	verity.LeadUpdated: v1alpha1.ResultLeadUpdated, verity.LeadInserted: v1alpha1.ResultLeadInserted,
	verity.LeadCleared: v1alpha1.ResultLeadCleared, verity.LeadUnchanged: v1alpha1.ResultLeadUnchanged,
	verity.LeadNotInsertable: v1alpha1.ResultLeadNotInsertable,
}

// Leads reads contacts and writes leads in Verity's database; *verity.Leads implements it.
type Leads interface {
	FindContact(ctx context.Context, phones []string, email string) (verity.Contact, bool, error)
	SyncLead(ctx context.Context, contactID string, desired func(context.Context) (verity.Desired, error)) (verity.Result, error)
}

// Lead keeps the leads of an appointment's contact pointing at the contact's live appointment that was booked last.
//
// A lead is derived, never assigned: the event is merged into the stored appointment, and the leads are written from the state of
// all the contact's appointments, under a lock on the contact. So the result does not depend on the order of arrival or on
// repetitions:
//
//   - The newest event of an appointment writes the leads, at every repetition: it is activity of the contact.
//   - An older event is superseded and writes nothing, unless the leads are out of date. That is the case if this event
//     has changed the appointment (it reports an earlier booking, so that another appointment may be the last one, or a
//     status or a contact that no newer event has), or if a process died between the merge of an event and the write of
//     the leads: the appointment's revision shows it. The event then writes only leads that differ, so that an old event
//     is no activity.
//   - An appointment that has ended, or that now belongs to another contact, changes only the leads that point at it.
//
// After the contact of an appointment has changed, the leads of both contacts are derived.
type Lead struct {
	Store   ContactStore
	Leads   Leads
	Breaker *destination.Breaker
	// GHL is nil if it is not configured.
	GHL *GHL
	// EndPolicy says which appointments have ended.
	EndPolicy store.EndPolicy
	// Regions are the regions of phone numbers in national form.
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

	// reported is the appointment's data in the event, appointment the merged data of all its events.
	reported    store.AppointmentEvent
	appointment store.Appointment
	newest      bool
	// booking is the payload's data on the booking.
	booking event.Booking
	// asked are the appointments that were requested from GoHighLevel.
	asked map[string]bool

	// person and reach are the payload's data on the contact, locationCountry is its data on the location.
	person          event.Person
	reach           event.Reach
	locationCountry string
	// atGHL is the contact at GoHighLevel; nil if it was not requested.
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
	if !s.newest && !s.appointment.Unsynced {
		return Done(v1alpha1.ResultSuperseded), nil
	}
	// The leads of former contacts do not wait until the new contact is found.
	former := s.appointment.FormerContactIDs
	if err := s.clearFormerContacts(ctx, former); err != nil {
		return Outcome{}, err
	}
	live := s.appointment.Active(s.EndPolicy)
	if !live && s.appointment.VerityContactID != "" {
		// It concerns the contact whose leads were written: no lookup is needed.
		s.details["verityContactFrom"] = "appointments"
		return s.write(ctx, s.appointment.VerityContactID)
	}
	contact, err := s.find(ctx)
	without, isWithout := errors.AsType[withoutContactError](err)
	switch {
	case (isWithout || errors.Is(err, errContactNotFound)) && !live:
		return s.nothingToRelease(ctx)
	case isWithout:
		return Skip(v1alpha1.ResultLeadSkipped, without.Error()), nil
	case err != nil:
		return Outcome{}, err
	}
	if err := s.attach(ctx, contact, former); err != nil {
		return Outcome{}, err
	}
	failpoint.Hit(failpoint.LeadAttached)
	return s.write(ctx, contact)
}

// read reads the appointment's data from the event. If the payload was cut, it requests the appointment from GoHighLevel.
func (s *leadSync) read(ctx context.Context) error {
	e := s.event.Event
	s.reported = store.AppointmentEvent{
		AppointmentID: e.EntityID, LocationID: e.LocationID, GHLContactID: e.ContactID,
		At: s.event.OccurredAt(), Undated: e.OccurredAt.IsZero(), ReceivedAt: s.event.ReceivedAt, EventID: s.event.ID,
		Status: e.AppointmentStatus, Deleted: e.Type == event.TypeAppointmentDeleted,
	}
	// Stored payloads decode, except some of the legacy middleware.
	if content, err := source.Of(e.Source).Content(s.event.Payload, e, s.event.ReceivedAt); err == nil {
		s.person, s.locationCountry, s.reach, s.booking = content.Person, content.LocationCountry, content.Reach, content.Booking
	}
	s.reported.BookedAt, s.reported.Creation = s.booking.At, s.booking.Creation
	if !e.Truncated || s.reported.Deleted {
		return nil // GoHighLevel does not return deleted appointments.
	}
	location, err := locationOf(ctx, s.Store, e.ContactID, e.LocationID)
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
		s.details["reread"] = "GoHighLevel has no such appointment"
	default:
		s.details["reread"] = "done"
		s.reported.GHLContactID = cmp.Or(read.ContactID, e.ContactID)
		s.reported.LocationID = cmp.Or(e.LocationID, read.LocationID)
		s.reported.Status = cmp.Or(read.Status, e.AppointmentStatus)
		s.reported.BookedAt = cmp.Or(s.reported.BookedAt, s.bookedAt(read))
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
	if s.appointment, s.newest, err = s.Store.MergeAppointment(ctx, s.reported); err != nil {
		return ownDatabaseError(err)
	}
	return nil
}

// nothingToRelease completes the sync of an appointment that has ended and whose contact is not in Verity: no lead points at it. The
// appointment stays stored, so that a late event does not revive it.
func (s *leadSync) nothingToRelease(ctx context.Context) (Outcome, error) {
	if err := s.Store.AppointmentSynced(ctx, s.reported.AppointmentID, s.appointment.Revision); err != nil {
		return Outcome{}, ownDatabaseError(err)
	}
	if !s.newest {
		return Done(v1alpha1.ResultSuperseded), nil
	}
	return Skip(v1alpha1.ResultLeadUnchanged, "the appointment has ended, and Verity has no contact whose lead could point at it"), nil
}

// attach records the appointment's contact in Verity, and derives the leads of its former contacts, except those in released.
func (s *leadSync) attach(ctx context.Context, contactID string, released []string) error {
	former, err := s.Store.AttachAppointment(ctx, s.reported.AppointmentID, s.appointment.GHLContactID, contactID)
	if err != nil {
		return ownDatabaseError(err)
	}
	return s.clearFormerContacts(ctx, slices.DeleteFunc(former, func(id string) bool { return slices.Contains(released, id) }))
}

// write derives the leads of the appointment's contact.
func (s *leadSync) write(ctx context.Context, contactID string) (Outcome, error) {
	scope := verity.AllLeads
	switch {
	case !s.appointment.Active(s.EndPolicy):
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
		return out, nil // The leads stay out of date: the appointment's next event writes them.
	}
	if err := s.Store.AppointmentSynced(ctx, s.reported.AppointmentID, s.appointment.Revision); err != nil {
		return Outcome{}, ownDatabaseError(err)
	}
	if result.Left > 0 {
		s.details["left"], s.details["uniqueIndex"] = result.Left, result.Constraint
		out.Note = fmt.Sprintf("the unique index %s of Verity's leads allows only one lead of the contact to point at the appointment: "+
			"%d other leads are not changed", result.Constraint, result.Left)
	}
	switch {
	case !s.newest && result.Leads == 0:
		out.Result = v1alpha1.ResultSuperseded
	case result.Spared > 0:
		s.details["spared"] = result.Spared
		if result.Leads == 0 {
			out.Skipped = "the contact's lead points at an unknown appointment, and no other appointment is known to be booked later; " +
				"the lead is not changed"
		}
	}
	return out, nil
}

// clearFormerContacts derives the leads of former contacts that point at the appointment.
func (s *leadSync) clearFormerContacts(ctx context.Context, contactIDs []string) error {
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
