package verity

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/url"

	"github.com/dfmiddleware/verity-sync/internal/phone"
)

var (
	errMediaType = errors.New("the body is neither JSON nor a form")
	errObject    = errors.New("the body is no JSON object")
	errForm      = errors.New("the body is no form")
)

// payload is what Verity takes from a webhook: enough to make a contact.
type payload struct{ phone, email string }

// parse reads a body as its media type says.
func parse(mediaType string, body []byte) (payload, error) {
	var rawPhone, email string
	switch mediaType {
	case "application/json":
		var object map[string]json.RawMessage
		if err := json.Unmarshal(body, &object); err != nil || object == nil {
			return payload{}, errObject
		}
		var contact map[string]json.RawMessage
		_ = json.Unmarshal(object["contact"], &contact)
		rawPhone = cmp.Or(text(object["phone"]), text(contact["phone"]))
		email = cmp.Or(text(object["email"]), text(contact["email"]))
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return payload{}, errForm
		}
		rawPhone, email = form.Get("phone"), form.Get("email")
	default:
		return payload{}, errMediaType
	}
	number, _ := phone.E164(rawPhone, "US")
	return payload{phone: number, email: email}, nil
}

// text returns a JSON string's value, "" for whatever else stands there.
func text(value json.RawMessage) string {
	var s string
	_ = json.Unmarshal(value, &s)
	return s
}
