package ghl

import (
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Person is what a body says of the contact that it concerns, as the sender wrote it, bar white space around it: phone
// numbers in any form, addresses in any case. What it does not say is empty.
type Person struct {
	Phone     string
	Email     string
	FirstName string
	LastName  string
	// Country is where the contact lives: mostly an ISO 3166 code of two letters.
	Country string
}

// personMembers are the names under which bodies say something of a contact.
var personMembers = []string{
	"phone", "email", "country", "firstName", "first_name", "lastName", "last_name", "fullName", "full_name", "name",
}

// PersonOf returns what a body says of the contact concerned, where the event is about an appointment or a contact: first
// what stands at the root, where marketplace contact events and workflow bodies have it, then what the contact block says;
// a phone number and an address also from customData. A member called name at the root is the contact's name in contact
// events only: elsewhere it is that of the entity, or a custom field.
func PersonOf(b Body, entityType string) Person {
	root, contact, custom := b.root.object, b.root.contact, b.custom.object
	p := Person{
		Phone:     first("phone", root, contact, custom),
		Email:     first("email", root, contact, custom),
		Country:   first("country", root, contact),
		FirstName: firstOf([]string{"firstName", "first_name"}, root, contact),
		LastName:  firstOf([]string{"lastName", "last_name"}, root, contact),
	}
	if p.FirstName != "" || p.LastName != "" {
		return p
	}
	full := firstOf([]string{"fullName", "full_name"}, root, contact)
	if full == "" && entityType == event.EntityContact {
		full = first("name", root)
	}
	if full == "" {
		full = first("name", contact)
	}
	given, family, _ := strings.Cut(full, " ")
	p.FirstName, p.LastName = given, strings.TrimSpace(family)
	return p
}

// LocationCountryOf returns the country of the location that a body was sent for: an ISO 3166 code of two letters, "" where it
// does not say. Workflow bodies do.
func LocationCountryOf(b Body) string { return first("country", b.root.location, b.custom.location) }

func first(name string, objects ...object) string { return firstOf([]string{name}, objects...) }

// firstOf returns the first of the members, object by object, that holds a word. What is no id (a template that was not
// filled in, "undefined") is no word either.
func firstOf(names []string, objects ...object) string {
	for _, o := range objects {
		if word := o.plain(names...); word != "" {
			return word
		}
	}
	return ""
}
