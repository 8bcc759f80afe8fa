package aloware

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxFields is the maximum number of invalid fields in a message.
const maxFields = 8

var (
	// fieldForm is the form of a field's name, such as "contacts.0.phone_number".
	fieldForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,39}$`)
	// likePhoneNumber matches a text that may be a phone number.
	likePhoneNumber = regexp.MustCompile(`[0-9]{5}`)
)

// refusedFields lists the fields that a refusal names; "" is none. It returns only names: a message about a field, and a text that does
// not have the form of a name, may repeat personal data of the request.
//
// Aloware's documentation does not show the form of such a response. Its framework writes {"errors": {"email": ["…"]}}. A list of
// objects with a member "field" is read as well, and so are both under "error" and "message".
func refusedFields(body []byte) string {
	var e struct {
		Errors, Error, Message json.RawMessage
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	var names []string
	for _, value := range [...]json.RawMessage{e.Errors, e.Error, e.Message} {
		names = append(names, fieldsIn(value)...)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !fieldForm.MatchString(name) || likePhoneNumber.MatchString(name)
	})
	slices.Sort(names)
	names = slices.Compact(names)
	switch more := len(names) - maxFields; {
	case len(names) == 0:
		return ""
	case more > 0:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxFields], ", "), more)
	default:
		return strings.Join(names, ", ")
	}
}

// fieldsIn returns the keys of an object, or the members "field" of a list of objects.
func fieldsIn(value json.RawMessage) (names []string) {
	var object map[string]json.RawMessage
	if json.Unmarshal(value, &object) == nil {
		for name := range object {
			names = append(names, name)
		}
		return names
	}
	var list []json.RawMessage
	if json.Unmarshal(value, &list) != nil {
		return nil
	}
	for _, item := range list {
		var named struct{ Field string }
		if json.Unmarshal(item, &named) == nil {
			names = append(names, named.Field)
		}
	}
	return names
}
