// Package aloware is a client of Aloware's webhook API: it writes a contact and looks up its id. It keeps to Aloware's
// limit and turns every failure into a *destination.Error that may be shown to anyone. It knows nothing of webhooks or of
// when a contact is synced.
package aloware

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// DefaultBaseURL is where Aloware is served.
const DefaultBaseURL = "https://app.aloware.com"

// Destination is the name that errors, metrics and breakers have for Aloware.
const Destination = "aloware"

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 1 << 20

// Aloware allows 5,000 requests a minute. A token bucket lets its burst and what flows in meanwhile pass, so that both
// together must stay below that: 200 + 60 s × 75/s = 4,700.
const (
	perSecond = 75
	burst     = 200
)

// maxWait is the longest that a call waits for its turn.
const maxWait = 5 * time.Second

// Client calls Aloware. Make one with New. Its methods can be called from many goroutines, and every error of theirs is
// a *destination.Error.
type Client struct {
	base    string
	token   string
	http    *http.Client
	limiter *rate.Limiter
}

// Options is what New needs.
type Options struct {
	// BaseURL is where Aloware is served; empty is DefaultBaseURL.
	BaseURL string
	// Token is the account's API token.
	Token string
	// HTTP makes the calls. It must follow no redirects and have a timeout: see destination.NewClient.
	HTTP *http.Client
}

// New checks the options and returns a client.
func New(o Options) (*Client, error) {
	if o.BaseURL == "" {
		o.BaseURL = DefaultBaseURL
	}
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

// Contact is what is written to Aloware. Empty fields are left out and stay as they are there.
type Contact struct {
	// PhoneNumber is in E.164; it is what Aloware knows the contact by.
	PhoneNumber string `json:"phone_number"`
	FirstName   string `json:"first_name,omitempty"`
	LastName    string `json:"last_name,omitempty"`
	Email       string `json:"email,omitempty"`
	// Country is an ISO 3166 code of two letters.
	Country string `json:"country,omitempty"`
	// LeadSource says where the contact comes from.
	LeadSource string `json:"lead_source,omitempty"`
}

// Sync creates the contact with this phone number, or overwrites the fields of c that are not empty, and reports whether
// it was created. Aloware does not say its id: see Lookup.
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

// exchange makes one request, once the limit lets it pass, and returns a successful answer, which is no web page.
func (c *Client) exchange(ctx context.Context, method, target string, body []byte) (int, []byte, error) {
	if err := c.wait(ctx); err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+target, bytes.NewReader(body))
	if err != nil {
		// The cause is left out: it may quote the URL, and that holds the token.
		return 0, nil, failure(destination.Permanent, "the request cannot be made", nil)
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
		return 0, nil, failure(destination.Transient, "the answer is too long", err)
	case err != nil:
		return 0, nil, destination.FromTransport(Destination, err)
	}
	return resp.StatusCode, answer, nil
}

// wait returns when Aloware may be asked, or at once where that is later than the context or maxWait allow.
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
	e := failure(destination.Limited, "too many requests are waiting", ErrLimited)
	e.RetryAfter = maxWait
	return e
}
