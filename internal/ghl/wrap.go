package ghl

import (
	"bytes"
	"encoding/json"
)

// maxWraps is how many strings and arrays around an object are removed.
const maxWraps = 4

// unwrap returns the JSON object in a string or in an array of one: some senders encode twice or send lists. It returns false if there is
// none.
func unwrap(text []byte) ([]byte, bool) {
	if first := firstByte(text); first != '"' && first != '[' || nesting(text) > MaxDepth {
		return nil, false
	}
	for range maxWraps {
		switch firstByte(text) {
		case '{':
			return text, json.Valid(text)
		case '"':
			var inner string
			if json.Unmarshal(text, &inner) != nil {
				return nil, false
			}
			text = []byte(inner)
		case '[':
			var items []json.RawMessage
			if nesting(text) > MaxDepth || json.Unmarshal(text, &items) != nil || len(items) != 1 {
				return nil, false
			}
			text = items[0]
		default:
			return nil, false
		}
		if text = bytes.TrimSpace(text); nesting(text) > MaxDepth {
			return nil, false
		}
	}
	return text, firstByte(text) == '{' && json.Valid(text)
}
