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

// What a call can fail with, for errors.Is. What each means for an event is the class of the *destination.Error around it.
var (
	// ErrBadToken: Aloware does not know the token. Unavailable.
	ErrBadToken = errors.New("bad token")
	// ErrNotFound: no contact has the phone number. Permanent, where the caller knows nothing better to do.
	ErrNotFound = errors.New("not found")
	// ErrValidation: Aloware, or this client, finds the request itself wrong. Permanent.
	ErrValidation = errors.New("invalid request")
	// ErrLimited: the requests of this minute are spent, by Aloware's count or by this client's. Limited.
	ErrLimited = errors.New("limited")
)

// pauseForMinute is Aloware's own window, for a 429 that does not say how long to wait.
const pauseForMinute = time.Minute

func failure(class destination.Class, message string, err error) *destination.Error {
	return &destination.Error{Destination: Destination, Class: class, Message: message, Err: err}
}

// refusal returns the error that an answer amounts to, nil where it is a success. Of what Aloware says, the message has the
// names of fields alone: the rest may repeat what it was sent.
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
		// A wrong base URL is a 404 too, and must not pass for a contact that does not exist.
		if vendorError(body) == "contact not found." {
			set(destination.Permanent, ErrNotFound, "Aloware knows no contact with this phone number")
		}
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		set(destination.Permanent, ErrValidation, "the request was refused as invalid")
		if fields := refusedFields(body); fields != "" {
			e.Message += ": it refuses the fields " + fields
		}
	case http.StatusTooManyRequests:
		set(destination.Limited, ErrLimited, "the limit of requests is reached")
		if e.RetryAfter == 0 {
			e.RetryAfter = pauseForMinute
		}
	}
	return e
}

// isPage reports whether an answer is meant for a browser.
func isPage(contentType string, body []byte) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && strings.Contains(media, "html") || bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
}

// vendorError returns, in lower case, what Aloware says in its form of an error, {error}.
func vendorError(body []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	return strings.ToLower(e.Error)
}

// What an id may look like as a string, and as a number.
var (
	idForm   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	idNumber = regexp.MustCompile(`^[1-9][0-9]{0,18}$`)
)

// id is a contact's id: Aloware's documentation does not show whether it is a number or a string, so both are read.
type id string

// UnmarshalJSON reads a whole number or a string; anything else is no id.
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

// stringIn returns the string that data is, "" where it is something else.
func stringIn(data []byte) (text string) {
	if json.Unmarshal(data, &text) != nil {
		return ""
	}
	return text
}

// contact is an object in which a contact's id may be.
type contact struct {
	ID id `json:"id"`
}

// UnmarshalJSON reads an object; anything else holds no id.
func (c *contact) UnmarshalJSON(data []byte) error {
	type plain contact
	_ = json.Unmarshal(data, (*plain)(c))
	return nil
}

// contactID returns the id in a look-up's answer: the documentation does not show whether the contact stands alone or
// under a name, so all three are read.
func contactID(body []byte) (string, error) {
	var answer struct {
		Contact contact `json:"contact"`
		Data    contact `json:"data"`
		ID      id      `json:"id"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", failure(destination.Transient, "the answer cannot be understood", err)
	}
	found := cmp.Or(answer.Contact.ID, answer.Data.ID, answer.ID)
	if found == "" {
		return "", failure(destination.Transient, "the answer holds no contact id", nil)
	}
	return string(found), nil
}
