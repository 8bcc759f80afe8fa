package operation

import (
	"context"
	"errors"
	"sync"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
)

// GHLAPI is what is asked of GoHighLevel; a *ghlapi.Client does it.
type GHLAPI interface {
	GetAppointment(ctx context.Context, locationID, id string) (ghlapi.Appointment, error)
	GetContact(ctx context.Context, locationID, id string) (ghlapi.Contact, error)
	FindDuplicate(ctx context.Context, locationID, phoneE164, email string) (ghlapi.Contact, error)
	SearchContacts(ctx context.Context, locationID string, filters []ghlapi.Filter) ([]ghlapi.Contact, error)
	AddTags(ctx context.Context, locationID, contactID string, tags []string) error
	// Vouched reports whether a location is known to be of this installation; Vouch makes it known.
	Vouched(locationID string) bool
	Vouch(locationID string)
}

// Vouchers know which locations GoHighLevel has ever answered for. A *store.Store does it.
type Vouchers interface {
	RecordLocation(ctx context.Context, locationID string) error
	LocationAnswered(ctx context.Context, locationID string) (bool, error)
}

// GHL is GoHighLevel's API behind a breaker for each location. A nil *GHL is one that is not configured.
type GHL struct {
	API      GHLAPI
	Breakers *LocationBreakers
	// Vouchers outlive the process. Where it is nil, a location is known from the first answer on only.
	Vouchers Vouchers

	recorded sync.Map
}

// do makes a call for a location, which may be "". That there is no token for the location, or that the token has no access to it,
// is a failure of its own.
//
// A token that is refused is an outage of the location: its events wait for a new token. But a webhook can name any location, and
// GoHighLevel may refuse the token for one that does not exist. So for a location that nobody vouches for, it is a failure of the
// event, whose attempts count.
func (g *GHL) do(ctx context.Context, location string, call func(context.Context) error) error {
	breaker := g.Breakers.Of(location)
	var unvouched error
	err := breaker.Do(ctx, func(ctx context.Context) error {
		err := call(ctx)
		if errors.Is(err, ghlapi.ErrBadToken) && !g.vouched(ctx, location) {
			unvouched = err
			return nil // The API answers. What it says of this location says nothing of others.
		}
		return err
	})
	switch {
	case unvouched != nil:
		return &failure{err: unvouched, reason: v1alpha1.LocationUnknownReason}
	case err == nil:
		g.record(ctx, location)
		return nil
	case locationUnknown(err):
		return &failure{err: err, reason: v1alpha1.LocationUnknownReason}
	default:
		return heldUp(breaker, err)
	}
}

// vouched reports whether a location is known to be of this installation. Where that cannot be looked up, it may be, and waits.
func (g *GHL) vouched(ctx context.Context, location string) bool {
	if g.API.Vouched(location) {
		return true
	}
	if g.Vouchers == nil {
		return false
	}
	answered, err := g.Vouchers.LocationAnswered(ctx, location)
	if err == nil && answered {
		g.API.Vouch(location)
	}
	return answered || err != nil
}

// record keeps that GoHighLevel has answered for a location. A record that fails is made with the next answer.
func (g *GHL) record(ctx context.Context, location string) {
	if g.Vouchers == nil || location == "" || !g.API.Vouched(location) {
		return
	}
	if _, done := g.recorded.Load(location); done {
		return
	}
	if g.Vouchers.RecordLocation(ctx, location) == nil {
		g.recorded.Store(location, struct{}{})
	}
}

// ask asks GoHighLevel for something. found is false where it has no such thing, or finds the question itself wrong, and
// where it is not configured.
func ask[T any](
	ctx context.Context, g *GHL, location string, question func(context.Context, GHLAPI) (T, error),
) (answer T, found bool, err error) {
	if g == nil {
		return answer, false, nil
	}
	err = g.do(ctx, location, func(ctx context.Context) (err error) {
		answer, err = question(ctx, g.API)
		return err
	})
	if destination.ClassOf(err) == destination.Permanent && !locationUnknown(err) {
		return answer, false, nil
	}
	return answer, err == nil, err
}

// locationUnknown reports whether GoHighLevel cannot be asked with what the event says of its location.
func locationUnknown(err error) bool {
	return errors.Is(err, ghlapi.ErrLocationUnknown) || errors.Is(err, ghlapi.ErrWrongLocation)
}
