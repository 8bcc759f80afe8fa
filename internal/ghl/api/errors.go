package ghlapi

import (
	"cmp"
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

// The errors of a call, for errors.Is. Each is wrapped in a *destination.Error, whose class follows the description here.
var (
	// ErrLocationUnknown: there is no token for the location, or no location was given. Permanent.
	ErrLocationUnknown = errors.New("unknown location")
	// ErrBadToken: the location's token is wrong, has expired or lacks a scope. Unavailable.
	ErrBadToken = errors.New("bad token")
	// ErrWrongLocation: the token is valid for another location than the requested one, or than the location of the requested entity.
	// Permanent: another event may name the right location.
	ErrWrongLocation = errors.New("wrong location")
	// ErrNotFound: the appointment or contact does not exist. Permanent, unless the caller has an alternative.
	ErrNotFound = errors.New("not found")
	// ErrValidation: GHL or this client rejects the request as invalid. Permanent.
	ErrValidation = errors.New("invalid request")
	// ErrLimited: the location has reached GHL's limit of requests, or this client's. Limited.
	ErrLimited = errors.New("limited")
)

const (
	// pauseForBurst is GHL's window, for a 429 without a time.
	pauseForBurst = 10 * time.Second
	// pauseForDay is for a 429 because of the daily limit. GHL does not document when a day begins.
	pauseForDay = 15 * time.Minute
)

func failure(locationID string, class destination.Class, message string, err error) *destination.Error {
	return &destination.Error{Destination: destinationName(locationID), Class: class, Message: message, Err: err}
}

// refusal returns the error of an answer's status, nil for a success. It interprets GHL's message but does not include it, because it can
// repeat phone numbers and names.
func refusal(locationID, entity string, resp *http.Response, body []byte, now time.Time) *destination.Error {
	e := destination.FromResponse(destinationName(locationID), resp, now)
	if e == nil {
		return nil
	}
	set := func(class destination.Class, err error, message string) {
		e.Class, e.Err, e.Message = class, err, fmt.Sprintf("%s (%d)", message, e.Code)
	}
	said, vendor := vendorMessage(body)
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
		// A wrong base URL is a 404, too, and must not look like a contact that does not exist.
		if vendor && entity != "" && !strings.Contains(said, "cannot get /") && !strings.Contains(said, "cannot post /") {
			set(destination.Permanent, ErrNotFound, "GoHighLevel has no such "+entity)
		}
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		// Some endpoints answer 400 for an unknown id.
		if entity != "" && strings.Contains(said, "not found") {
			set(destination.Permanent, ErrNotFound, "GoHighLevel has no such "+entity)
		} else {
			set(destination.Permanent, ErrValidation, "the request was refused as invalid")
		}
	case http.StatusTooManyRequests:
		set(destination.Limited, ErrLimited, "the location's limit of requests is reached")
		e.RetryAfter = cmp.Or(e.RetryAfter, pause(resp.Header))
	}
	return e
}

// vendorMessage returns the message of an error of GHL in lower case: {statusCode, message, error?}, where the message is a string or a
// list of strings. It returns false if the body does not have that form.
func vendorMessage(body []byte) (string, bool) {
	var e struct {
		Message json.RawMessage `json:"message"`
	}
	if json.Unmarshal(body, &e) != nil || e.Message == nil {
		return "", false
	}
	return strings.ToLower(string(e.Message)), true
}

// pause returns how long to wait after a 429 without Retry-After.
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

// decode decodes a successful answer into out. An answer that is not JSON comes from another server: a proxy or a login page.
func decode(locationID, contentType string, body []byte, out any) error {
	if media, _, err := mime.ParseMediaType(contentType); err != nil || media != "application/json" {
		return failure(locationID, destination.Unavailable, "the answer is not JSON: a proxy or another site answered", err)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return malformed(locationID, err)
	}
	return nil
}

// malformed is the error of an answer that is not valid JSON, or not of the form that the API describes.
func malformed(locationID string, err error) error {
	message := "the answer cannot be decoded"
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		message += ": " + wrong.Field[strings.LastIndex(wrong.Field, ".")+1:] + " has another type"
	}
	return failure(locationID, destination.Transient, message, err)
}
