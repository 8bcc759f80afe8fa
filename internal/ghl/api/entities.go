package ghlapi

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Contact is what is kept of a contact. The API shows more, custom fields and social security numbers among it; there is
// no field for those, so that they are gone once an answer is decoded.
type Contact struct {
	ID         string `json:"id"`
	LocationID string `json:"locationId"`
	FirstName  string `json:"firstName"`
	LastName   string `json:"lastName"`
	Email      string `json:"email"`
	// Phone is as GHL has it: mostly E.164, sometimes as it was typed.
	Phone string `json:"phone"`
	// AdditionalEmails are the contact's others. The API does not show additional phone numbers.
	AdditionalEmails addresses `json:"additionalEmails"`
	// Country is an ISO 3166 code of two letters.
	Country string   `json:"country"`
	Tags    []string `json:"tags"`
	// DateUpdated is when GHL last changed the contact, zero where it does not say.
	DateUpdated time.Time `json:"dateUpdated"`
}

// UnmarshalJSON decodes a contact as the API shows it.
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

// addresses are e-mail addresses, which the API lists as texts or as objects. It is left empty where an answer has something else in its
// place.
type addresses []string

// UnmarshalJSON reads an array of texts, or of objects with a member called email.
func (a *addresses) UnmarshalJSON(data []byte) error {
	*a = nil
	var items []json.RawMessage
	if json.Unmarshal(data, &items) != nil {
		return nil //nolint:nilerr // None is worth failing for.
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

// MissingTags returns the tags of want that the contact has not, each once. GHL keeps tags in lower case.
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

// Appointment is what is kept of an appointment.
type Appointment struct {
	ID         string `json:"id"`
	LocationID string `json:"locationId"`
	ContactID  string `json:"contactId"`
	// Status is lower-case: "confirmed", "cancelled", …
	Status string `json:"appointmentStatus"`
	// DateAdded and DateUpdated are zero where GHL does not say.
	DateAdded   time.Time `json:"dateAdded"`
	DateUpdated time.Time `json:"dateUpdated"`
}

// UnmarshalJSON decodes an appointment as the API shows it.
func (a *Appointment) UnmarshalJSON(data []byte) error {
	type plain Appointment
	shown := struct {
		*plain
		DateAdded   timestamp `json:"dateAdded"`
		DateUpdated timestamp `json:"dateUpdated"`
	}{plain: (*plain)(a)}
	if err := json.Unmarshal(data, &shown); err != nil {
		return err
	}
	a.Status = strings.ToLower(a.Status)
	a.DateAdded, a.DateUpdated = shown.DateAdded.Time, shown.DateUpdated.Time
	return nil
}

// timestamp is a time that is left zero where an answer has something else in its place: none is worth failing for.
type timestamp struct{ time.Time }

// UnmarshalJSON reads RFC 3339, in UTC.
func (t *timestamp) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) != nil {
		text = "" // No time at all.
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		t.Time = at.UTC()
	}
	return nil
}
