// Package aloware is a client of Aloware's webhook API: it writes a contact and looks up its id. It enforces Aloware's rate limit
// and returns every failure as a *destination.Error without personal data. It knows nothing of webhooks or of when a contact is
// synced.
package aloware

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// DefaultBaseURL is the URL of Aloware.
const DefaultBaseURL = "https://app.aloware.com"

// Destination is the name of Aloware in errors, metrics and breakers.
const Destination = "aloware"

// maxAnswer bounds a response, in bytes.
const maxAnswer = 1 << 20

// Aloware allows 5,000 requests a minute. A token bucket allows its burst and its rate, which together must stay below that:
// 200 + 60 s × 75/s = 4,700.
const (
	perSecond = 75
	burst     = 200
)

// maxWait bounds the wait of a call for the rate limit.
const maxWait = 5 * time.Second

// Client calls Aloware; New creates it. It is safe for concurrent use, and every error of its methods is a *destination.Error.
type Client struct {
	base    string
	token   string
	http    *http.Client
	limiter *rate.Limiter
}

// Options are the dependencies of New.
type Options struct {
	// BaseURL is the URL of Aloware; empty is DefaultBaseURL.
	BaseURL string
	// Token is the account's API token.
	Token string
	// HTTP makes the calls. It must not follow redirects, and must have a timeout: see destination.NewClient.
	HTTP *http.Client
}

// New checks the options and returns a client.
func New(o Options) (*Client, error) {
	o.BaseURL = cmp.Or(o.BaseURL, DefaultBaseURL)
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" ||
		base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("the base URL of Aloware must be http(s)://host[:port][/path]")
	}
	if o.Token == "" || o.HTTP == nil {
		return nil, errors.New("the Aloware client needs a token and an HTTP client")
	}
	return &Client{
		base: strings.TrimRight(o.BaseURL, "/"), token: o.Token, http: o.HTTP, limiter: rate.NewLimiter(perSecond, burst),
	}, nil
}

// Contact is a contact to write. Empty fields are omitted and stay unchanged at Aloware.
type Contact struct {
	// PhoneNumber is in E.164 form; Aloware identifies the contact by it.
	PhoneNumber string `json:"phone_number"`
	FirstName   string `json:"first_name,omitempty"`
	LastName    string `json:"last_name,omitempty"`
	Email       string `json:"email,omitempty"`
	// Country is an ISO 3166 code of two letters.
	Country string `json:"country,omitempty"`
	// LeadSource is the origin of the contact.
	LeadSource string `json:"lead_source,omitempty"`
}

// Sync creates the contact with this phone number, or overwrites the fields of c that are not empty, and reports whether
// it was created. Aloware does not return its id: see Lookup.
func (c *Client) Sync(ctx context.Context, contact Contact) (created bool, err error) {
	if contact.PhoneNumber == "" {
		return false, failure(destination.Permanent, "the contact has no phone number", ErrValidation)
	}
	body, err := json.Marshal(struct {
		APIToken string `json:"api_token"`
		// Without it Aloware fills in what is empty and keeps the rest as it was.
		ForceUpdate bool `json:"force_update"`
		Contact
	}{c.token, true, contact})
	if err != nil {
		return false, failure(destination.Permanent, "the contact cannot be written as JSON", err)
	}
	code, _, err := c.exchange(ctx, http.MethodPost, "/api/v1/webhook/forms", body)
	return code == http.StatusCreated, err
}

// Lookup returns the id of the contact with this phone number (E.164), or ErrNotFound.
func (c *Client) Lookup(ctx context.Context, phoneE164 string) (string, error) {
	if phoneE164 == "" {
		return "", failure(destination.Permanent, "there is no phone number to look up", ErrValidation)
	}
	query := url.Values{"api_token": {c.token}, "phone_number": {phoneE164}}
	_, body, err := c.exchange(ctx, http.MethodGet, "/api/v1/webhook/contact/phone-number?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	return contactID(body)
}

// exchange makes one request within the rate limit, and returns a successful response, which is not a web page.
func (c *Client) exchange(ctx context.Context, method, target string, body []byte) (int, []byte, error) {
	if err := c.wait(ctx); err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+target, bytes.NewReader(body))
	if err != nil {
		// The cause is omitted: it may contain the URL with the token.
		return 0, nil, failure(destination.Permanent, "the request cannot be created", nil)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, destination.FromTransport(Destination, err)
	}
	defer resp.Body.Close()
	answer, err := destination.ReadBody(resp.Body, maxAnswer)
	if refused := refusal(resp, answer, time.Now()); refused != nil {
		return 0, nil, refused
	}
	switch {
	case errors.Is(err, destination.ErrBodyTooLong):
		return 0, nil, failure(destination.Transient, fmt.Sprintf("the answer is longer than %d bytes", maxAnswer), err)
	case err != nil:
		return 0, nil, destination.FromTransport(Destination, err)
	}
	return resp.StatusCode, answer, nil
}

// wait blocks until the rate limit allows a request. It returns an error at once if that is later than the context or maxWait allows.
func (c *Client) wait(ctx context.Context) error {
	turn, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	err := c.limiter.Wait(turn)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return destination.FromTransport(Destination, ctx.Err())
	}
	e := failure(destination.Limited, "too many requests wait for the rate limit", ErrLimited)
	e.RetryAfter = maxWait
	return e
}
