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

// content is what an event holds: every text in it, and the ids of the contacts that its body names as those it is about.
type content struct {
	texts  []string
	owners []string
}

// contentOf reads an event. A body that does not parse is read as text, with its escapes resolved.
func contentOf(e store.EventData) content {
	var c content
	c.json(e.Payload)
	c.json(e.Headers)
	if len(e.Raw) > 0 {
		c.raw(string(e.Raw))
	}
	for _, text := range []string{
		e.Message, e.EntityID, e.LocationID, e.Type, e.AppointmentStatus, e.OrderingKey, e.DedupeKey, e.ReplayRequest,
	} {
		c.text(text)
	}
	return c
}

func (c *content) text(text string) {
	if text == "" {
		return
	}
	c.texts = append(c.texts, text)
	if strings.Contains(text, "%") {
		if decoded := percentDecoded(text); decoded != text {
			c.texts = append(c.texts, decoded)
		}
	}
}

// json adds every string, number and key of a JSON text, those of duplicate keys too.
func (c *content) json(text []byte) {
	if len(text) == 0 {
		return
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	w := walker{content: c, decoder: decoder}
	if err := w.value("", ""); err != nil {
		c.raw(string(text)) // Postgres takes some texts for JSON that Go does not.
	}
}

// walker reads a JSON text. It keeps the names of the member and of the object that it is in.
type walker struct {
	*content
	decoder *json.Decoder
}

// maxDepth is how deeply a body may be nested that is read as JSON; a deeper one is read as text.
const maxDepth = 1000

var errTooDeep = &json.SyntaxError{}

func (w *walker) value(parent, key string) error { return w.nested(parent, key, 0) }

func (w *walker) nested(parent, key string, depth int) error {
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
			inner := ""
			if token == '{' {
				name, err := w.decoder.Token()
				if err != nil {
					return err
				}
				inner, _ = name.(string)
				w.text(inner)
			}
			if err := w.nested(key, inner, depth+1); err != nil {
				return err
			}
		}
		_, err = w.decoder.Token()
		return err
	case string:
		w.text(token)
		if namesContact(parent, key) {
			w.owner(token)
		}
	case json.Number:
		w.text(token.String())
	}
	return nil
}

// namesContact reports whether a member holds the id of the contact that a body is about.
func namesContact(parent, key string) bool {
	switch bare(key) {
	case "contactid":
		return true
	case "id":
		switch bare(parent) {
		case "contact", "contactsnapshot", "contactdetails":
			return true
		}
	}
	return false
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

// rawOwner finds the id of a contact in a body that does not parse, be it JSON or a form.
var rawOwner = regexp.MustCompile(`(?i)\bcontact(?:_?id"?|"\s*:\s*\{\s*"id"|%5Bid%5D|\[id\])\s*[:=]\s*"?([A-Za-z0-9_-]{1,128})`)

// raw adds a text that does not parse, or that was sent in another form than it is kept in.
func (c *content) raw(text string) {
	text = strings.ReplaceAll(text, "\x00", "") // UTF-16, as it came.
	c.text(unescaped(text))
	for _, match := range rawOwner.FindAllStringSubmatch(text, -1) {
		c.owner(match[1])
	}
}

func (c *content) owner(id string) {
	if id = strings.TrimSpace(id); id != "" && id != "undefined" && id != "null" && !slices.Contains(c.owners, id) {
		c.owners = append(c.owners, id)
	}
}

var escape = regexp.MustCompile(`\\(?:u[0-9A-Fa-f]{4}|["\\/bfnrt])`)

// unescaped resolves the escapes of JSON wherever they stand.
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

// percentDecoded resolves the escapes of URLs and forms wherever they stand.
func percentDecoded(text string) string {
	return percent.ReplaceAllStringFunc(text, func(e string) string {
		decoded, err := url.PathUnescape(e)
		if err != nil {
			return e
		}
		return decoded
	})
}

// wordIn reports whether an id stands in a text and is no part of a longer one.
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
