// Package ghlsender is a GoHighLevel that posts webhooks: it builds bodies as GHL does, signs those that GHL signs and
// tries again when GHL would. Tests, the local environment and load tests use it; it has a key pair of its own in the
// place of GHL's.
package ghlsender

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// maxAnswer bounds, in bytes, how much of an answer is kept.
const maxAnswer = 64 << 10

// Sender posts webhooks. It is safe for concurrent use once its fields are set.
type Sender struct {
	// AppID and LocationID stand in the bodies it builds.
	AppID, LocationID string
	// Secret goes with unsigned posts, in X-Webhook-Secret; none where it is empty.
	Secret string
	// Client does not follow redirects, which GHL counts as failures.
	Client *http.Client
	// Retries is how often a post is repeated: 0 at first, 6 in GHL's guide until 2026 and 12 since.
	Retries int
	// RetryDelay is the pause before each repetition, about ten minutes in GHL's guide.
	RetryDelay time.Duration
	// RetryAll repeats after any answer that is not 2xx and after none at all, as GHL's guide has it since mid-2026,
	// and not after 429 alone, as it did before.
	RetryAll bool

	key ed25519.PrivateKey
}

// New returns a sender that signs with key, or with a key of its own where key is nil.
func New(key ed25519.PrivateKey) *Sender {
	if key == nil {
		key = ed25519.NewKeyFromSeed(randomBytes(ed25519.SeedSize))
	}
	return &Sender{
		AppID:      NewID(),
		LocationID: NewID(),
		Client: &http.Client{
			Timeout:       30 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		key: key,
	}
}

// NewID returns an id of the form that GHL's have.
func NewID() string { return rand.Text()[:20] }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // It never fails: it ends the program instead.
	return b
}

// PublicKey is what GHL_WEBHOOK_PUBLIC_KEYS needs to hold: SPKI in base64.
func (s *Sender) PublicKey() string {
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		panic(err) // An Ed25519 key always has that form.
	}
	return base64.StdEncoding.EncodeToString(der)
}

// Webhook is a request to send.
type Webhook struct {
	Body        []byte
	ContentType string
	// Signed says that the request carries a signature; workflow posts do not.
	Signed bool
	// Header is added to what GHL sends, and replaces it.
	Header http.Header
}

// Answer is the last answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// Attempts counts the posts, the first one included.
	Attempts int
}

// Send posts w to url and repeats it, byte for byte, as often and as late as the sender's fields say. The error is
// that of the last attempt, where it got no answer.
func (s *Sender) Send(ctx context.Context, url string, w Webhook) (Answer, error) {
	for attempt := 1; ; attempt++ {
		answer, err := s.post(ctx, url, w)
		answer.Attempts = attempt
		if attempt > s.Retries || !s.again(answer.Status, err) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, ctx.Err()
		case <-time.After(s.RetryDelay):
		}
	}
}

func (s *Sender) again(status int, err error) bool {
	if s.RetryAll {
		return err != nil || status < 200 || status > 299
	}
	return err == nil && status == http.StatusTooManyRequests
}

func (s *Sender) post(ctx context.Context, url string, w Webhook) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(w.Body))
	if err != nil {
		return Answer{}, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", w.ContentType)
	if w.Signed {
		req.Header.Set(ghl.HeaderSignature, s.Sign(w.Body))
	} else {
		req.Header.Set("User-Agent", "axios/1.7.7")
		if s.Secret != "" {
			req.Header.Set(ghl.HeaderSecret, s.Secret)
		}
	}
	for name, values := range w.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}

	resp, err := s.Client.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("post the webhook: %w", err)
	}
	defer resp.Body.Close()
	answer := Answer{Status: resp.StatusCode, Header: resp.Header}
	if answer.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return answer, fmt.Errorf("read the answer: %w", err)
	}
	return answer, nil
}

// Sign returns the signature of body as X-GHL-Signature carries it.
func (s *Sender) Sign(body []byte) string {
	return base64.StdEncoding.EncodeToString(ed25519.Sign(s.key, body))
}
