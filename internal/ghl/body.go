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

// Errors of Decode. Each is about the body, so the answer is HTTP 400. The sender may see their texts, and those that wrap them.
var (
	// ErrEmptyBody: only white space.
	ErrEmptyBody = errors.New("body is empty")
	// ErrNotObject: the body is neither a JSON object nor a form.
	ErrNotObject = errors.New("body is not a JSON object")
	// ErrNotJSON is the ErrNotObject of a body that is neither JSON nor sent as a form.
	ErrNotJSON = fmt.Errorf("%w: it is not JSON, and its content type is not a form's", ErrNotObject)
	// ErrInvalidJSON: the body starts like JSON but is broken, for instance cut.
	ErrInvalidJSON = errors.New("body is not valid JSON")
	// ErrInvalidForm: the content type is a form's, and the body has a broken percent escape.
	ErrInvalidForm = errors.New("body is not a valid form")
	// ErrFormTooLarge: the form has too many fields or nested objects.
	ErrFormTooLarge = errors.New("form is too large")
	// ErrInvalidUTF8: some bytes are not UTF-8.
	ErrInvalidUTF8 = errors.New("body is not valid UTF-8")
	// ErrTooDeep: the body nests deeper than MaxDepth.
	ErrTooDeep = fmt.Errorf("body is nested deeper than %d levels", MaxDepth)
)

// Body is a webhook's body.
type Body struct {
	// Payload is the JSON object to store, valid JSON in valid UTF-8. Postgres stores it as json, which keeps the text with \u0000 and lone
	// surrogate escapes, duplicate keys and numbers of any size.
	Payload []byte
	// Raw is the bytes received if they differ from Payload: a form, a body with a byte-order mark, or an object in a string or an array.
	// Nil otherwise.
	Raw []byte

	root   scope
	custom scope
	data   object
	// declared is what the request declares about the body, nil without a valid declaration.
	declared *declared
	// workflow is true if a workflow action sent it: only those have a workflow block.
	workflow bool
}

// scope is a level of a body that can have GoHighLevel's blocks: the root, and customData, where people rebuild them.
type scope struct {
	object
	appointment, calendar, contact, location object
	// snapshot is the copy of the contact in events about payments.
	snapshot object
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// Decode decodes the bytes of a request. It accepts a JSON object with any content type, because senders set wrong ones, and an object in a
// string or in an array of one. It decodes anything else only if the content type is a form's. Payload and Raw share raw's memory. Of
// duplicate keys the last one is read; the stored text is unchanged.
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
		payload, ok := unwrap(text)
		if !ok {
			return Body{}, notObject(text, first)
		}
		b.Payload, b.Raw = payload, raw
	}
	b.read()
	return b, nil
}

// read finds the members and blocks that Normalise uses.
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

// AppID is the id of the marketplace app that the body was sent for, "" if GoHighLevel's envelope does not say.
func (b Body) AppID() string {
	if e := envelopeOf(b); !e.foreign {
		return e.appID
	}
	return ""
}

// notObject says why text, which starts with first, is not a webhook: it is broken, or another JSON value.
func notObject(text []byte, first byte) error {
	kind := kindOf(first)
	if kind == "" {
		return ErrNotJSON
	}
	if err := validate(text); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrNotObject, kind)
}

// IsUnparseable reports whether an error of Decode is about a broken text. An unescaped value can break any body: a line break or a quote
// in JSON, a percent sign in a form, bytes in another encoding. It is false for a well-formed text that is not a webhook, and for an
// empty one: a field's value cannot be the cause.
func IsUnparseable(err error) bool {
	for _, broken := range []error{ErrNotJSON, ErrInvalidJSON, ErrInvalidForm, ErrInvalidUTF8} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return false
}

// Fault says why Decode fails on a body and in which line, without any of its content. It is empty if Decode succeeds.
func Fault(contentType string, raw []byte) string {
	_, err := Decode(contentType, raw)
	if err == nil {
		return ""
	}
	text := bytes.TrimPrefix(raw, byteOrderMark)
	at := len(text)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = min(at, int(syntax.Offset))
	} else if errors.Is(err, ErrInvalidUTF8) && !utf8.Valid(text) {
		at = validPrefix(text)
		err = fmt.Errorf("%w at byte %d", err, at+1)
	} else {
		return err.Error()
	}
	// If a line break is the fault, it belongs to the line that it ends.
	return fmt.Sprintf("%s, in line %d", err, 1+bytes.Count(text[:max(at-1, 0)], []byte("\n")))
}

// validPrefix returns how many bytes of text precede the first that is not UTF-8.
func validPrefix(text []byte) int {
	n := 0
	for n < len(text) {
		r, size := utf8.DecodeRune(text[n:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		n += size
	}
	return n
}

// validate returns what is wrong with text, which starts like JSON. It checks the depth first, which bounds the memory of a parser, here
// and in Postgres.
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

// firstByte is the first byte of text that is not JSON white space, 0 if there is none.
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

// kindOf names the JSON value that starts with first, for messages; "" if none does.
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
		return ""
	}
}
