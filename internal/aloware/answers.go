package aloware

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// The causes of a failed call, for errors.Is. The class of the enclosing *destination.Error says what each means for an event.
var (
	// ErrBadToken: Aloware does not know the token. Unavailable.
	ErrBadToken = errors.New("bad token")
	// ErrNotFound: no contact has the phone number. Permanent, unless the caller expects the contact to appear.
	ErrNotFound = errors.New("not found")
	// ErrValidation: Aloware or this client rejects the request as invalid. Permanent.
	ErrValidation = errors.New("invalid request")
	// ErrLimited: Aloware's rate limit or this client's is reached. Limited.
	ErrLimited = errors.New("limited")
)

// limitWindow is the window of Aloware's rate limit. It is the pause after a 429 without Retry-After.
const limitWindow = time.Minute

func failure(class destination.Class, message string, err error) *destination.Error {
	return &destination.Error{Destination: Destination, Class: class, Message: message, Err: err}
}

// refusal returns the error that a response means, or nil if it is a success. From the body, the message takes only the names of
// fields: the rest may repeat personal data of the request.
func refusal(resp *http.Response, body []byte, now time.Time) *destination.Error {
	e := destination.FromResponse(Destination, resp, now)
	if e == nil {
		if isPage(resp.Header.Get("Content-Type"), body) {
			e = failure(destination.Unavailable, "answered with a web page, as it does for an unknown API token", ErrBadToken)
			e.Code = resp.StatusCode
		}
		return e
	}
	set := func(class destination.Class, err error, message string) {
		e.Class, e.Err, e.Message = class, err, fmt.Sprintf("%s (%d)", message, e.Code)
	}
	switch e.Code {
	case http.StatusUnauthorized:
		set(destination.Unavailable, ErrBadToken, "the API token was refused")
	case http.StatusNotFound:
		// A wrong base URL is answered 404 too. It does not mean that the contact does not exist.
		if vendorError(body) == "contact not found." {
			set(destination.Permanent, ErrNotFound, "Aloware has no contact with this phone number")
		}
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		set(destination.Permanent, ErrValidation, "the request was refused as invalid")
		if fields := refusedFields(body); fields != "" {
			e.Message += ": it refuses the fields " + fields
		}
	case http.StatusTooManyRequests:
		set(destination.Limited, ErrLimited, "the limit of requests is reached")
		e.RetryAfter = cmp.Or(e.RetryAfter, limitWindow)
	}
	return e
}

// isPage reports whether a response is a web page.
func isPage(contentType string, body []byte) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && strings.Contains(media, "html") || bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
}

// vendorError returns the text of Aloware's error object, {error}, in lower case.
func vendorError(body []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	return strings.ToLower(e.Error)
}

// The forms of an id: as a string, and as a number.
var (
	idForm   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	idNumber = regexp.MustCompile(`^[1-9][0-9]{0,18}$`)
)

// id is a contact's id: Aloware's documentation does not show whether it is a number or a string, so both are read.
type id string

// UnmarshalJSON reads an integer or a string. Any other value leaves the id empty.
func (i *id) UnmarshalJSON(data []byte) error {
	text := string(data)
	if !idNumber.Match(data) {
		text = stringIn(data)
	}
	if idForm.MatchString(text) {
		*i = id(text)
	}
	return nil
}

// stringIn returns the JSON string in data, or "" if data is another value.
func stringIn(data []byte) (text string) {
	if json.Unmarshal(data, &text) != nil {
		return ""
	}
	return text
}

// contact is an object that may have a contact's id.
type contact struct {
	ID id `json:"id"`
}

// UnmarshalJSON reads an object. Any other value leaves the id empty.
func (c *contact) UnmarshalJSON(data []byte) error {
	type plain contact
	_ = json.Unmarshal(data, (*plain)(c))
	return nil
}

// contactID returns the id in the response of a lookup. The documentation does not show whether the contact is the root or a member
// of it, so all three forms are read.
func contactID(body []byte) (string, error) {
	var answer struct {
		Contact contact `json:"contact"`
		Data    contact `json:"data"`
		ID      id      `json:"id"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", failure(destination.Transient, "the answer cannot be decoded", err)
	}
	found := cmp.Or(answer.Contact.ID, answer.Data.ID, answer.ID)
	if found == "" {
		return "", failure(destination.Transient, "the answer has no contact id", nil)
	}
	return string(found), nil
}
