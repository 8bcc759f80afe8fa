package ghl_test

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
	bom      = "\xef\xbb\xbf"
)

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func TestDecodeKeepsObjectsByteForByte(t *testing.T) {
	t.Parallel()
	for name, text := range readBodies(t, "odd") {
		for _, contentType := range []string{
			jsonType, "application/json; charset=utf-8", "", "text/plain", formType, "multipart/form-data", ";;",
		} {
			t.Run(name+" as "+contentType, func(t *testing.T) {
				t.Parallel()
				body, err := ghl.Decode(contentType, []byte(text))
				require.NoError(t, err)
				assert.Equal(t, text, string(body.Payload))
				assert.Nil(t, body.Raw)
				if e := ghl.Normalise(body, received); name != "empty-object" {
					assert.Equal(t, "note.created", e.Type)
					assert.Equal(t, "n1", e.EntityID)
				}
			})
		}
		t.Run(name+" behind a byte-order mark", func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode(jsonType, []byte(bom+text))
			require.NoError(t, err)
			assert.Equal(t, text, string(body.Payload))
			assert.Equal(t, bom+text, string(body.Raw), "the bytes received are forwarded")
		})
	}
}

func TestDecodeReadsForms(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ form, payload string }{
		"fields are strings":                  {"type=ContactUpdate&n=1&flag=true", `{"type":"ContactUpdate","n":"1","flag":"true"}`},
		"escapes and plus signs":              {"name=Zo%C3%AB+%F0%9F%8E%89+%26%3D%3c", `{"name":"Zoë 🎉 &=<"}`},
		"NUL":                                 {"a=x%00y", `{"a":"x\u0000y"}`},
		"a repeated key is an array":          {"tags=a&tags=b&tags=c", `{"tags":["a","b","c"]}`},
		"a key with brackets at its end":      {"tags[]=a&tags[]=b", `{"tags":["a","b"]}`},
		"bracketed keys nest":                 {"customData[type]=x&customData%5Bid%5D=1&a[b][c]=d", `{"customData":{"type":"x","id":"1"},"a":{"b":{"c":"d"}}}`},
		"a bracketed list nests":              {"a[b][]=1&a[b][]=2", `{"a":{"b":["1","2"]}}`},
		"empty values, keys and pairs":        {"a=&b&=c&&", `{"a":"","b":"","":"c"}`},
		"semicolons are text":                 {"a=1;b=2", `{"a":"1;b=2"}`},
		"brackets in other positions":         {"[a]=1&a[=2&b]=3&c[d]e=4&f[[g]]=5&[]=6", `{"[a]":"1","a[":"2","b]":"3","c[d]e":"4","f[[g]]":"5","[]":"6"}`},
		"a bracketed key on a plain one":      {"a=1&a[b]=2&a[b]=3", `{"a":"1","a[b]":["2","3"]}`},
		"a plain key on a bracketed one":      {"a[b]=1&a=2&a=3", `{"a":{"b":"1","":["2","3"]}}`},
		"brackets deeper than anyone nests":   {"a" + strings.Repeat("[b]", 17) + "=1", `{"a` + strings.Repeat("[b]", 17) + `":"1"}`},
		"line end after the last pair":        {"a=1\r\n", `{"a":"1"}`},
		"byte-order mark":                     {bom + "a=1", `{"a":"1"}`},
		"a value that looks like JSON":        {`a={"b":1}`, `{"a":"{\"b\":1}"}`},
		"more pairs than net/url would parse": {strings.Repeat("a=1&", 20_000), `{"a":["1"` + strings.Repeat(`,"1"`, 19_999) + `]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, contentType := range []string{formType, "Application/X-WWW-Form-URLEncoded; charset=UTF-8", formType + "; charset"} {
				body, err := ghl.Decode(contentType, []byte(test.form))
				require.NoError(t, err)
				assert.JSONEq(t, test.payload, string(body.Payload))
				assert.Equal(t, test.form, string(body.Raw))
			}
		})
	}
}

func TestDecodeOfTheSameFormIsTheSameText(t *testing.T) {
	t.Parallel()
	form := []byte("b=1&a=2&customData[z]=3&customData[y]=4&c=5&d=6")
	first, err := ghl.Decode(formType, form)
	require.NoError(t, err)
	for range 20 {
		again, err := ghl.Decode(formType, form)
		require.NoError(t, err)
		require.Equal(t, string(first.Payload), string(again.Payload))
	}
}

func TestDecodeReportsTheFault(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		contentType, body string
		is                error
		says              string
	}{
		"nothing":                         {jsonType, "", ghl.ErrEmptyBody, "body is empty"},
		"white space":                     {jsonType, " \r\n\t", ghl.ErrEmptyBody, "body is empty"},
		"a byte-order mark alone":         {jsonType, bom, ghl.ErrEmptyBody, "body is empty"},
		"an empty form":                   {formType, "", ghl.ErrEmptyBody, "body is empty"},
		"a form of separators":            {formType, "&&", ghl.ErrEmptyBody, "body is empty"},
		"an array":                        {jsonType, `[{"a":1},{"a":2}]`, ghl.ErrNotObject, "array"},
		"a string":                        {jsonType, `"an event"`, ghl.ErrNotObject, "string"},
		"half an object in a string":      {jsonType, `"{\"a\":"`, ghl.ErrNotObject, "string"},
		"a number in an array":            {jsonType, `[1]`, ghl.ErrNotObject, "array"},
		"an empty array":                  {jsonType, `[]`, ghl.ErrNotObject, "array"},
		"half an array":                   {jsonType, `[{"a":1}`, ghl.ErrInvalidJSON, "unexpected end of JSON input"},
		"an object in five arrays":        {jsonType, `[[[[[{}]]]]]`, ghl.ErrNotObject, "array"},
		"a deep object in an array":       {jsonType, "[" + strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000) + "]", ghl.ErrTooDeep, "1000 levels"},
		"a number":                        {jsonType, `-1`, ghl.ErrNotObject, "number"},
		"null":                            {jsonType, `null`, ghl.ErrNotObject, "null"},
		"a form that is not called one":   {jsonType, `a=1`, ghl.ErrNotObject, "not JSON"},
		"an array that is called a form":  {formType, `[{"a":1},{"a":2}]`, ghl.ErrNotObject, "array"},
		"two byte-order marks":            {jsonType, bom + bom + "{}", ghl.ErrNotObject, "not JSON"},
		"an object that is cut":           {jsonType, `{"type":"Cont`, ghl.ErrInvalidJSON, "unexpected end of JSON input at byte 13"},
		"a cut object that is called one": {formType, `{"a":1`, ghl.ErrInvalidJSON, "unexpected end"},
		"text after the object":           {jsonType, `{} {}`, ghl.ErrInvalidJSON, "after top-level value at byte 4"},
		"a trailing comma":                {jsonType, `{"a":1,}`, ghl.ErrInvalidJSON, "at byte 8"},
		"single quotes":                   {jsonType, `{'a':1}`, ghl.ErrInvalidJSON, "at byte 2"},
		"a control character in a string": {jsonType, "{\"a\":\"\t\"}", ghl.ErrInvalidJSON, "at byte 7"},
		"a raw NUL":                       {jsonType, "{\"a\":\"\x00\"}", ghl.ErrInvalidJSON, "at byte 7"},
		"a broken escape":                 {jsonType, `{"a":"\u12g4"}`, ghl.ErrInvalidJSON, "at byte 11"},
		"a number with a leading zero":    {jsonType, `{"a":01}`, ghl.ErrInvalidJSON, "at byte 7"},
		"not UTF-8":                       {jsonType, "{\"a\":\"\xff\"}", ghl.ErrInvalidUTF8, "UTF-8"},
		"a surrogate in UTF-8":            {jsonType, "{\"a\":\"\xed\xa0\x80\"}", ghl.ErrInvalidUTF8, "UTF-8"},
		"UTF-16":                          {jsonType, "\xff\xfe{\x00}\x00", ghl.ErrInvalidUTF8, "UTF-8"},
		"a form that is not UTF-8":        {formType, "a=%FF", ghl.ErrInvalidUTF8, "UTF-8"},
		"a form with a broken escape":     {formType, "a=%zz", ghl.ErrInvalidForm, "percent escape"},
		"a form key with a broken escape": {formType, "%=1", ghl.ErrInvalidForm, "percent escape"},
		"too deep by one":                 {jsonType, `{"a":` + nested(ghl.MaxDepth) + `}`, ghl.ErrTooDeep, "1000 levels"},
		"objects too deep":                {jsonType, strings.Repeat(`{"a":`, 1001) + "1" + strings.Repeat("}", 1001), ghl.ErrTooDeep, "1000 levels"},
		"too deep for any parser":         {jsonType, `{"a":` + nested(500_000) + `}`, ghl.ErrTooDeep, "1000 levels"},
		"too deep and never closed":       {jsonType, strings.Repeat(`{"a":`, 200_000), ghl.ErrTooDeep, "1000 levels"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ghl.Decode(test.contentType, []byte(test.body))
			require.ErrorIs(t, err, test.is)
			assert.ErrorContains(t, err, test.says)
			assert.Less(t, len(err.Error()), 200)
		})
	}
}

// TestDecodeOfALargeBody checks that the position of a member in a body does not matter.
func TestDecodeOfALargeBody(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	text.WriteString(`{"type":"ContactUpdate","id":"c0"`)
	for i := range 40_000 {
		key, _ := json.Marshal(strings.Repeat("k", i%30))
		text.WriteString(`,` + string(key) + `:{"id":"x","type":"y"}`)
	}
	text.WriteString(`,"id":"c1","webhookId":"w1"}`)
	require.Greater(t, text.Len(), 1<<20)

	body, err := ghl.Decode(jsonType, text.Bytes())
	require.NoError(t, err)
	e := ghl.Normalise(body, received)
	assert.Equal(t, "contact.updated", e.Type)
	assert.Equal(t, "c1", e.EntityID)
	assert.Equal(t, "ghl:w1", e.DedupeKey)
}

func TestAnObjectInAStringOrInAnArrayOfOneIsWhatItContains(t *testing.T) {
	t.Parallel()
	const object = `{"type":"ContactCreate","id":"c \u00e9"}`
	quoted := strconv.Quote(object)
	for name, raw := range map[string]string{
		"an array":                    "[" + object + "]",
		"white space around":          " \r\n[ " + object + "\t]\n",
		"a string":                    quoted,
		"white space in a string":     strconv.Quote(" " + object + "\n"),
		"a string in an array":        "[" + quoted + "]",
		"an array in a string":        strconv.Quote("[" + object + "]"),
		"a string in a string":        strconv.Quote(quoted),
		"an array in an array":        "[[" + object + "]]",
		"a byte-order mark before it": bom + quoted,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode(jsonType, []byte(raw))
			require.NoError(t, err)
			assert.Equal(t, object, string(body.Payload))
			assert.Equal(t, raw, string(body.Raw), "what is forwarded")
			assert.Equal(t, "contact.created", ghl.Normalise(body, received).Type)
		})
	}
}
