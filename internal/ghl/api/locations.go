package ghlapi

import (
	"encoding/json"
	"sync"
)

// knownLocations are the locations that belong to this installation, because an answer of the API has named them. The tokens bound their
// number.
type knownLocations struct {
	mu  sync.RWMutex
	ids map[string]bool
}

// owner is a TokenSource that knows which locations have their own token.
type owner interface{ Own(locationID string) bool }

// LocationKnown reports whether a location is known to belong to this installation: it has its own token, or an answer has named it. The
// sender of a webhook may have invented any other location. A call without a location belongs to the installation.
func (c *Client) LocationKnown(locationID string) bool {
	if locationID == "" {
		return true
	}
	if own, ok := c.tokens.(owner); ok && own.Own(locationID) {
		return true
	}
	c.known.mu.RLock()
	defer c.known.mu.RUnlock()
	return c.known.ids[locationID]
}

// MarkLocationKnown records that a location belongs to this installation.
func (c *Client) MarkLocationKnown(locationID string) {
	c.known.mu.Lock()
	defer c.known.mu.Unlock()
	if c.known.ids == nil {
		c.known.ids = map[string]bool{}
	}
	c.known.ids[locationID] = true
}

// sharedLimit is the key of the limit that all unknown locations share. It cannot be a location's id.
const sharedLimit = ":"

func (c *Client) limitKey(locationID string) string {
	if c.LocationKnown(locationID) {
		return locationID
	}
	return sharedLimit
}

// namesLocation reports whether an answer has an entity of the location. A call for an invented location can succeed, too, if its token is
// valid for any location id: the answer then has an entity of the token's own location.
func namesLocation(body []byte, locationID string) bool {
	type entity struct {
		LocationID string `json:"locationId"`
	}
	var answer struct {
		entity
		Contact     entity   `json:"contact"`
		Event       entity   `json:"event"`
		Appointment entity   `json:"appointment"`
		Contacts    []entity `json:"contacts"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return false
	}
	for _, e := range append(answer.Contacts, answer.entity, answer.Contact, answer.Event, answer.Appointment) {
		if e.LocationID == locationID {
			return true
		}
	}
	return false
}
