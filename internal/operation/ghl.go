package operation

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

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
}

// GHL is GoHighLevel's API behind a breaker for each location. A nil *GHL is one that is not configured.
type GHL struct {
	API      GHLAPI
	Breakers *LocationBreakers
}

// do makes a call for a location, which may be "". That there is no token for the location is a failure of its own.
func (g *GHL) do(ctx context.Context, location string, call func(context.Context) error) error {
	breaker := g.Breakers.Of(location)
	err := breaker.Do(ctx, call)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ghlapi.ErrLocationUnknown):
		return &failure{err: err, reason: reasonLocationUnknown}
	default:
		return heldUp(breaker, err)
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

func locationUnknown(err error) bool { return errors.Is(err, ghlapi.ErrLocationUnknown) }

// maxBreakers is how many locations have a breaker of their own before those that are at rest are forgotten.
const maxBreakers = 1024

// LocationBreakers has a breaker for each location of GoHighLevel: what is wrong with the token of one says nothing about
// the others. It is safe for concurrent use.
type LocationBreakers struct {
	opts destination.BreakerOptions

	mu         sync.Mutex
	byLocation map[string]*destination.Breaker
}

// NewLocationBreakers returns breakers that are made as they are needed.
func NewLocationBreakers(opts destination.BreakerOptions) *LocationBreakers {
	return &LocationBreakers{opts: opts, byLocation: map[string]*destination.Breaker{}}
}

// Of returns the breaker of a location, which is called "ghl:<location>". What is no location's id shares one with the
// calls that name none, "ghl".
func (l *LocationBreakers) Of(location string) *destination.Breaker {
	name := "ghl"
	if location != "" && len(location) <= 128 && !strings.ContainsFunc(location, notInIDs) {
		name += ":" + location
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.byLocation[name]; ok {
		return known
	}
	if len(l.byLocation) >= maxBreakers {
		l.forget()
	}
	fresh := destination.NewBreaker(name, l.opts)
	l.byLocation[name] = fresh
	return fresh
}

// All returns the breakers that there are.
func (l *LocationBreakers) All() []*destination.Breaker {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.byLocation))
}

// forget drops the breakers that hold nothing back; a new one would do the same. Where all do, any one has to go.
func (l *LocationBreakers) forget() {
	some := ""
	for name, breaker := range l.byLocation {
		if breaker.Up() && breaker.Wait() == 0 {
			delete(l.byLocation, name)
		} else {
			some = name
		}
	}
	if len(l.byLocation) >= maxBreakers {
		delete(l.byLocation, some)
	}
}

func notInIDs(r rune) bool {
	return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}
