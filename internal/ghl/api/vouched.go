package ghlapi

import (
	"encoding/json"
	"sync"
)

// vouched are the locations that are known to be of this installation since the API answered for them. There are no more than the
// tokens reach.
type vouched struct {
	mu  sync.RWMutex
	ids map[string]bool
}

// owner is a TokenSource that knows which locations have a token of their own.
type owner interface{ Own(locationID string) bool }

// Vouched reports whether a location is known to be of this installation: it has a token of its own, or an answer has named it. Any
// other may be an invention of whoever wrote the webhook. A call without a location is the installation's own.
func (c *Client) Vouched(locationID string) bool {
	if locationID == "" {
		return true
	}
	if own, ok := c.tokens.(owner); ok && own.Own(locationID) {
		return true
	}
	c.vouched.mu.RLock()
	defer c.vouched.mu.RUnlock()
	return c.vouched.ids[locationID]
}

// Vouch makes a location known to be of this installation.
func (c *Client) Vouch(locationID string) {
	c.vouched.mu.Lock()
	defer c.vouched.mu.Unlock()
	if c.vouched.ids == nil {
		c.vouched.ids = map[string]bool{}
	}
	c.vouched.ids[locationID] = true
}

// sharedLimit is the limit of all locations that nobody vouches for. It is no location's id.
const sharedLimit = ":"

func (c *Client) limitKey(locationID string) string {
	if c.Vouched(locationID) {
		return locationID
	}
	return sharedLimit
}

// namesLocation reports whether an answer is about something of that location. A token that serves any location id answers for an
// invented one too, with what it finds in its own.
func namesLocation(body []byte, locationID string) bool {
	type thing struct {
		LocationID string `json:"locationId"`
	}
	var answer struct {
		thing
		Contact     thing   `json:"contact"`
		Event       thing   `json:"event"`
		Appointment thing   `json:"appointment"`
		Contacts    []thing `json:"contacts"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return false
	}
	for _, t := range append(answer.Contacts, answer.thing, answer.Contact, answer.Event, answer.Appointment) {
		if t.LocationID == locationID {
			return true
		}
	}
	return false
}
