package operation

import (
	"context"
	"errors"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// TagsSpec declares Tags.
var TagsSpec = Spec{
	Name: store.OperationTags, Direction: store.DirectionToGHL, Condition: v1alpha1.SyncedCondition,
	EntityTypes: []string{event.EntityAppointment}, After: store.OperationLead,
}

// Tags adds tags to the contact of an appointment at GoHighLevel. It adds only missing tags, so there is no loop: GoHighLevel reports
// an added tag as a contact event, which adds no tags. Tags runs after Lead, which finds the contact.
//
// Its outcome is never Skipped, even if there is nothing to add: the event shows the result of its lead.
type Tags struct {
	Store ContactStore
	GHL   *GHL
	Tags  []string
	// EndPolicy says which appointments have ended. They get no tags.
	EndPolicy store.EndPolicy
}

// Spec implements Operation.
func (*Tags) Spec() Spec { return TagsSpec }

// Run implements Operation.
func (t *Tags) Run(ctx context.Context, e *store.Attempt) Outcome {
	appointment, err := t.Store.Appointment(ctx, e.Event.EntityID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return outcomeOf(ownDatabaseError(err))
	}
	switch {
	case appointment.GHLContactID == "":
		return nothingAdded("the appointment's contact at GoHighLevel is unknown")
	case appointment.Deleted || !appointment.Active(t.EndPolicy):
		return nothingAdded("the appointment has ended")
	}
	location, err := locationOf(ctx, t.Store, appointment.GHLContactID, e.Event.LocationID, appointment.LocationID)
	if err != nil {
		return outcomeOf(err)
	}
	contact, found, err := ask(ctx, t.GHL, location, func(ctx context.Context, api GHLAPI) (ghlapi.Contact, error) {
		return api.GetContact(ctx, location, appointment.GHLContactID)
	})
	if err != nil {
		return outcomeOf(err)
	}
	if !found {
		return nothingAdded("GoHighLevel has no such contact")
	}
	missing := contact.MissingTags(t.Tags)
	if len(missing) == 0 {
		return nothingAdded("the contact already has the tags")
	}
	err = t.GHL.do(ctx, location, func(ctx context.Context) error {
		return t.GHL.API.AddTags(ctx, location, appointment.GHLContactID, missing)
	})
	if err != nil {
		return outcomeOf(err)
	}
	failpoint.Hit(failpoint.TagsAdded)
	return Outcome{TargetID: appointment.GHLContactID, Details: map[string]any{"added": missing}}
}

func nothingAdded(reason string) Outcome {
	return Outcome{Details: map[string]any{"added": []string{}, "because": reason}}
}
