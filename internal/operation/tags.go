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

// Tags adds tags to the contact of an appointment at GoHighLevel, those that are missing: a change of tags comes back as a
// contact event, which asks for no tags, and nothing changed comes back as nothing. It is run after Lead, which knows whose
// the appointment is.
//
// Nothing to add is no reason to skip: the event says what became of its lead.
type Tags struct {
	Known ContactStore
	GHL   *GHL
	Tags  []string
	// EndPolicy say which appointments have ended; those get no tags.
	EndPolicy store.EndPolicy
}

// Spec implements Operation.
func (*Tags) Spec() Spec { return TagsSpec }

// Run implements Operation.
func (t *Tags) Run(ctx context.Context, e *store.Attempt) Outcome {
	known, err := t.Known.Appointment(ctx, e.Event.EntityID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return outcomeOf(ownDatabaseError(err))
	}
	switch {
	case known.GHLContactID == "":
		return nothingAdded("it is not known whose the appointment is at GoHighLevel")
	case known.Deleted || !known.Active(t.EndPolicy):
		return nothingAdded("the appointment has ended")
	}
	location, err := locationOf(ctx, t.Known, known.GHLContactID, e.Event.LocationID, known.LocationID)
	if err != nil {
		return outcomeOf(err)
	}
	contact, found, err := ask(ctx, t.GHL, location, func(ctx context.Context, api GHLAPI) (ghlapi.Contact, error) {
		return api.GetContact(ctx, location, known.GHLContactID)
	})
	if err != nil {
		return outcomeOf(err)
	}
	if !found {
		return nothingAdded("GoHighLevel knows no such contact")
	}
	missing := contact.MissingTags(t.Tags)
	if len(missing) == 0 {
		return nothingAdded("the contact has them")
	}
	err = t.GHL.do(ctx, location, func(ctx context.Context) error {
		return t.GHL.API.AddTags(ctx, location, known.GHLContactID, missing)
	})
	if err != nil {
		return outcomeOf(err)
	}
	failpoint.Hit(failpoint.TagsAdded)
	return Outcome{TargetID: known.GHLContactID, Details: map[string]any{"added": missing}}
}

func nothingAdded(why string) Outcome {
	return Outcome{Details: map[string]any{"added": []string{}, "because": why}}
}
