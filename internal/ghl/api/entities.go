package ghlapi

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Contact has the fields of a contact that verity-sync uses. The API returns more, including custom fields and social security numbers.
// Decoding drops them.
type Contact struct {
	ID         string `json:"id"`
	LocationID string `json:"locationId"`
	FirstName  string `json:"firstName"`
	LastName   string `json:"lastName"`
	Email      string `json:"email"`
	// Phone is in the form that GHL stores: usually E.164, sometimes as typed.
	Phone string `json:"phone"`
	// AdditionalEmails are further e-mail addresses. The API does not return additional phone numbers.
	AdditionalEmails addresses `json:"additionalEmails"`
	// Country is an ISO 3166 code of two letters.
	Country string   `json:"country"`
	Tags    []string `json:"tags"`
	// DateUpdated is when GHL last changed the contact, zero if it is missing.
	DateUpdated time.Time `json:"dateUpdated"`
}

// UnmarshalJSON decodes a contact of the API.
func (c *Contact) UnmarshalJSON(data []byte) error {
	type plain Contact
	shown := struct {
		*plain
		DateUpdated timestamp `json:"dateUpdated"`
	}{plain: (*plain)(c)}
	if err := json.Unmarshal(data, &shown); err != nil {
		return err
	}
	c.DateUpdated = shown.DateUpdated.Time
	return nil
}

// addresses are e-mail addresses, which the API lists as strings or as objects. Any other value decodes as no addresses.
type addresses []string

// UnmarshalJSON decodes an array of strings, or of objects with a member called email.
func (a *addresses) UnmarshalJSON(data []byte) error {
	*a = nil
	var items []json.RawMessage
	if json.Unmarshal(data, &items) != nil {
		return nil //nolint:nilerr // An unexpected form must not fail the call.
	}
	for _, item := range items {
		var (
			text  string
			entry struct {
				Email string `json:"email"`
			}
		)
		if json.Unmarshal(item, &text) != nil && json.Unmarshal(item, &entry) == nil {
			text = entry.Email
		}
		if text != "" {
			*a = append(*a, text)
		}
	}
	return nil
}

// MissingTags returns the tags of want that the contact does not have, without duplicates. GHL stores tags in lower case.
func (c *Contact) MissingTags(want []string) []string {
	have := make([]string, 0, len(c.Tags)+len(want))
	for _, tag := range c.Tags {
		have = append(have, normalTag(tag))
	}
	var missing []string
	for _, tag := range want {
		if normal := normalTag(tag); normal != "" && !slices.Contains(have, normal) {
			missing = append(missing, tag)
			have = append(have, normal)
		}
	}
	return missing
}

func normalTag(tag string) string { return strings.ToLower(strings.TrimSpace(tag)) }

// Appointment has the fields of an appointment that verity-sync uses.
type Appointment struct {
	ID         string `json:"id"`
	LocationID string `json:"locationId"`
	ContactID  string `json:"contactId"`
	// Status is in lower case: "confirmed", "cancelled", …
	Status string `json:"appointmentStatus"`
	// DateAdded is zero if it is missing.
	DateAdded time.Time `json:"dateAdded"`
}

// UnmarshalJSON decodes an appointment of the API.
func (a *Appointment) UnmarshalJSON(data []byte) error {
	type plain Appointment
	shown := struct {
		*plain
		DateAdded timestamp `json:"dateAdded"`
	}{plain: (*plain)(a)}
	if err := json.Unmarshal(data, &shown); err != nil {
		return err
	}
	a.Status = strings.ToLower(a.Status)
	a.DateAdded = shown.DateAdded.Time
	return nil
}

// timestamp is a time. Any other value decodes as the zero time: it must not fail the call.
type timestamp struct{ time.Time }

// UnmarshalJSON decodes RFC 3339 and converts it to UTC.
func (t *timestamp) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) != nil {
		text = "" // Not a string.
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		t.Time = at.UTC()
	}
	return nil
}
