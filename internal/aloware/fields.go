package aloware

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxFields is how many of the fields that a refusal names are shown.
const maxFields = 8

var (
	// fieldForm is what the name of a field may look like, "contacts.0.phone_number" among them.
	fieldForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,39}$`)
	// likeANumber tells what is rather a phone number than a name.
	likeANumber = regexp.MustCompile(`[0-9]{5}`)
)

// refusedFields says which fields a refusal names, "" where it names none. The names alone are shown: what is said of a field, and what
// has not the form of a name, may repeat what was sent.
//
// Aloware's documentation does not show the form. Its framework's is {"errors": {"email": ["…"]}}; a list of objects that name
// a field, and the same under "error" and "message", are read as well.
func refusedFields(body []byte) string {
	var e struct {
		Errors, Error, Message json.RawMessage
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	var names []string
	for _, said := range [...]json.RawMessage{e.Errors, e.Error, e.Message} {
		names = append(names, fieldsIn(said)...)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !fieldForm.MatchString(name) || likeANumber.MatchString(name)
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

// fieldsIn returns the keys of an object, and of a list of objects what each says that its field is.
func fieldsIn(said json.RawMessage) (names []string) {
	var object map[string]json.RawMessage
	if json.Unmarshal(said, &object) == nil {
		for name := range object {
			names = append(names, name)
		}
		return names
	}
	var list []json.RawMessage
	if json.Unmarshal(said, &list) != nil {
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
