package ghlapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// What a call can fail with, for errors.Is. What each means for an event is the class of the *destination.Error around it.
var (
	// ErrLocationUnknown: there is no token for the location, or no location was given. Permanent.
	ErrLocationUnknown = errors.New("unknown location")
	// ErrBadToken: the location's token is wrong, has expired or lacks a scope. Unavailable.
	ErrBadToken = errors.New("bad token")
	// ErrWrongLocation: the token is good, but for another location than the one asked for, or than that of the thing asked for.
	// Permanent: another event may name the right one.
	ErrWrongLocation = errors.New("wrong location")
	// ErrNotFound: GHL knows no such appointment or contact. Permanent, where the caller knows nothing better to do.
	ErrNotFound = errors.New("not found")
	// ErrValidation: GHL, or this client, finds the request itself wrong. Permanent.
	ErrValidation = errors.New("invalid request")
	// ErrLimited: the location has spent its requests, by GHL's count or by this client's. Limited.
	ErrLimited = errors.New("limited")
)

const (
	// pauseForBurst is GHL's own window, for a 429 that does not say how long to wait.
	pauseForBurst = 10 * time.Second
	// pauseForDay is for a 429 that says that the day's budget is gone. When a day begins is not published.
	pauseForDay = 15 * time.Minute
)

func failure(locationID string, class destination.Class, message string, err error) *destination.Error {
	return &destination.Error{Destination: destinationName(locationID), Class: class, Message: message, Err: err}
}

// refusal returns the error that an answer's status amounts to, nil where it is a success. What GHL says is looked at and
// left out of the message, since it repeats phone numbers and names.
func refusal(locationID, entity string, resp *http.Response, body []byte, now time.Time) *destination.Error {
	e := destination.FromResponse(destinationName(locationID), resp, now)
	if e == nil {
		return nil
	}
	set := func(class destination.Class, err error, message string) {
		e.Class, e.Err, e.Message = class, err, fmt.Sprintf("%s (%d)", message, e.Code)
	}
	said, ours := vendorMessage(body)
	switch e.Code {
	case http.StatusUnauthorized:
		switch {
		case strings.Contains(said, "version header"):
			set(destination.Unavailable, nil, "the API version was refused")
		case strings.Contains(said, "scope"):
			set(destination.Unavailable, ErrBadToken, "the token lacks a scope")
		case strings.Contains(said, "expired"):
			set(destination.Unavailable, ErrBadToken, "the token has expired")
		default:
			set(destination.Unavailable, ErrBadToken, "the token was refused")
		}
	case http.StatusForbidden:
		if strings.Contains(said, "location") {
			set(destination.Permanent, ErrWrongLocation, "the token has no access to this location")
		}
	case http.StatusNotFound:
		// A wrong base URL is a 404 too, and must not pass for a contact that does not exist.
		if ours && entity != "" && !strings.Contains(said, "cannot get /") && !strings.Contains(said, "cannot post /") {
			set(destination.Permanent, ErrNotFound, "GHL knows no such "+entity)
		}
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		// Some endpoints answer 400 for an id that they do not know.
		if entity != "" && strings.Contains(said, "not found") {
			set(destination.Permanent, ErrNotFound, "GHL knows no such "+entity)
		} else {
			set(destination.Permanent, ErrValidation, "the request was refused as invalid")
		}
	case http.StatusTooManyRequests:
		set(destination.Limited, ErrLimited, "the location's limit of requests is reached")
		if e.RetryAfter == 0 {
			e.RetryAfter = pause(resp.Header)
		}
	}
	return e
}

// vendorMessage returns, in lower case, the message of an error in GHL's form, {statusCode, message, error?}, where the
// message is a string or a list of strings; false where the body has not that form.
func vendorMessage(body []byte) (string, bool) {
	var e struct {
		Message json.RawMessage `json:"message"`
	}
	if json.Unmarshal(body, &e) != nil || e.Message == nil {
		return "", false
	}
	return strings.ToLower(string(e.Message)), true
}

// pause returns how long a 429 without Retry-After asks for.
func pause(h http.Header) time.Duration {
	if h.Get("X-RateLimit-Daily-Remaining") == "0" {
		return pauseForDay
	}
	millis, err := strconv.Atoi(h.Get("X-RateLimit-Interval-Milliseconds"))
	if err != nil || millis <= 0 {
		return pauseForBurst
	}
	return min(time.Duration(millis)*time.Millisecond, pauseForDay)
}

// decode reads a successful answer into out. One that is no JSON is a page of something else: a proxy, a login form.
func decode(locationID, contentType string, body []byte, out any) error {
	if media, _, err := mime.ParseMediaType(contentType); err != nil || media != "application/json" {
		return failure(locationID, destination.Unavailable, "the answer is not JSON: a proxy or another site answered", err)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return malformed(locationID, err)
	}
	return nil
}

// malformed is an answer that is JSON and not what the API describes.
func malformed(locationID string, err error) error {
	message := "the answer cannot be understood"
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		message += ": " + wrong.Field[strings.LastIndex(wrong.Field, ".")+1:] + " has another type"
	}
	return failure(locationID, destination.Transient, message, err)
}
