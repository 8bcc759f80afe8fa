package ghl

import (
	"encoding/json"
	"slices"
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

// phoneMembers and emailMembers are the names under which bodies have a contact's phone number and e-mail address: GHL's own first, then
// those that people choose.
var (
	phoneMembers = []string{"phone", "phoneNumber", "phone_number", "mobile", "mobilePhone", "mobile_phone", "cell", "phoneRaw"}
	emailMembers = []string{"email", "emailAddress", "email_address", "emailLowerCase"}
	nameMembers  = []string{"firstName", "first_name", "lastName", "last_name", "fullName", "full_name"}
)

// personMembers are the names under which bodies say something of a contact.
var personMembers = slices.Concat(phoneMembers, emailMembers, nameMembers,
	[]string{"country", "name", "additionalPhones", "additionalEmails"})

// PersonOf returns what a body says of the contact concerned, where the event is about an appointment or a contact: first
// what stands at the root, where marketplace contact events and workflow bodies have it, then what the contact block says;
// a phone number and an address also from customData. A member called name at the root is the contact's only where the body
// is a contact's beyond doubt: see nameIsPersons.
func PersonOf(b Body, entityType string) Person {
	root, contact, custom := b.root.object, b.root.contact, b.custom.object
	p := Person{
		Phone:     firstOf(phoneMembers, root, contact, custom),
		Email:     firstOf(emailMembers, root, contact, custom),
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
	r := &reading{Body: &b}
	contactID, ok := firstOfRules(r, rootContactIDs)
	if !ok {
		contactID, _ = firstOfRules(r, customContactIDs)
	}
	own := b.root.id("id", "_id")
	if b.workflow || contactID != "" && own != "" && own != contactID || b.root.id(opportunityMarks...) != "" {
		return false
	}
	for _, word := range [...]string{b.root.word("type"), b.root.word("event"), b.custom.word("type")} {
		if n := classify(word); n.known {
			return n.entity == event.EntityContact
		}
	}
	return onlyOfContacts(b.Payload)
}

// ofContacts are the members, by their letters and digits alone, that are said of contacts, and of the sender and the
// delivery beside them. What a contact shares with an invoice, a task or a deal is not among them: status, source, title,
// assignedTo, companyName.
var ofContacts = func() map[string]bool {
	m := map[string]bool{}
	for _, member := range strings.Fields(`
		id contact contactId contactType email emailAddress additionalEmails emailLowerCase
		phone phoneNumber phoneRaw mobile mobilePhone cell additionalPhones
		name fullName firstName lastName dateOfBirth gender dnd dndSettings tags
		address address1 fullAddress city state postalCode zip country timezone website
		location locationId customData customFields customField dateCreated dateAdded dateUpdated timestamp webhookId
	`) {
		m[string(bare(member))] = true
	}
	return m
}()

// onlyOfContacts reports whether every member of an object is one of ofContacts.
func onlyOfContacts(text []byte) bool {
	return !anyMember(text, func(key string) bool { return !ofContacts[key] })
}

// hasPlace reports whether an object has what locations and companies have beside their name and phone number.
func hasPlace(text []byte) bool {
	return anyMember(text, func(key string) bool {
		return strings.Contains(key, "address") || key == "website" || key == "timezone"
	})
}

// ofOthers are members, by their letters and digits alone, that things with a person's name and phone number have, and contacts do not:
// users, forms, invoices, orders, tasks, deals.
var ofOthers = func() map[string]bool {
	m := map[string]bool{}
	for _, member := range strings.Fields(`
		status amount amountDue currency total price dueDate title body role roles permissions password direction messageType
		formId surveyId submissionId invoiceId orderId taskId noteId messageId conversationId emailId recordId productId priceId
		transactionId subscriptionId campaignId opportunityId pipelineId pipelineStageId monetaryValue appointmentId calendarId startTime
	`) {
		m[string(bare(member))] = true
	}
	return m
}()

// hasOthers reports whether an object has a member that shows that it is no contact.
func hasOthers(text []byte) bool {
	return anyMember(text, func(key string) bool { return ofOthers[key] })
}

// anyMember reports whether a member of an object, by its letters and digits alone, is such a one.
func anyMember(text []byte, such func(key string) bool) bool {
	found := false
	eachMember(text, func(key, _ []byte) { found = found || such(string(bare(strings.TrimSpace(string(key))))) })
	return found
}

// LocationCountryOf returns the country of the location that a body was sent for: an ISO 3166 code of two letters, "" where it
// does not say. Workflow bodies do.
func LocationCountryOf(b Body) string { return first("country", b.root.location, b.custom.location) }

// Reach is how a contact can be reached: every phone number and e-mail address that a body says of it, as they were typed, in the order
// in which they count. GHL's additional ones come last.
type Reach struct {
	Phones, Emails []string
	// NoPhone is true where the body has a phone number and it is empty: the contact has none.
	NoPhone bool
}

// ReachOf returns how the contact that a body concerns can be reached.
func ReachOf(b Body) Reach {
	var reach Reach
	levels := [...]object{b.root.object, b.root.contact, b.custom.object, b.custom.contact}
	for _, o := range levels {
		reach.Phones = appendTyped(reach.Phones, o, phoneMembers)
		reach.Emails = appendTyped(reach.Emails, o, emailMembers)
	}
	for _, o := range levels {
		reach.Phones = appendListed(reach.Phones, o.get("additionalPhones"), "phone", "phoneNumber", "number", "value")
		reach.Emails = appendListed(reach.Emails, o.get("additionalEmails"), "email", "address", "value")
	}
	phone := b.root.get("phone")
	empty := string(phone) == "null" || len(phone) > 1 && phone[0] == '"' && strings.TrimSpace(unquote(phone)) == ""
	reach.NoPhone = empty && len(reach.Phones) == 0
	return reach
}

// appendTyped appends what people typed into the members, each value once.
func appendTyped(list []string, o object, names []string) []string {
	for _, name := range names {
		list = appendOnce(list, o.text(name))
	}
	return list
}

// maxListed is how many additional phone numbers or e-mail addresses of a contact count.
const maxListed = 8

// appendListed appends the values of an array: texts, or objects with one of the members.
func appendListed(list []string, value []byte, members ...string) []string {
	var items []json.RawMessage
	if len(value) == 0 || value[0] != '[' || json.Unmarshal(value, &items) != nil {
		return list
	}
	for _, item := range items[:min(len(items), maxListed)] {
		var (
			text   string
			fields map[string]any
		)
		switch {
		case json.Unmarshal(item, &text) == nil:
			list = appendOnce(list, text)
		case json.Unmarshal(item, &fields) == nil:
			for _, member := range members {
				if text, ok := fields[member].(string); ok {
					list = appendOnce(list, text)
				}
			}
		}
	}
	return list
}

// appendOnce appends a text in which somebody may have typed something. It keeps line breaks: they stand between two values.
func appendOnce(list []string, text string) []string {
	text = strings.TrimSpace(text)
	if text == "" || text == "undefined" || text == "null" || strings.HasPrefix(text, "{{") || slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

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
