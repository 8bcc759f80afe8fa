package operation

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// maxBreakers is how many locations have a breaker of their own before those that are at rest are forgotten.
const maxBreakers = 1024

// LocationBreakers has a breaker for each location of GoHighLevel: what is wrong with the token of one says nothing about
// the others. It is safe for concurrent use.
type LocationBreakers struct {
	opts    destination.BreakerOptions
	vouched func(locationID string) bool
	changed func(name string, up bool)

	mu         sync.Mutex
	byLocation map[string]*destination.Breaker

	reports sync.Mutex
	// down are the breakers that are open, and the names under which that was reported.
	down map[string]string
}

// OtherLocations is the name under which the breakers of locations that nobody vouches for are reported, all together: a webhook
// can name any location, and each name that is reported is kept for good.
const OtherLocations = "ghl:other"

// NewLocationBreakers returns breakers that are made as they are needed. vouched says which locations are known to be of this
// installation.
func NewLocationBreakers(opts destination.BreakerOptions, vouched func(locationID string) bool) *LocationBreakers {
	l := &LocationBreakers{
		vouched: vouched, changed: opts.Changed, byLocation: map[string]*destination.Breaker{}, down: map[string]string{},
	}
	if opts.Changed != nil {
		opts.Changed = l.report
	}
	l.opts = opts
	return l
}

// report passes on that a breaker has opened or closed.
func (l *LocationBreakers) report(name string, up bool) {
	l.reports.Lock()
	defer l.reports.Unlock()
	reported, wasDown := l.down[name]
	if up == !wasDown {
		return
	}
	if !up {
		reported = name
		if location, of := strings.CutPrefix(name, "ghl:"); of && !l.vouched(location) {
			reported = OtherLocations
		}
	}
	delete(l.down, name)
	others := slices.Contains(slices.Collect(maps.Values(l.down)), reported)
	if !up {
		l.down[name] = reported
	}
	if !others {
		l.changed(reported, up)
	}
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

// forget drops the breakers that hold nothing back; a new one would do the same. Where all do, one has to go, if there is one of a
// location that nobody vouches for.
func (l *LocationBreakers) forget() {
	some := ""
	for name, breaker := range l.byLocation {
		if breaker.Up() && breaker.Wait() == 0 {
			delete(l.byLocation, name)
		} else if location, _ := strings.CutPrefix(name, "ghl:"); some == "" || !l.vouched(location) {
			some = name
		}
	}
	if len(l.byLocation) >= maxBreakers {
		delete(l.byLocation, some)
		if l.changed != nil {
			l.report(some, true)
		}
	}
}

func notInIDs(r rune) bool {
	return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}
