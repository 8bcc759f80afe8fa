package event

import "time"

// Content is what a payload says beside its Event. Operations act on it.
type Content struct {
	Person Person
	Reach  Reach
	// LocationCountry is the country of the location, an ISO 3166 code of two letters; "" if the payload does not say.
	LocationCountry string
	Booking         Booking
}

// Person is what a payload says about its contact, as the sender wrote it, without white space around it: phone numbers in any form,
// addresses in any case. A field is empty if the payload does not say.
type Person struct {
	Phone     string
	Email     string
	FirstName string
	LastName  string
	// Country is where the contact lives: usually an ISO 3166 code of two letters.
	Country string
}

// Reach is how to reach a contact: every phone number and e-mail address in the payload, as typed, the most important first. Additional
// ones come last.
type Reach struct {
	Phones, Emails []string
	// NoPhone is true if the payload has an empty phone number: the contact has none.
	NoPhone bool
}

// Booking is what the payload of an appointment's event says about the booking.
type Booking struct {
	// At is when the appointment was booked, zero if the payload does not say.
	At time.Time
	// Creation is true if the event reports the booking itself. A workflow also sends "booked" for a reschedule.
	Creation bool
	// NoContact is true if the payload has the whole appointment and names no contact: blocked or busy time.
	NoContact bool
}

// Explanation says what a body becomes, and which rule decided each field.
type Explanation struct {
	Event   Event
	Content Content
	Fields  []Decided
}

// Decided is a field of an event with the rule that decided it. Rule is empty if no rule found a value.
type Decided struct {
	Field  string `json:"field"`
	Value  string `json:"value"`
	Rule   string `json:"rule,omitempty"`
	Source string `json:"source,omitempty"`
	// Note replaces the rule in a table for people.
	Note string `json:"-"`
}
