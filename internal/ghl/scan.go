package ghl

import (
	"bytes"
	"encoding/json"
	"strings"
)

// object has those members of a JSON object that Normalise, PersonOf and BookingOf may need, so that its size does not depend on the
// body's. A missing object is nil.
type object []member

type member struct {
	name string
	// value is the JSON text of the value, without white space around it.
	value []byte
	// padded is true if the body's key has white space around the name.
	padded bool
}

// get returns the JSON text of a member's value, nil if there is none.
func (o object) get(name string) []byte {
	for i := range o {
		if o[i].name == name {
			return o[i].value
		}
	}
	return nil
}

// set keeps the last of duplicate members. A padded key never replaces an exact one.
func (o object) set(m member) object {
	for i := range o {
		if o[i].name == m.name {
			if o[i].padded || !m.padded {
				o[i] = m
			}
			return o
		}
	}
	return append(o, m)
}

// block returns a member that is an object, nil if it is missing or something else.
func (o object) block(name string) object {
	if value := o.get(name); len(value) > 0 && value[0] == '{' {
		return membersOf(value)
	}
	return nil
}

// text returns a string unescaped and a number as written, without rounding; "" for anything else.
func (o object) text(name string) string {
	value := o.get(name)
	switch {
	case len(value) == 0:
		return ""
	case value[0] == '"':
		return unquote(value)
	case value[0] == '-' || '0' <= value[0] && value[0] <= '9':
		return string(value)
	default:
		return ""
	}
}

// membersOf reads text, which must be a valid JSON object. Keys must match exactly, except for white space around them: people's customData
// has keys with a leading tab.
func membersOf(text []byte) object {
	found := make(object, 0, 8)
	eachMember(text, func(key, value []byte) {
		trimmed := bytes.TrimSpace(key)
		if name, ok := wanted[string(trimmed)]; ok {
			found = found.set(member{name: name, value: value, padded: len(trimmed) != len(key)})
		}
	})
	return found
}

// eachMember calls yield with the unescaped key and the JSON text of the value of each member of text, which must be a valid JSON object.
func eachMember(text []byte, yield func(key, value []byte)) {
	c := cursor{text: text}
	c.space()
	c.at++ // {
	for c.space(); c.text[c.at] != '}'; c.space() {
		if c.text[c.at] == ',' {
			c.at++
			c.space()
		}
		quoted := c.string()
		c.space()
		c.at++ // :
		c.space()
		value := c.value()

		key := quoted[1 : len(quoted)-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			key = []byte(unquote(quoted))
		}
		yield(key, value)
	}
}

// cursor steps through valid JSON text. It replaces json.Decoder for speed: with json.Decoder, BenchmarkDecodeNormalise takes three to four
// times as long, as long as checking the signature, and allocates 5 MiB for a body of 1 MiB. The cursor allocates nothing.
type cursor struct {
	text []byte
	at   int
}

func (c *cursor) space() {
	for c.at < len(c.text) && isSpace(c.text[c.at]) {
		c.at++
	}
}

// string steps over the string at the cursor and returns it with its quotes.
func (c *cursor) string() []byte {
	start := c.at
	c.at = stringEnd(c.text, start)
	return c.text[start:c.at]
}

// value steps over the value at the cursor and returns its text.
func (c *cursor) value() []byte {
	start := c.at
	switch c.text[c.at] {
	case '"':
		return c.string()
	case '{', '[':
		for depth := 0; ; {
			switch c.text[c.at] {
			case '"':
				c.at = stringEnd(c.text, c.at)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			if c.at++; depth == 0 {
				return c.text[start:c.at]
			}
		}
	default:
		for c.at < len(c.text) && !endsLiteral(c.text[c.at]) {
			c.at++
		}
		return c.text[start:c.at]
	}
}

// stringEnd returns the end of the string at start, after its closing quote; len(text) if it has none.
func stringEnd(text []byte, start int) int {
	for at := start + 1; ; {
		quote := bytes.IndexByte(text[at:], '"')
		if quote < 0 {
			return len(text)
		}
		at += quote + 1
		backslashes := 0
		for text[at-2-backslashes] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 {
			return at
		}
	}
}

// nesting returns the depth of the brackets of text, which need not be valid JSON.
func nesting(text []byte) int {
	deepest, depth := 0, 0
	for at := 0; at < len(text); at++ {
		switch text[at] {
		case '"':
			at = stringEnd(text, at) - 1
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		}
	}
	return deepest
}

// unquote unescapes a valid JSON string. A lone surrogate becomes U+FFFD.
func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return ""
	}
	return s
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func endsLiteral(c byte) bool { return c == ',' || c == '}' || c == ']' || isSpace(c) }

// wanted has the names of all members that Normalise, PersonOf and BookingOf need, at any level. The values are the names, too, so that a
// match needs no copy of the key. The tables of rules add theirs.
var wanted = func() map[string]string {
	m := map[string]string{}
	for _, names := range [][]string{
		{
			"type", "event", "customData", "data", "workflow", "appointment", "calendar", "contact", "location", "contactSnapshot",
			"id", "_id", "webhookId", "appId", "payloadTooLarge", "status", "dateAdded", "date_created", "altId", "altType",
			"triggerData",
		},
		opportunityMarks, appointmentMarks, calendarMembers, pipelineMembers, personMembers, messageMembers,
	} {
		for _, name := range names {
			m[name] = name
		}
	}
	for _, names := range namesOf {
		for _, name := range names {
			m[name] = name
		}
	}
	return m
}()

// want adds a member to wanted. It is called only while the package initialises.
func want(member string) string {
	wanted[member] = member
	return member
}

// namesOf has the idNames of all entities.
var namesOf = func() map[string][]string {
	m := make(map[string][]string, len(entities))
	for _, entity := range entities {
		m[entity] = idNames(entity)
	}
	return m
}()

// idNames are the names of members with an entity's id, also in bodies about something else: "objectSchemaId" and "object_schema_id" for
// "object_schema".
func idNames(entity string) []string {
	words := strings.Split(entity, "_")
	for i, word := range words[1:] {
		words[i+1] = strings.ToUpper(word[:1]) + word[1:]
	}
	return []string{strings.Join(words, "") + "Id", entity + "_id"}
}
