package controllers_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"regexp/syntax"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// raw is JSON text, for values that Go cannot represent.
type raw = json.RawMessage

// object is a JSON object.
type object map[string]any

// generator generates values from the OpenAPI schema of a custom resource definition.
type generator struct{ *rand.Rand }

// valid returns a value that a schema admits.
func (g generator) valid(s apiextensionsv1.JSONSchemaProps) any {
	switch {
	case len(s.Enum) > 0:
		return raw(s.Enum[g.IntN(len(s.Enum))].Raw)
	case s.Type == "object":
		o := object{}
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			if slices.Contains(s.Required, name) || g.IntN(2) == 0 {
				o[name] = g.valid(s.Properties[name])
			}
		}
		return o
	case s.Type == "array":
		most := 2
		if s.MaxItems != nil {
			most = int(*s.MaxItems)
		}
		items := make([]any, g.IntN(most+1))
		for i := range items {
			items[i] = g.valid(*s.Items.Schema)
		}
		return items
	case s.Type == "boolean":
		return g.IntN(2) == 0
	case s.Type == "integer":
		return g.Int64N(1 << 31)
	case s.Pattern != "":
		return g.matching(s.Pattern)
	case s.Format == "date-time":
		return dateTimes[g.IntN(len(dateTimes))]
	default:
		length := 1 + g.IntN(8)
		if s.MaxLength != nil && g.IntN(4) == 0 {
			length = int(*s.MaxLength)
		}
		return strings.Repeat("é", length)
	}
}

// matching returns a text that matches a pattern.
func (g generator) matching(pattern string) string {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		panic(err)
	}
	var text strings.Builder
	g.write(&text, parsed.Simplify())
	return text.String()
}

func (g generator) write(text *strings.Builder, r *syntax.Regexp) {
	repeat := func(least, most int) {
		for range least + g.IntN(most-least+1) {
			g.write(text, r.Sub[0])
		}
	}
	switch r.Op {
	case syntax.OpLiteral:
		text.WriteString(string(r.Rune))
	case syntax.OpCharClass:
		class := g.IntN(len(r.Rune) / 2)
		text.WriteRune(r.Rune[2*class] + g.Int32N(r.Rune[2*class+1]-r.Rune[2*class]+1))
	case syntax.OpConcat:
		for _, sub := range r.Sub {
			g.write(text, sub)
		}
	case syntax.OpAlternate:
		g.write(text, r.Sub[g.IntN(len(r.Sub))])
	case syntax.OpCapture:
		repeat(1, 1)
	case syntax.OpQuest:
		repeat(0, 1)
	case syntax.OpStar:
		repeat(0, 4)
	case syntax.OpPlus:
		repeat(1, 12)
	default: // Anchors.
	}
}

// unusual returns values of a field that a client can send: at, within and beyond the bounds of its schema, and of other types.
func (g generator) unusual(s apiextensionsv1.JSONSchemaProps) []any {
	values := []any{
		raw(`null`), raw(`""`), raw(`"text"`), raw(`0`), raw(`-1`), raw(`3.0`), raw(`1.5`), raw(`1e3`), raw(`1E400`), raw(`99999999999`),
		raw(`99999999999999999999`), raw(`true`), raw(`[]`), raw(`[null]`), raw(`{}`), raw(`{"unknown": {"field": 1}}`), raw(`"\u0000\ud800"`),
	}
	for range 3 {
		values = append(values, g.valid(s))
	}
	if s.Format == "date-time" {
		for _, text := range slices.Concat(dateTimes, noDateTimes) {
			values = append(values, text)
		}
	}
	if s.Type == "integer" {
		values = append(values, raw(`2147483647`), raw(`2147483648`), raw(`-2147483649`), raw(`9223372036854775807`), raw(`9223372036854775808`))
	}
	if s.MaxLength != nil {
		values = append(values, strings.Repeat("x", int(*s.MaxLength)), strings.Repeat("x", int(*s.MaxLength)+1))
	}
	if s.Type == "array" {
		item := *s.Items.Schema
		for _, name := range slices.Sorted(maps.Keys(item.Properties)) {
			for _, value := range g.unusual(item.Properties[name]) {
				one, _ := g.valid(item).(object)
				one[name] = value
				values = append(values, []any{one})
			}
		}
		var full []any
		for range 20 {
			full = append(full, g.valid(item))
			values = append(values, slices.Clone(full))
		}
	}
	return values
}

// dateTimes are forms that RFC 3339 and the format date-time allow.
var dateTimes = []string{
	"2026-11-23T10:00:00Z", "2026-11-23T10:00:00.1Z", "2026-11-23T10:00:00.123Z", "2026-11-23T10:00:00.123456Z",
	"2026-11-23T10:00:00.123456789Z", "2026-11-23T10:00:00.1234567890123Z", "2026-11-23T10:00:00+05:30", "2026-11-23T10:00:00.5-08:00",
	"2026-11-23T10:00:00-00:00", "2026-11-23T10:00:00+23:59", "2026-11-23t10:00:00z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z",
	"1969-12-31T23:59:59Z", "9999-12-31T23:59:59.999999999Z", "2024-02-29T00:00:00Z",
}

// noDateTimes are other forms. The API server accepts some of them nevertheless.
var noDateTimes = []string{
	"2026-11-23T10:00:00ZTrubbish", "2026-11-23T10:00:00x123Z", "2026-11-23T10:00:00,123Z", "2026-11-23T10:00:00+99:99",
	"2026-11-23T10:00:00+24:00", "2026-11-23 10:00:00Z", "2026-11-23T23:59:60Z", "2026-11-23T24:00:00Z", "2026-11-23T10:00:00",
	"2026-11-23T10:00Z", "2026-11-23", "2026-02-30T10:00:00Z", "1764000000", "now",
}
