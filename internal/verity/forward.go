// Package verity has the clients of Verity: it forwards webhooks to Verity's HTTP endpoint, and writes the leads in Verity's database. It
// knows neither GHL's payloads nor the middleware database: its callers pass the data that determines a lead.
package verity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// HTTPDestination is the name of Verity's endpoint in errors, metrics and breakers.
const HTTPDestination = "verity-http"

const (
	webhookPath = "/api/integrations/ghl/webhook"
	// answerLimit bounds the part of a response's body that is read.
	answerLimit = 64 << 10
	// answerWait bounds the time to read the body once the status is known.
	answerWait = time.Second
)

// ForwarderConfig has the dependencies of a Forwarder.
type ForwarderConfig struct {
	// BaseURL is Verity's URL, for instance "https://verity.example.com"; its path is kept.
	BaseURL string
	// Secret is sent as X-Middleware-Secret; without it, the header is omitted.
	Secret string
	// Client makes the calls, see destination.NewClient. It must not follow redirects.
	Client *http.Client
	// Now is the clock for dates in Retry-After; nil is time.Now.
	Now func() time.Time
}

// Forwarder sends webhooks to Verity as they were received. It is safe for concurrent use.
type Forwarder struct {
	endpoint string
	secret   string
	client   *http.Client
	now      func() time.Time
}

// NewForwarder checks the configuration. Its errors contain neither the URL nor the secret.
func NewForwarder(cfg ForwarderConfig) (*Forwarder, error) {
	base, err := url.Parse(cfg.BaseURL)
	switch {
	case err != nil, base.Hostname() == "", base.Scheme != "http" && base.Scheme != "https":
		return nil, errors.New("the base URL of Verity is not an http or https URL")
	case base.User != nil, base.RawQuery != "", base.ForceQuery, base.Fragment != "":
		return nil, errors.New("the base URL of Verity has credentials, a query or a fragment")
	case strings.ContainsFunc(cfg.Secret, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return nil, errors.New("the secret for Verity has characters that no header can carry")
	case cfg.Client == nil:
		return nil, errors.New("the HTTP client for Verity is missing")
	}
	f := &Forwarder{endpoint: base.JoinPath(webhookPath).String(), secret: cfg.Secret, client: cfg.Client, now: cfg.Now}
	if f.now == nil {
		f.now = time.Now
	}
	return f, nil
}

// Request is one webhook to forward.
type Request struct {
	// IdempotencyKey identifies the event, so that Verity recognises a repetition.
	IdempotencyKey string
	// Body is sent byte for byte.
	Body []byte
	// ContentType is that of the webhook; empty is application/json.
	ContentType string
	// Signature is the webhook's X-GHL-Signature, which Verity can verify; without it, the header is omitted.
	Signature string
}

// Forward sends a webhook. Its errors are of type *destination.Error.
//
// A status of 2xx is a success. The body is read so that the connection can be reused; it does not matter if it hangs, breaks off
// or does not end. The exception is an HTML page: Verity's endpoint answers JSON or nothing, so a page comes from a proxy or from
// another path of the site, and the destination is Unavailable.
func (f *Forwarder) Forward(ctx context.Context, d Request) error {
	ctx, cancel := context.WithTimeout(ctx, destination.CallTimeout)
	defer cancel()
	req, err := f.request(ctx, d)
	if err != nil {
		return &destination.Error{
			Destination: HTTPDestination, Class: destination.Permanent, Message: "the request cannot be created", Err: err,
		}
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return destination.FromTransport(HTTPDestination, err)
	}
	defer resp.Body.Close()
	timeout := time.AfterFunc(answerWait, cancel)
	defer timeout.Stop()
	body, readErr := destination.ReadBody(resp.Body, answerLimit)
	if failure := destination.FromResponse(HTTPDestination, resp, f.now()); failure != nil {
		return failure
	}
	if isPage(resp, body, readErr) {
		return &destination.Error{
			Destination: HTTPDestination, Class: destination.Unavailable, Code: resp.StatusCode,
			Message: fmt.Sprintf("answered %d with a web page: the base URL may be wrong, or a proxy answered", resp.StatusCode),
		}
	}
	return nil
}

func (f *Forwarder) request(ctx context.Context, d Request) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.endpoint, bytes.NewReader(d.Body))
	if err != nil {
		return nil, err
	}
	set := func(name, value string) {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	set("Accept", "application/json")
	set("Content-Type", "application/json")
	set("Content-Type", d.ContentType)
	set("Idempotency-Key", d.IdempotencyKey)
	set("X-Middleware-Forwarded", "true")
	set("X-Middleware-Secret", f.secret)
	set("X-GHL-Signature", d.Signature)
	return req, nil
}

// isPage reports whether a response is a web page. An empty body is not one, whatever its type: frameworks declare it as text/html
// by default. Without a type, the content decides.
func isPage(resp *http.Response, body []byte, readErr error) bool {
	if len(body) == 0 && readErr == nil {
		return false
	}
	contentType := resp.Header.Get("Content-Type")
	if contentType == "" {
		contentType = http.DetectContentType(body)
	}
	// The media type is valid even if its parameters are not.
	mediaType, _, _ := mime.ParseMediaType(contentType)
	return mediaType == "text/html" || mediaType == "application/xhtml+xml"
}
