package operation

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// maxBreakers is the number of breakers above which those that block nothing are removed.
const maxBreakers = 1024

// LocationBreakers has a breaker for each location of GoHighLevel: a wrong token of one location does not affect the others.
// It is safe for concurrent use.
type LocationBreakers struct {
	opts    destination.BreakerOptions
	known   func(locationID string) bool
	changed func(name string, up bool)

	mu         sync.Mutex
	byLocation map[string]*destination.Breaker

	reports sync.Mutex
	// down are the breakers that are open, and the names under which that was reported.
	down map[string]string
}

// OtherLocations is the common name under which the breakers of unknown locations are reported. A webhook can name any location,
// and every reported name becomes a permanent metric series.
const OtherLocations = "ghl:other"

// NewLocationBreakers returns a set that creates breakers on demand. known reports whether a location is known to belong to this
// installation.
func NewLocationBreakers(opts destination.BreakerOptions, known func(locationID string) bool) *LocationBreakers {
	l := &LocationBreakers{
		known: known, changed: opts.Changed, byLocation: map[string]*destination.Breaker{}, down: map[string]string{},
	}
	if opts.Changed != nil {
		opts.Changed = l.report
	}
	l.opts = opts
	return l
}

// report reports that a breaker has opened or closed.
func (l *LocationBreakers) report(name string, up bool) {
	l.reports.Lock()
	defer l.reports.Unlock()
	reported, wasDown := l.down[name]
	if up == !wasDown {
		return
	}
	if !up {
		reported = name
		if location, ok := strings.CutPrefix(name, "ghl:"); ok && !l.known(location) {
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

// Of returns the breaker of a location, "ghl:<location>". Without a location, or for a value that is not an id, it returns the
// breaker "ghl".
func (l *LocationBreakers) Of(location string) *destination.Breaker {
	name := "ghl"
	if location != "" && len(location) <= 128 && !strings.ContainsFunc(location, notInIDs) {
		name += ":" + location
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if breaker, ok := l.byLocation[name]; ok {
		return breaker
	}
	if len(l.byLocation) >= maxBreakers {
		l.prune()
	}
	breaker := destination.NewBreaker(name, l.opts)
	l.byLocation[name] = breaker
	return breaker
}

// All returns the existing breakers.
func (l *LocationBreakers) All() []*destination.Breaker {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.byLocation))
}

// prune removes the breakers that block nothing, since a new one is equivalent. If all of them block calls, it removes one,
// preferably that of an unknown location.
func (l *LocationBreakers) prune() {
	victim := ""
	for name, breaker := range l.byLocation {
		if breaker.Up() && breaker.Wait() == 0 {
			delete(l.byLocation, name)
		} else if location, _ := strings.CutPrefix(name, "ghl:"); victim == "" || !l.known(location) {
			victim = name
		}
	}
	if len(l.byLocation) >= maxBreakers {
		delete(l.byLocation, victim)
		if l.changed != nil {
			l.report(victim, true)
		}
	}
}

func notInIDs(r rune) bool {
	return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}
