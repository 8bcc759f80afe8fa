package operation

import (
	"context"
	"errors"
	"sync"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
)

// GHLAPI has the calls to GoHighLevel; *ghlapi.Client implements it.
type GHLAPI interface {
	GetAppointment(ctx context.Context, locationID, id string) (ghlapi.Appointment, error)
	GetContact(ctx context.Context, locationID, id string) (ghlapi.Contact, error)
	FindDuplicate(ctx context.Context, locationID, phoneE164, email string) (ghlapi.Contact, error)
	SearchContacts(ctx context.Context, locationID string, filters []ghlapi.Filter) ([]ghlapi.Contact, error)
	AddTags(ctx context.Context, locationID, contactID string, tags []string) error
	// These report whether a location is known to belong to this installation, and mark it as known.
	LocationKnown(locationID string) bool
	MarkLocationKnown(locationID string)
}

// LocationStore stores which locations GoHighLevel has answered for; *store.Store implements it.
type LocationStore interface {
	RecordLocation(ctx context.Context, locationID string) error
	LocationAnswered(ctx context.Context, locationID string) (bool, error)
}

// GHL is GoHighLevel's API with a breaker for each location. It is nil if the API is not configured.
type GHL struct {
	API      GHLAPI
	Breakers *LocationBreakers
	// Locations stores the known locations across restarts. If it is nil, they are lost with the process.
	Locations LocationStore

	recorded sync.Map
}

// do makes a call for a location, which may be "". A missing token, or one without access to the location, is a failure with
// its own reason.
//
// A refused token is an outage of its location: the location's events wait for a new token. But a webhook can name any location,
// and GoHighLevel may refuse the token for one that does not exist. So for an unknown location, it is a failure of the event, and
// the attempt counts.
func (g *GHL) do(ctx context.Context, location string, call func(context.Context) error) error {
	breaker := g.Breakers.Of(location)
	var refused error
	err := breaker.Do(ctx, func(ctx context.Context) error {
		err := call(ctx)
		if errors.Is(err, ghlapi.ErrBadToken) && !g.known(ctx, location) {
			refused = err
			return nil // The API answers, so the breaker stays closed.
		}
		return err
	})
	switch {
	case refused != nil:
		return &failure{err: refused, reason: v1alpha1.LocationUnknownReason}
	case err == nil:
		g.record(ctx, location)
		return nil
	case locationUnknown(err):
		return &failure{err: err, reason: v1alpha1.LocationUnknownReason}
	default:
		return breakerError(breaker, err)
	}
}

// known reports whether a location is known to belong to this installation. If the lookup fails, it returns true: the event waits.
func (g *GHL) known(ctx context.Context, location string) bool {
	if g.API.LocationKnown(location) {
		return true
	}
	if g.Locations == nil {
		return false
	}
	answered, err := g.Locations.LocationAnswered(ctx, location)
	if err == nil && answered {
		g.API.MarkLocationKnown(location)
	}
	return answered || err != nil
}

// record stores that GoHighLevel has answered for a location. If that fails, the next answer is recorded.
func (g *GHL) record(ctx context.Context, location string) {
	if g.Locations == nil || location == "" || !g.API.LocationKnown(location) {
		return
	}
	if _, done := g.recorded.Load(location); done {
		return
	}
	if g.Locations.RecordLocation(ctx, location) == nil {
		g.recorded.Store(location, struct{}{})
	}
}

// ask makes a request to GoHighLevel. found is false if GoHighLevel has no such object, rejects the request as invalid, or is not
// configured.
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

// locationUnknown reports whether a call failed because of the event's location.
func locationUnknown(err error) bool {
	return errors.Is(err, ghlapi.ErrLocationUnknown) || errors.Is(err, ghlapi.ErrWrongLocation)
}
