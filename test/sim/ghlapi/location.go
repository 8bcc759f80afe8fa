package ghlapi

import (
	"net/http"
	"strconv"
	"time"
)

// The limits of the real API, for each app and location.
const (
	BurstLimit  = 100
	BurstWindow = 10 * time.Second
	DailyLimit  = 200_000
)

// Location is a sub-account and the one token that opens it.
type Location struct {
	ID    string `json:"id"`
	Token string `json:"token"`
	// TokenExpires is when the token is refused from; zero is never.
	TokenExpires time.Time `json:"tokenExpires,omitzero"`
	// DailySpent is how many of the day's 200,000 requests are gone.
	DailySpent int `json:"dailySpent,omitempty"`
	// UniqueBy is what tells contacts apart, and what alone the duplicate search goes by then: "email" or "phone". It is empty
	// where the location's settings allow duplicates.
	UniqueBy string `json:"uniqueBy,omitempty"`
}

// location is a Location and the requests of its last ten seconds.
type location struct {
	Location
	recent []time.Time
}

// PutLocation adds a location, or replaces its token and its daily budget. Its burst limit starts again.
func (s *Server) PutLocation(l Location) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locations[l.ID] = &location{Location: l}
}

// Location returns what the simulator knows of a location.
func (s *Server) Location(id string) (Location, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.locations[id]
	if !ok {
		return Location{}, false
	}
	return l.Location, true
}

// DeleteLocation forgets a location and its token.
func (s *Server) DeleteLocation(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.locations, id)
}

// spend takes a request from both budgets, says in the header what is left of them, and reports whether there was one.
// The burst window slides: whatever way the real one is counted, no client that stays below this one gets over that.
func (l *location) spend(now time.Time, h http.Header) bool {
	old := 0
	for old < len(l.recent) && !l.recent[old].After(now.Add(-BurstWindow)) {
		old++
	}
	l.recent = l.recent[old:]
	ok := len(l.recent) < BurstLimit && l.DailySpent < DailyLimit
	if ok {
		l.recent = append(l.recent, now)
		l.DailySpent++
	}
	h.Set("X-RateLimit-Max", strconv.Itoa(BurstLimit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(BurstLimit-len(l.recent)))
	h.Set("X-RateLimit-Interval-Milliseconds", strconv.FormatInt(BurstWindow.Milliseconds(), 10))
	h.Set("X-RateLimit-Limit-Daily", strconv.Itoa(DailyLimit))
	h.Set("X-RateLimit-Daily-Remaining", strconv.Itoa(DailyLimit-l.DailySpent))
	return ok
}
