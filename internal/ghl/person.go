package ghl

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// phoneMembers and emailMembers are the names of members with a contact's phone number and e-mail address: GoHighLevel's own first, then
// those that people choose.
var (
	phoneMembers = []string{"phone", "phoneNumber", "phone_number", "mobile", "mobilePhone", "mobile_phone", "cell", "phoneRaw"}
	emailMembers = []string{"email", "emailAddress", "email_address", "emailLowerCase"}
	nameMembers  = []string{"firstName", "first_name", "lastName", "last_name", "fullName", "full_name"}
)

// personMembers are the names of all members about a contact.
var personMembers = slices.Concat(phoneMembers, emailMembers, nameMembers,
	[]string{"country", "name", "additionalPhones", "additionalEmails"})

// PersonOf returns what a body says about its contact, if the event is about an appointment or a contact: first from the root, where
// marketplace contact events and workflow bodies have it, then from the contact block; a phone number and an address also from
// customData. A member called name at the root is the contact's only if the body is certainly a contact's: see nameIsPersons.
func PersonOf(b Body, entityType string) event.Person {
	root, contact, custom := b.root.object, b.root.contact, b.custom.object
	p := event.Person{
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

// nameIsPersons reports whether a member called name at the root of a contact event is the contact's name. Deals, invoices, forms, tasks,
// products and companies have a name and a contact's id, too: without a type they are contact events. So either a type must say contact,
// and no member may say otherwise; or there is no type, and contacts can have every member. In a workflow body the contact's name is
// full_name, and name is a custom field.
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

// ofContacts are the members, by their letters and digits only, that describe contacts, the sender and the delivery. Members that a contact
// shares with an invoice, a task or a deal are not among them: status, source, title, assignedTo, companyName.
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

// onlyOfContacts reports whether every member of an object is in ofContacts.
func onlyOfContacts(text []byte) bool {
	return !anyMember(text, func(key string) bool { return !ofContacts[key] })
}

// hasAddress reports whether an object has an address, website or time zone, as locations and companies do.
func hasAddress(text []byte) bool {
	return anyMember(text, func(key string) bool {
		return strings.Contains(key, "address") || key == "website" || key == "timezone"
	})
}

// ofOthers are members, by their letters and digits only, that contacts do not have, but other entities with a person's name and phone
// number do: users, forms, invoices, orders, tasks, deals.
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

// hasOthers reports whether an object has a member that contacts do not have.
func hasOthers(text []byte) bool {
	return anyMember(text, func(key string) bool { return ofOthers[key] })
}

// anyMember reports whether such holds for a member's name, by its letters and digits only.
func anyMember(text []byte, such func(key string) bool) bool {
	found := false
	eachMember(text, func(key, _ []byte) { found = found || such(string(bare(strings.TrimSpace(string(key))))) })
	return found
}

// LocationCountryOf returns the country of a body's location: an ISO 3166 code of two letters, "" if the body does not say. Workflow
// bodies do.
func LocationCountryOf(b Body) string { return first("country", b.root.location, b.custom.location) }

// ReachOf returns how to reach the contact of a body.
func ReachOf(b Body) event.Reach {
	var reach event.Reach
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

// appendTyped appends the values of the members, as typed, each value once.
func appendTyped(list []string, o object, names []string) []string {
	for _, name := range names {
		list = appendOnce(list, o.text(name))
	}
	return list
}

// maxListed is the maximum number of additional phone numbers or e-mail addresses of a contact.
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

// appendOnce appends a text that a person may have typed. It keeps line breaks, which separate two values.
func appendOnce(list []string, text string) []string {
	text = strings.TrimSpace(text)
	if text == "" || text == "undefined" || text == "null" || strings.HasPrefix(text, "{{") || slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

func first(name string, objects ...object) string { return firstOf([]string{name}, objects...) }

// firstOf returns the value of the first member, object by object, that has a word. What cannot be an id (an empty template, "undefined")
// is not a word either.
func firstOf(names []string, objects ...object) string {
	for _, o := range objects {
		if word := o.plain(names...); word != "" {
			return word
		}
	}
	return ""
}
