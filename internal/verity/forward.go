// Package verity talks to Verity: it forwards webhooks to its HTTP endpoint and keeps its leads pointing at the contact's
// appointment. It knows neither GHL's payloads nor verity-sync's own database; what of the latter a lead follows from is
// handed to it.
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
	// answerLimit is how much of an answer's body is read.
	answerLimit = 64 << 10
	// answerWait is how long the body of an answer may take once its status is known.
	answerWait = time.Second
)

// ForwarderConfig is what a Forwarder needs.
type ForwarderConfig struct {
	// BaseURL is where Verity is, for instance "https://verity.example.com"; a path in it is kept.
	BaseURL string
	// Secret goes into X-Middleware-Secret; empty sends no such header.
	Secret string
	// Client makes the calls, see destination.NewClient. It must not follow redirects.
	Client *http.Client
	// Now is the clock that dates in Retry-After are held against; nil is time.Now.
	Now func() time.Time
}

// Forwarder posts webhooks to Verity as they were received. It is safe for concurrent use.
type Forwarder struct {
	endpoint string
	secret   string
	client   *http.Client
	now      func() time.Time
}

// NewForwarder checks a configuration. Its errors repeat neither the URL nor the secret.
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
	// IdempotencyKey lets Verity tell a repetition: the event's id, with the number of the run where it was replayed.
	IdempotencyKey string
	// Body is sent byte for byte.
	Body []byte
	// ContentType is that of the webhook; empty is application/json.
	ContentType string
	// Signature is the webhook's X-GHL-Signature, which Verity can check for itself; empty sends no such header.
	Signature string
}

// Forward posts a delivery. Its errors are of type *destination.Error.
//
// Verity has taken a delivery once it has answered a 2xx status: an answer's body is read so that its connection can be
// used again, but one that hangs, breaks off or does not end changes nothing. The exception is a 2xx with an HTML page.
// Verity's endpoint answers JSON or nothing, so such a page comes from something in front of it or from another path of
// the same site, and the destination is Unavailable.
func (f *Forwarder) Forward(ctx context.Context, d Request) error {
	ctx, cancel := context.WithTimeout(ctx, destination.CallTimeout)
	defer cancel()
	req, err := f.request(ctx, d)
	if err != nil {
		return &destination.Error{
			Destination: HTTPDestination, Class: destination.Permanent, Message: "the request cannot be made", Err: err,
		}
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return destination.FromTransport(HTTPDestination, err)
	}
	defer resp.Body.Close()
	patience := time.AfterFunc(answerWait, cancel)
	defer patience.Stop()
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

// isPage reports whether an answer is a web page. An empty body is none, whatever type it is given: frameworks have
// text/html as the default for it. Where no type is given, the body tells.
func isPage(resp *http.Response, body []byte, readErr error) bool {
	if len(body) == 0 && readErr == nil {
		return false
	}
	contentType := resp.Header.Get("Content-Type")
	if contentType == "" {
		contentType = http.DetectContentType(body)
	}
	// The media type is there even where the parameters behind it are broken.
	mediaType, _, _ := mime.ParseMediaType(contentType)
	return mediaType == "text/html" || mediaType == "application/xhtml+xml"
}
