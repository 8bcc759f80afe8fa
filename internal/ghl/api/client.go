// Package ghlapi is a client of GoHighLevel's REST API: the few calls that read appointments and contacts, and that tag a contact. It
// stays below GHL's rate limits, uses the token of the location, and returns every failure as a *destination.Error without personal data.
// It knows neither webhooks nor what its callers do with an answer.
package ghlapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// DefaultBaseURL is the URL of the API.
const DefaultBaseURL = "https://services.leadconnectorhq.com"

// maxAnswer bounds an answer, in bytes. A contact with all its custom fields has a few kilobytes.
const maxAnswer = 1 << 20

// The versions that the endpoints require in the header "Version", from GHL's OpenAPI descriptions.
const (
	versionCalendars = "2021-04-15"
	versionContacts  = "2021-07-28"
)

// Observer receives the measurements of requests. Its methods are called from many goroutines.
type Observer interface {
	// Request reports a request: endpoint is one of Endpoints, code is the HTTP status, 0 without a response.
	Request(endpoint string, code int)
	// Budget reports how many requests a location has left today, as GHL counts them.
	Budget(locationID string, remaining int)
}

// The endpoints, as reported to an Observer.
const (
	EndpointGetAppointment = "appointments.get"
	EndpointGetContact     = "contacts.get"
	EndpointFindDuplicate  = "contacts.duplicate"
	EndpointSearchContacts = "contacts.search"
	EndpointAddTags        = "contacts.tags"
)

// Endpoints returns all endpoints, so that metrics can start at 0.
func Endpoints() []string {
	return []string{EndpointGetAppointment, EndpointGetContact, EndpointFindDuplicate, EndpointSearchContacts, EndpointAddTags}
}

// Client calls the API. Create one with New. It is safe for concurrent use. Each method has a location id, which may be empty if the token
// source has a token for that case.
//
// Every error is a *destination.Error whose Destination is "ghl:<location id>", or "ghl" without a location: each has its own breaker.
type Client struct {
	base     string
	tokens   TokenSource
	http     *http.Client
	observer Observer
	limits   *limits
	known    knownLocations
}

// Options has the dependencies of a Client.
type Options struct {
	// BaseURL is the URL of the API; empty is DefaultBaseURL.
	BaseURL string
	// Tokens has the tokens of the locations.
	Tokens TokenSource
	// HTTP sends the requests. It must have a timeout and must not follow redirects: see destination.NewClient.
	HTTP *http.Client
	// Observer may be nil.
	Observer Observer
}

// New checks the options and returns a client.
func New(o Options) (*Client, error) {
	o.BaseURL = cmp.Or(o.BaseURL, DefaultBaseURL)
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" ||
		base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("the base URL of GoHighLevel's API must be http(s)://host[:port][/path]")
	}
	if o.Tokens == nil || o.HTTP == nil {
		return nil, errors.New("the client of GoHighLevel's API needs a token source and an HTTP client")
	}
	return &Client{
		base: strings.TrimRight(o.BaseURL, "/"), tokens: o.Tokens, http: o.HTTP, observer: o.Observer, limits: newLimits(),
	}, nil
}

// destinationName returns the name of a location in breakers and errors. It includes a location id only if that is well-formed, because
// location ids come from request bodies.
func destinationName(locationID string) string {
	if !idForm.MatchString(locationID) {
		return "ghl"
	}
	return "ghl:" + locationID
}

// idForm is the accepted form of an id. GHL's own have 20 letters and digits.
var idForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// call is a request to the API, without the location.
type call struct {
	endpoint, version, method, path string
	query                           url.Values
	body                            any
	// entity is the type of the entity in the path, "" if there is none: then a 404 means that the URL is wrong.
	entity string
}

// do makes a call and decodes its answer into out. If GHL refuses the token, do reads the token again, because it may have been replaced,
// and repeats the call with a new one. A refused call had no effect.
func (c *Client) do(ctx context.Context, locationID string, call call, out any) error {
	token, err := c.token(locationID)
	if err != nil {
		return err
	}
	err = c.exchange(ctx, locationID, token, call, out)
	if errors.Is(err, ErrBadToken) {
		if fresh, tokenErr := c.token(locationID); tokenErr == nil && fresh != token {
			return c.exchange(ctx, locationID, fresh, call, out)
		}
	}
	return err
}

func (c *Client) token(locationID string) (string, error) {
	if locationID != "" && !idForm.MatchString(locationID) {
		return "", failure(locationID, destination.Permanent, "the location id is not valid", ErrLocationUnknown)
	}
	token, err := c.tokens.Token(locationID)
	switch {
	case errors.Is(err, ErrLocationUnknown) && locationID == "":
		return "", failure(locationID, destination.Permanent, "the location is not known", err)
	case errors.Is(err, ErrLocationUnknown):
		return "", failure(locationID, destination.Permanent, "there is no token for this location", err)
	case err != nil:
		return "", failure(locationID, destination.Unavailable, "the location's token cannot be read; the log has the reason", err)
	}
	return token, nil
}

// exchange waits for the location's rate limit and sends one request.
func (c *Client) exchange(ctx context.Context, locationID, token string, call call, out any) error {
	if err := c.limits.waitAs(ctx, c.limitKey(locationID), locationID); err != nil {
		return err
	}
	req, err := c.request(ctx, token, call)
	if err != nil {
		// The cause is omitted: it may contain the URL with a phone number.
		return failure(locationID, destination.Permanent, "the request cannot be created", nil)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.observe(call.endpoint, 0)
		return destination.FromTransport(destinationName(locationID), err)
	}
	defer resp.Body.Close()
	c.observe(call.endpoint, resp.StatusCode)
	body, err := destination.ReadBody(resp.Body, maxAnswer)
	if resp.StatusCode/100 == 2 && err == nil && !c.LocationKnown(locationID) && namesLocation(body, locationID) {
		c.MarkLocationKnown(locationID)
	}
	c.observeBudget(locationID, resp)
	if refused := refusal(locationID, call.entity, resp, body, time.Now()); refused != nil {
		return refused
	}
	switch {
	case errors.Is(err, destination.ErrBodyTooLong):
		return failure(locationID, destination.Transient, fmt.Sprintf("the answer is longer than %d bytes", maxAnswer), err)
	case err != nil:
		return destination.FromTransport(destinationName(locationID), err)
	}
	return decode(locationID, resp.Header.Get("Content-Type"), body, out)
}

func (c *Client) request(ctx context.Context, token string, call call) (*http.Request, error) {
	target := c.base + call.path
	if len(call.query) > 0 {
		target += "?" + call.query.Encode()
	}
	var body []byte
	if call.body != nil {
		var err error
		if body, err = json.Marshal(call.body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, call.method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Version", call.version)
	req.Header.Set("Accept", "application/json")
	if call.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

func (c *Client) observe(endpoint string, code int) {
	if c.observer != nil {
		c.observer.Request(endpoint, code)
	}
}

// observeBudget reports how many requests a known location has left today. A webhook can name any location, and each reported location is a
// permanent metric series.
func (c *Client) observeBudget(locationID string, resp *http.Response) {
	if c.observer == nil || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode/100 != 2 || !c.LocationKnown(locationID) {
		return
	}
	if left, err := strconv.Atoi(resp.Header.Get("X-RateLimit-Daily-Remaining")); err == nil && left >= 0 {
		c.observer.Budget(locationID, left)
	}
}
