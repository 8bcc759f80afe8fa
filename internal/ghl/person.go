package ghl

import (
	"cmp"
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
// a phone number and an address also from customData. A member called name at the root is the contact's only where the body
// is a contact's beyond doubt: see nameIsPersons.
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
	if full == "" && entityType == event.EntityContact && b.nameIsPersons() {
		full = first("name", root)
	}
	if full == "" {
		full = first("name", contact)
	}
	given, family, _ := strings.Cut(full, " ")
	p.FirstName, p.LastName = given, strings.TrimSpace(family)
	return p
}

// nameIsPersons reports whether a member called name at the root of a contact event is the contact's name. Deals, invoices,
// forms, tasks, products and companies have a name too, and a contact's id beside it: without a type they are contact events.
// So a type must say contact, and nothing that the body is something else's; or there is no type, and every member is one
// that is said of contacts. In a workflow body the contact's name is full_name, and name is a custom field.
func (b Body) nameIsPersons() bool {
	contactID := cmp.Or(explicitContactID(b.root), explicitContactID(b.custom))
	own := b.root.id("id", "_id")
	if b.workflow || contactID != "" && own != "" && own != contactID || b.root.id(opportunityMarks...) != "" {
		return false
	}
	for _, word := range [...]string{b.root.word("type"), b.root.word("event"), b.custom.word("type")} {
		if n := classify(word); n.known {
			return n.entity == event.EntityContact
		}
	}
	return b.onlyOfContacts()
}

// ofContacts are the members, by their letters and digits alone, that are said of contacts, and of the sender and the
// delivery beside them. What a contact shares with an invoice, a task or a deal is not among them: status, source, title,
// assignedTo, companyName.
var ofContacts = func() map[string]bool {
	m := map[string]bool{}
	for _, member := range strings.Fields(`
		id contact contactId contactType email additionalEmails emailLowerCase phone phoneRaw additionalPhones
		name fullName firstName lastName dateOfBirth gender dnd dndSettings tags
		address address1 fullAddress city state postalCode zip country timezone website
		location locationId customData customFields customField dateCreated dateAdded dateUpdated timestamp webhookId
	`) {
		m[string(bare(member))] = true
	}
	return m
}()

// onlyOfContacts reports whether every member at the root is one of ofContacts.
func (b Body) onlyOfContacts() bool {
	only := true
	eachMember(b.Payload, func(key, _ []byte) { only = only && ofContacts[string(bare(string(key)))] })
	return only
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
