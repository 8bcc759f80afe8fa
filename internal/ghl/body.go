package ghl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"unicode/utf8"
)

// MaxDepth is how deep objects and arrays of a body may nest, the outermost object counted.
const MaxDepth = 1000

// Errors of Decode. Each is about the body that was sent, so that the answer is HTTP 400; their texts, and what is
// wrapped around them, may be shown to the sender.
var (
	// ErrEmptyBody: there is nothing but white space.
	ErrEmptyBody = errors.New("body is empty")
	// ErrNotObject: the body is neither a JSON object nor a form.
	ErrNotObject = errors.New("body is not a JSON object")
	// ErrInvalidJSON: the body starts like a JSON object and is none, for instance because it was cut.
	ErrInvalidJSON = errors.New("body is not valid JSON")
	// ErrInvalidForm: the content type says form, and the body has a broken percent escape.
	ErrInvalidForm = errors.New("body is not a valid form")
	// ErrFormTooLarge: the form has more fields, or nests more objects, than a webhook has.
	ErrFormTooLarge = errors.New("form is too large")
	// ErrInvalidUTF8: some bytes are no UTF-8.
	ErrInvalidUTF8 = errors.New("body is not valid UTF-8")
	// ErrTooDeep: the body nests deeper than MaxDepth.
	ErrTooDeep = fmt.Errorf("body is nested deeper than %d levels", MaxDepth)
)

// Body is a webhook's body.
type Body struct {
	// Payload is the JSON object to store. Postgres takes it as type json: it is valid JSON in valid UTF-8, and the
	// json type keeps the text, \u0000 and lone surrogate escapes, duplicate keys and numbers of any size included.
	Payload []byte
	// Raw is the bytes received where they are not Payload: a form, or a body with a byte-order mark. Nil otherwise.
	Raw []byte

	root   scope
	custom scope
	data   object
	// workflow says that a workflow action sent it: only those carry a workflow block.
	workflow bool
}

// scope is a level of a body at which GHL's blocks can stand: the root, and customData, where people rebuild them.
type scope struct {
	object
	appointment, calendar, contact, location object
	// snapshot is the contact as events of payments repeat it.
	snapshot object
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// Decode reads the bytes of a request. A JSON object is taken whatever the content type says, since senders get it
// wrong; anything else is taken only as the form that the content type says it is. Payload and Raw share raw's memory.
// Of duplicate keys the last one is read; what is stored is the text as it came.
//
// Its errors are the ones above.
func Decode(contentType string, raw []byte) (Body, error) {
	text := bytes.TrimPrefix(raw, byteOrderMark)
	if !utf8.Valid(text) {
		return Body{}, ErrInvalidUTF8
	}
	b := Body{Payload: text}
	if len(text) != len(raw) {
		b.Raw = raw
	}
	switch first := firstByte(text); {
	case first == 0:
		return Body{}, ErrEmptyBody
	case first == '{':
		if err := validate(text); err != nil {
			return Body{}, err
		}
	case isForm(contentType) && !json.Valid(text):
		payload, err := decodeForm(string(text))
		if err != nil {
			return Body{}, err
		}
		b.Payload, b.Raw = payload, raw
	default:
		return Body{}, fmt.Errorf("%w: %s", ErrNotObject, kindOf(first))
	}
	b.read()
	return b, nil
}

// read finds the members and blocks that Normalise looks at.
func (b *Body) read() {
	b.root = scopeOf(membersOf(b.Payload))
	b.custom = scopeOf(b.root.block("customData"))
	b.data = b.root.block("data")
	b.workflow = b.root.block("workflow") != nil
}

func scopeOf(o object) scope {
	return scope{
		object:      o,
		appointment: o.block("appointment"),
		calendar:    o.block("calendar"),
		contact:     o.block("contact"),
		location:    o.block("location"),
		snapshot:    o.block("contactSnapshot"),
	}
}

// AppID is the id of the marketplace app that the body was sent for, "" where it does not say.
func (b Body) AppID() string { return b.root.id("appId") }

// validate reports what is wrong with text, which starts like an object. The depth comes first: it bounds what a
// parser has to remember, here and in Postgres.
func validate(text []byte) error {
	if nesting(text) > MaxDepth {
		return ErrTooDeep
	}
	if json.Valid(text) {
		return nil
	}
	var discard json.RawMessage
	err := json.Unmarshal(text, &discard)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("%w: %w at byte %d", ErrInvalidJSON, syntax, syntax.Offset)
	}
	return ErrInvalidJSON
}

// firstByte is the first byte of text that is not JSON white space, 0 where there is none.
func firstByte(text []byte) byte {
	for _, c := range text {
		if !isSpace(c) {
			return c
		}
	}
	return 0
}

func isForm(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) &&
		mediaType == "application/x-www-form-urlencoded"
}

// kindOf names what starts with first, for people.
func kindOf(first byte) string {
	switch {
	case first == '[':
		return "it is an array"
	case first == '"':
		return "it is a string"
	case first == '-' || '0' <= first && first <= '9':
		return "it is a number"
	case first == 't' || first == 'f' || first == 'n':
		return "it is true, false, null or a bare word"
	default:
		return "it starts like no JSON at all, and is not sent as a form"
	}
}
