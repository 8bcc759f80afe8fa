package ghl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxFormPath bounds how deep bracketed keys nest; a deeper one is an ordinary key, brackets and all.
const maxFormPath = 16

// decodeForm returns the JSON object that a form amounts to. All values are strings; a repeated key, or one that ends
// in [], becomes an array; customData[type]=x nests. It reads the form itself where net/url gives up on semicolons and
// on many keys.
func decodeForm(text string) ([]byte, error) {
	root := formObject{}
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
		root.put(key, value)
	}
	if len(root) == 0 {
		return nil, ErrEmptyBody
	}

	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(root); err != nil {
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

// formObject holds strings, []any of strings, and formObjects.
type formObject map[string]any

// put adds a value without losing one: where a bracketed key collides with a plain one, it stays an ordinary key of the
// root, and a plain key that collides with an object becomes that object's member "".
func (o formObject) put(key, value string) {
	path := formPath(key)
	at := o
	for _, name := range path[:len(path)-1] {
		if _, ok := at[name]; !ok {
			at[name] = formObject{}
		}
		inner, ok := at[name].(formObject)
		if !ok {
			o.add(key, value)
			return
		}
		at = inner
	}
	at.add(path[len(path)-1], value)
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

// formPath splits a[b][c] into a, b and c; a key that is not of that form is its own path.
func formPath(key string) []string {
	head, rest, ok := strings.Cut(key, "[")
	if !ok || head == "" || !strings.HasSuffix(rest, "]") {
		return []string{key}
	}
	if rest == "]" {
		return []string{head}
	}
	inner := strings.Split(strings.TrimSuffix(rest, "]"), "][")
	if last := len(inner) - 1; inner[last] == "" {
		inner = inner[:last]
	}
	if len(inner) > maxFormPath || strings.ContainsAny(strings.Join(inner, ""), "[]") {
		return []string{key}
	}
	return append([]string{head}, inner...)
}
