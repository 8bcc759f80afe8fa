package ghl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Limits of a form. A workflow sends one pair for each custom field of an account and nests two or three levels. Only an attack on memory
// exceeds these limits.
const (
	// maxFormPath is the depth of bracketed keys. A deeper key is an ordinary one that includes its brackets.
	maxFormPath = 16
	// maxFormPairs is the number of key=value pairs.
	maxFormPairs = 20_000
	// maxFormObjects is the number of objects that bracketed keys create.
	maxFormObjects = 1_000
	// maxFormJSON is the size in bytes of the JSON that a form becomes. A control byte takes three bytes in a form and
	// six in JSON.
	maxFormJSON = 2 << 20
)

// decodeForm returns a form as a JSON object. All values are strings; a repeated key, or one that ends in [], becomes an array;
// customData[type]=x nests. It does not use url.ParseQuery, which rejects semicolons and many keys. Its errors are ErrEmptyBody,
// ErrInvalidForm, ErrInvalidUTF8 and ErrFormTooLarge.
func decodeForm(text string) ([]byte, error) {
	form := form{root: formObject{}}
	for pair := range strings.SplitSeq(strings.TrimSpace(text), "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, err := unescapeForm(key)
		if err != nil {
			return nil, err
		}
		if value, err = unescapeForm(value); err != nil {
			return nil, err
		}
		if err := form.put(key, value); err != nil {
			return nil, err
		}
	}
	if len(form.root) == 0 {
		return nil, ErrEmptyBody
	}

	var out bytes.Buffer
	out.Grow(form.size)
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(form.root); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidForm, err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func unescapeForm(s string) (string, error) {
	plain, err := url.QueryUnescape(s)
	if err != nil {
		return "", fmt.Errorf("%w: it has a broken percent escape", ErrInvalidForm)
	}
	if !utf8.ValidString(plain) {
		return "", ErrInvalidUTF8
	}
	return plain, nil
}

// form is a form that is being decoded, with its use of the limits.
type form struct {
	root    formObject
	pairs   int
	objects int
	// size is an upper bound of the length of the JSON, in bytes.
	size int
}

// formObject holds strings, []any of strings, and formObjects.
type formObject map[string]any

// put adds a value and loses none: if a bracketed key collides with a plain one, it becomes an ordinary key of the root; a plain key that
// collides with an object becomes that object's member "".
func (f *form) put(key, value string) error {
	f.pairs++
	f.size += jsonSize(key) + jsonSize(value)
	if f.pairs > maxFormPairs || f.size > maxFormJSON {
		return fmt.Errorf("%w: more than %d fields, or more than %d bytes as JSON", ErrFormTooLarge, maxFormPairs, maxFormJSON)
	}
	path := formPath(key)
	at := f.root
	for _, name := range path[:len(path)-1] {
		if _, ok := at[name]; !ok {
			if f.objects++; f.objects > maxFormObjects {
				return fmt.Errorf("%w: more than %d nested objects", ErrFormTooLarge, maxFormObjects)
			}
			at[name] = formObject{}
		}
		inner, ok := at[name].(formObject)
		if !ok {
			f.root.add(key, value)
			return nil
		}
		at = inner
	}
	at.add(path[len(path)-1], value)
	return nil
}

// jsonSize is an upper bound of the size of s in JSON, with quotes and punctuation. A key with brackets is longer than its names: each
// bracket accounts for a quote or a brace.
func jsonSize(s string) int {
	n := len(s) + len(`"":{},`)
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			n += len(`\u0000`) - 1
		case c == '"' || c == '\\' || c == 0xe2: // U+2028 and U+2029 are escaped, too, and begin with 0xe2.
			n += len(`\u2028`) - len("\u2028")
		}
	}
	return n
}

func (o formObject) add(name, value string) {
	switch present := o[name].(type) {
	case nil:
		o[name] = value
	case string:
		o[name] = []any{present, value}
	case []any:
		o[name] = append(present, value)
	case formObject:
		present.add("", value)
	}
}

// formPath splits a[b][c] into a, b and c. Any other key is a path of one name.
func formPath(key string) []string {
	head, rest, ok := strings.Cut(key, "[")
	if !ok || head == "" || !strings.HasSuffix(rest, "]") {
		return []string{key}
	}
	if rest == "]" {
		return []string{head}
	}
	inner := strings.SplitN(strings.TrimSuffix(rest, "]"), "][", maxFormPath+2)
	if last := len(inner) - 1; inner[last] == "" {
		inner = inner[:last]
	}
	if len(inner) > maxFormPath || strings.ContainsAny(strings.Join(inner, ""), "[]") {
		return []string{key}
	}
	return append([]string{head}, inner...)
}
