package ghl

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// MaxIDLen is the maximum length of an id, in bytes. GoHighLevel's own have 20 to 36.
const MaxIDLen = 256

// id returns the id of the first member that has one, "" if none does.
func (o object) id(names ...string) string {
	for _, name := range names {
		if id := cleanID(o.text(name)); id != "" {
			return id
		}
	}
	return ""
}

// plain returns the first short text of the members, "" if none has one.
func (o object) plain(names ...string) string {
	for _, name := range names {
		if text := cleanText(o.text(name)); text != "" {
			return text
		}
	}
	return ""
}

// word returns a member that is a string, without white space around it; "" if it is missing or something else.
func (o object) word(name string) string {
	if value := o.get(name); len(value) > 0 && value[0] == '"' {
		return strings.TrimSpace(unquote(value))
	}
	return ""
}

// cleanID returns id without invisible characters, or "" if cleanText rejects it. People copy marks of writing direction and zero-width
// characters along with ids; in kubectl's output they would reorder or hide the text beside them.
func cleanID(id string) string { return cleanText(strings.Map(dropInvisible, id)) }

func dropInvisible(r rune) rune {
	if event.IsInvisible(r) {
		return -1
	}
	return r
}

// cleanText returns text without white space around it, or "" if it cannot be an id or a word: longer than MaxIDLen, with a control
// character (Postgres cannot store NUL in text) or a replacement character (two broken ids would become one), or the result of an empty
// template. Such an id counts as missing, because an invented one would connect unrelated events. The payload keeps it.
func cleanText(text string) string {
	text = strings.TrimSpace(text)
	if len(text) > MaxIDLen || text == "undefined" || text == "null" || strings.HasPrefix(text, "{{") {
		return ""
	}
	for _, r := range text {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return ""
		}
	}
	return text
}

// timeLayouts are the forms of ISO 8601 that senders use. A time without an offset is in UTC, as in the API.
var timeLayouts = []string{
	time.RFC3339,
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04",
	"2006-01-02",
}

// earliest is the minimum time of an event: GoHighLevel did not exist before.
var earliest = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// parseTime parses a JSON value as a time: ISO 8601, or the seconds or milliseconds since 1970 as a number or a string of digits. The
// result is in UTC, with the microseconds that Postgres stores.
func parseTime(value []byte) (time.Time, bool) {
	if len(value) == 0 || len(value) > MaxIDLen {
		return time.Time{}, false
	}
	text := string(value)
	if value[0] == '"' {
		text = strings.TrimSpace(unquote(value))
	}
	at, ok := parseEpoch(text)
	if !ok {
		at, ok = parseISO(text)
	}
	if !ok || at.Before(earliest) {
		return time.Time{}, false
	}
	return at.UTC().Truncate(time.Microsecond), true
}

func parseISO(text string) (time.Time, bool) {
	if len(text) > 10 && text[10] == ' ' {
		text = text[:10] + "T" + text[11:]
	}
	for _, layout := range timeLayouts {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// parseEpoch distinguishes milliseconds and seconds by their size: 1e11 is in the year 5138 as seconds, and in 1973 as milliseconds.
func parseEpoch(text string) (time.Time, bool) {
	if strings.Trim(text, "0123456789.") != "" {
		return time.Time{}, false
	}
	n, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || n >= 1e14:
		return time.Time{}, false
	case n < 1e11:
		n *= 1000
	}
	return time.UnixMicro(int64(math.Round(n * 1000))), true
}
