package erasure

import (
	"bytes"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// content is the text of an event.
type content struct {
	// texts are all texts in it.
	texts []string
	// body are the texts of its body about people, without those about a location, a user or a calendar. form is the text of a form, which
	// does not distinguish these.
	body, form []string
	// owners are the ids of the contacts that the body is about, related those of other contacts that it names.
	owners, related []string
}

// contentOf reads an event. It reads a body that does not parse as text, with its escapes resolved.
func contentOf(e store.EventData) content {
	var c content
	c.json(e.Payload)
	switch raw := strings.ReplaceAll(string(e.Raw), "\x00", ""); { // UTF-16.
	case raw == "":
	case json.Valid([]byte(raw)):
		c.json([]byte(raw))
	case bytes.Equal(bytes.TrimSpace(e.Payload), []byte("{}")):
		c.raw(raw)
	default:
		c.form = append(c.form, strings.ReplaceAll(percentDecoded(raw), "+", " "))
		c.text(raw, false)
		c.text(c.form[0], false)
	}
	headers := content{}
	headers.json(e.Headers)
	c.texts = append(c.texts, headers.texts...)
	for _, text := range []string{
		e.Message, e.EntityID, e.LocationID, e.Type, e.AppointmentStatus, e.OrderingKey, e.DedupeKey, e.ReplayRequest,
	} {
		c.text(text, false)
	}
	return c
}

// text adds a text, and the text with its percent escapes resolved.
func (c *content) text(text string, ofPeople bool) {
	if text == "" {
		return
	}
	for _, form := range slices.Compact([]string{text, percentDecoded(text), percentDecoded(percentDecoded(text))}) {
		c.texts = append(c.texts, form)
		if ofPeople {
			c.body = append(c.body, form)
		}
	}
}

// json adds every string, number and key of a JSON text, including those of duplicate keys.
func (c *content) json(text []byte) {
	if len(text) == 0 {
		return
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	w := walker{content: c, decoder: decoder}
	if err := w.value("", "", true, 0); err != nil {
		c.raw(string(text)) // Postgres accepts some texts as JSON that Go rejects.
	}
}

// walker reads a JSON text.
type walker struct {
	*content
	decoder *json.Decoder
}

// maxDepth is the maximum nesting of a body that is read as JSON; a deeper one is read as text.
const maxDepth = 1000

var errTooDeep = &json.SyntaxError{}

// value reads the value of a member. parent is the name of the member that contains its object. An array is read as if each of its items
// were the member's value.
func (w *walker) value(parent, key string, ofPeople bool, depth int) error {
	if depth > maxDepth {
		return errTooDeep
	}
	token, err := w.decoder.Token()
	if err != nil {
		return err
	}
	switch token := token.(type) {
	case json.Delim:
		for w.decoder.More() {
			outer, inner, people := parent, key, ofPeople
			if token == '{' {
				name, err := w.decoder.Token()
				if err != nil {
					return err
				}
				outer = key
				inner, _ = name.(string)
				people = ofPeople && !notOfPeople(inner)
				w.text(inner, ofPeople)
			}
			if err := w.value(outer, inner, people, depth+1); err != nil {
				return err
			}
		}
		_, err = w.decoder.Token()
		return err
	case string:
		w.member(parent, key, token, ofPeople)
	case json.Number:
		w.member(parent, key, token.String(), ofPeople)
	}
	return nil
}

// notOfPeople reports whether a member describes a location, a user or a calendar, such as the phone number of a clinic or of an agent.
func notOfPeople(key string) bool {
	switch name := bare(key); name {
	case "location", "locations", "user", "users", "calendar", "company", "business", "agency", "agent", "agents", "staff", "team", "host",
		"organizer", "createdby", "updatedby", "lastupdatedby":
		return true
	default:
		return strings.HasPrefix(name, "assign") || strings.HasPrefix(name, "location") || strings.HasPrefix(name, "user") ||
			strings.HasPrefix(name, "calendar")
	}
}

func (w *walker) member(parent, key, text string, ofPeople bool) {
	w.text(text, ofPeople)
	switch name, in := bare(key), bare(parent); {
	case name == "contactid", name == "contactids", name == "contacts", name == "contact",
		name == "id" && (in == "contact" || in == "contacts" || in == "contactsnapshot" || in == "contactdetails"):
		if name != "contact" && name != "contacts" || isGHLID(text) {
			w.owners = appendID(w.owners, text)
		}
	case strings.HasSuffix(name, "contactid"), strings.HasSuffix(name, "contactids"),
		name == "id" && (strings.HasSuffix(in, "contact") || strings.HasSuffix(in, "contacts")):
		w.related = appendID(w.related, text)
	}
}

// isGHLID reports whether a text looks like an id of GoHighLevel: about twenty letters and digits.
func isGHLID(text string) bool {
	const shortest, longest = 15, 64
	return len(text) >= shortest && len(text) <= longest &&
		strings.ContainsFunc(text, unicode.IsDigit) && !strings.ContainsFunc(text, isNotOfID)
}

func isNotOfID(r rune) bool {
	return !unicode.In(r, unicode.L, unicode.Nd) && r != '_' && r != '-' || r > unicode.MaxASCII
}

// bare returns the letters and digits of a name in lower case.
func bare(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

var (
	// rawOwner matches the id of a contact in JSON or a form that does not parse, rawRelated that of any related contact.
	rawOwner   = regexp.MustCompile(`(?i)(?:^|[^a-z0-9])contact(?:_?id"?|%5Bid%5D|\[id\])\s*[:=]\s*"?([A-Za-z0-9_-]{1,128})`)
	rawRelated = regexp.MustCompile(`(?i)contact_?ids?(?:"|%5B%5D|\[\])?\s*[:=]\s*\[?\s*"?([A-Za-z0-9_-]{1,128})`)
	// rawContact matches the start of an object of contacts, or of an array of their ids; quotedID matches an id in it.
	rawContact = regexp.MustCompile(`(?i)(contacts?|contact_?ids|contactSnapshot|contactDetails)"\s*:\s*[\[{]`)
	objectID   = regexp.MustCompile(`(?i)"_?id"\s*:\s*"?([A-Za-z0-9_-]{1,128})`)
	quotedID   = regexp.MustCompile(`"([A-Za-z0-9_-]{15,64})"`)
)

// raw adds a text that does not parse.
func (c *content) raw(text string) {
	c.text(unescaped(text), true)
	for _, match := range rawOwner.FindAllStringSubmatch(text, -1) {
		c.owners = appendID(c.owners, match[1])
	}
	for _, match := range rawRelated.FindAllStringSubmatch(text, -1) {
		c.related = appendID(c.related, match[1])
	}
	for _, at := range rawContact.FindAllStringIndex(text, -1) {
		inside := bracketed(text[at[1]-1:])
		for i, match := range objectID.FindAllStringSubmatch(inside, -1) {
			if i == 0 {
				c.owners = appendID(c.owners, match[1])
			}
			c.related = appendID(c.related, match[1])
		}
		if inside[0] == '[' && !strings.Contains(inside, "{") {
			for _, match := range quotedID.FindAllStringSubmatch(inside, -1) {
				c.related = appendID(c.related, match[1])
			}
		}
	}
}

// bracketed returns a text that begins with a bracket up to the closing bracket, or all of it if there is none.
func bracketed(text string) string {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth == 0 {
				return text[:i+1]
			}
		}
	}
	return text
}

// noIDs are words that senders write in place of a missing id.
var noIDs = []string{"undefined", "null", "none", "nil", "nan", "na", "unknown", "true", "false", "empty", "missing", "object"}

// IsNoID reports whether a text in place of an id means none: a word, a merge field, an e-mail address or the empty text.
func IsNoID(text string) bool {
	return slices.Contains(noIDs, bare(text)) || bare(text) == "" || strings.ContainsAny(text, "@{}[]<>")
}

func appendID(ids []string, id string) []string {
	if id = strings.TrimSpace(id); IsNoID(id) || slices.Contains(ids, id) {
		return ids
	}
	return append(ids, id)
}

var escape = regexp.MustCompile(`\\(?:u[0-9A-Fa-f]{4}|["\\/bfnrt])`)

// unescaped resolves the escapes of JSON anywhere in a text.
func unescaped(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	return escape.ReplaceAllStringFunc(text, func(e string) string {
		var s string
		if json.Unmarshal([]byte(`"`+e+`"`), &s) != nil {
			return e
		}
		return s
	})
}

var percent = regexp.MustCompile(`(?:%[0-9A-Fa-f]{2})+`)

// percentDecoded resolves the escapes of URLs and forms anywhere in a text.
func percentDecoded(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	return percent.ReplaceAllStringFunc(text, func(e string) string {
		decoded, err := url.PathUnescape(e)
		if err != nil {
			return e
		}
		return decoded
	})
}

// wordIn reports whether a text contains an id that is not part of a longer one.
func wordIn(text, id string) bool {
	for from := 0; ; {
		at := strings.Index(text[from:], id)
		if at < 0 {
			return false
		}
		start, end := from+at, from+at+len(id)
		if (start == 0 || !isOfID(text[start-1])) && (end == len(text) || !isOfID(text[end])) {
			return true
		}
		from = start + 1
	}
}

func isOfID(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}
