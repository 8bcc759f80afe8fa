package ghl_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

func TestAReplyIsAnOccurrenceAndAContactIsState(t *testing.T) {
	t.Parallel()
	const contact = `"contact_id":"c1","first_name":"Ann","phone":"+12025550142","workflow":{"id":"w1"}`
	for name, test := range map[string]struct {
		body string
		want bool
	}{
		"a reply as the trigger reports it":         {`{` + contact + `,"message":{"type":2,"body":"Yes"}}`, true},
		"a reply without a contact":                 {`{"phone":"+12025550142","message":{"type":2,"body":"Yes"}}`, true},
		"a reply of a contact with a deal":          {`{` + contact + `,"pipeline_id":"p1","id":"o1","message":{"body":"Yes"}}`, true},
		"a reply rebuilt at the root":               {`{` + contact + `,"message":"Yes"}`, true},
		"a reply rebuilt in the custom data":        {`{` + contact + `,"customData":{"message":"Yes"}}`, true},
		"a reply under another name":                {`{` + contact + `,"customData":{"message_body":"Yes"}}`, true},
		"a reply in the trigger's data":             {`{` + contact + `,"triggerData":{"messageBody":"Yes"}}`, true},
		"a reply whose type is known":               {`{"type":"InboundMessage","contactId":"c1","body":"Yes"}`, true},
		"a reply whose type is in the custom data":  {`{` + contact + `,"customData":{"type":"message.inbound","text":"Yes"}}`, true},
		"a reply with its contact's id as its own":  {`{` + contact + `,"customData":{"type":"InboundMessage","id":"c1"}}`, true},
		"a custom type":                             {`{` + contact + `,"customData":{"type":"form_submitted"}}`, true},
		"a note without an id":                      {`{"type":"NoteCreate","contactId":"c1","body":"Prefers mornings"}`, true},
		"a call that ended":                         {`{"type":"VoiceAiCallEnd","contactId":"c1"}`, true},
		"a message with an id":                      {`{"type":"InboundMessage","contactId":"c1","messageId":"m1","body":"Yes"}`, false},
		"an order with an id":                       {`{"type":"OrderCreate","_id":"o1","contactId":"c1"}`, false},
		"a contact":                                 {`{` + contact + `}`, false},
		"a contact with a message that is empty":    {`{` + contact + `,"message":"","customData":{"message":null,"body":{}}}`, false},
		"a contact by its type":                     {`{"type":"ContactUpdate","id":"c1"}`, false},
		"an appointment":                            {`{` + contact + `,"calendar":{"appointmentId":"a1"}}`, false},
		"an appointment with a text in custom data": {`{` + contact + `,"calendar":{"appointmentId":"a1"},"customData":{"message":"See you"}}`, false},
		"an appointment without an id":              {`{"type":"AppointmentCreate"}`, false},
		"an opportunity":                            {`{` + contact + `,"id":"o1","pipeline_id":"p1","body":"x"}`, false},
		"a body that says nothing":                  {`{}`, false},
		"an unknown body":                           {`{"a":"b"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode(jsonType, []byte(test.body))
			require.NoError(t, err)
			assert.Equal(t, test.want, body.IsOccurrence(ghl.Normalise(body, time.Now())))
		})
	}
}

func TestABodyCannotHaveTheTypeOfUnparseableBodies(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"type":"unparseable"}`, `{"customData":{"type":"Unparseable"}}`, `{"event":"UNPARSEABLE"}`} {
		body, err := ghl.Decode(jsonType, []byte(text))
		require.NoError(t, err)
		assert.Equal(t, event.TypeUnknown, ghl.Normalise(body, time.Now()).Type, text)
	}
}

func TestAFaultIsLocated(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		contentType, body string
		unparseable       bool
		says              string
	}{
		"a line break in a value": {
			jsonType, "{\n  \"note\": \"first\nsecond\"\n}", true,
			`body is not valid JSON: invalid character '\n' in string literal at byte 19, in line 2`,
		},
		"a quote in a value": {
			jsonType, "{\"a\":1,\n\n\"note\":\"says \"hi\" to all\"}", true,
			`body is not valid JSON: invalid character 'h' after object key:value pair at byte 24, in line 3`,
		},
		"an object that is cut": {jsonType, "{\"a\":\n", true, "body is not valid JSON: unexpected end of JSON input at byte 6, in line 1"},
		"after a byte-order mark": {
			jsonType, bom + "{\n]", true, "body is not valid JSON: invalid character ']' looking for beginning of object key string at byte 3, in line 2",
		},
		"bytes that are not UTF-8":   {jsonType, "{\"a\":\n\"Zo\xeb\"}", true, "body is not valid UTF-8 at byte 10, in line 2"},
		"a broken escape in a form":  {formType, "note=100% sure", true, "body is not a valid form: it has a broken percent escape"},
		"a form that is not UTF-8":   {formType, "a=%FF", true, "body is not valid UTF-8"},
		"no JSON":                    {jsonType, "Zoe Example", true, "body is not a JSON object: it is not JSON, and its content type is not a form's"},
		"a broken array":             {jsonType, `[1,]`, true, "body is not valid JSON: invalid character ']' looking for beginning of value at byte 4, in line 1"},
		"a bare word":                {jsonType, `none`, true, "body is not valid JSON: invalid character 'o' in literal null (expecting 'u') at byte 2, in line 1"},
		"an array":                   {jsonType, `[{},{}]`, false, "body is not a JSON object: it is an array"},
		"a string":                   {jsonType, `"a"`, false, "body is not a JSON object: it is a string"},
		"null":                       {jsonType, `null`, false, "body is not a JSON object: it is true, false, null or a bare word"},
		"an empty body":              {jsonType, " ", false, "body is empty"},
		"a body that nests too deep": {jsonType, nested(ghl.MaxDepth + 1), false, "body is nested deeper than 1000 levels"},
		"a valid body":               {jsonType, "{}", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ghl.Decode(test.contentType, []byte(test.body))
			assert.Equal(t, test.unparseable, ghl.IsUnparseable(err))
			assert.Equal(t, test.says, ghl.Fault(test.contentType, []byte(test.body)))
		})
	}
}
