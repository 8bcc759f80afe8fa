package ghl

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// The headers and the query parameter that authenticate a request. GoHighLevel sets the first; people set another one in a workflow.
const (
	HeaderSignature = "X-GHL-Signature"
	HeaderSecret    = "X-Webhook-Secret" //nolint:gosec // The name of a header is no secret.
	QueryToken      = "token"
)

// Errors of Authenticate and Authorize.
var (
	// ErrUnauthenticated: no valid signature or secret, or a wrong signature beside anything else. HTTP 401.
	ErrUnauthenticated = errors.New("no valid signature or secret")
	// ErrAppNotAllowed: GoHighLevel signed it for an app that is not allowed. HTTP 403.
	ErrAppNotAllowed = errors.New("not signed for an app that is allowed here")
	// ErrNotMarketplace is the ErrAppNotAllowed of a body that GoHighLevel's published key signed but that is not a marketplace webhook: a
	// customer can choose its fields. HTTP 403.
	ErrNotMarketplace = fmt.Errorf("%w: its body is not a marketplace webhook as GoHighLevel writes it", ErrAppNotAllowed)
	// ErrLocationIgnored: authentic, but of a location that is not configured. HTTP 200: GoHighLevel's breaker counts any other answer
	// against the whole endpoint. Nothing is stored.
	ErrLocationIgnored = errors.New("the location is not configured")
)

// AuthConfig says who may send webhooks. NewVerifier rejects the zero value, which allows no sender.
type AuthConfig struct {
	// PublicKeys verify signatures: Ed25519, in PEM, in base64 (SPKI or the raw 32 bytes) or in hexadecimal. All of them are valid. The
	// default is PublishedKey.
	PublicKeys []string
	// Secrets authenticate unsigned requests. All of them are valid.
	Secrets []string
	// AppIDs are the marketplace apps that signed webhooks may be for; empty means any.
	AppIDs []string
	// LocationIDs are the locations whose webhooks are stored; empty means any.
	LocationIDs []string
	// AllowUnauthenticated accepts requests without a signature and a secret, or with a wrong secret.
	AllowUnauthenticated bool
}

// Proof says what a request was authenticated by.
type Proof uint8

// The proofs, from none to best.
const (
	// ProofNone: nothing. Unauthenticated requests are allowed.
	ProofNone Proof = iota
	// ProofPublishedKey: a signature by PublishedKey. GoHighLevel sent it, to one of its customers.
	ProofPublishedKey
	// ProofSecret: one of the secrets.
	ProofSecret
	// ProofOwnKey: a signature by another key of the configuration.
	ProofOwnKey
)

// Signed reports whether the proof is a signature.
func (p Proof) Signed() bool { return p == ProofPublishedKey || p == ProofOwnKey }

// String returns the proof as log lines show it.
func (p Proof) String() string {
	switch p {
	case ProofPublishedKey:
		return "published key"
	case ProofSecret:
		return "secret"
	case ProofOwnKey:
		return "own key"
	default:
		return "none"
	}
}

// Verifier decides which requests are authentic. It is safe for concurrent use.
type Verifier struct {
	keys []verifyingKey
	// signatureSuffices is false if a signature by the published key alone would admit every customer of GoHighLevel. A wrong signature is
	// rejected even then.
	signatureSuffices    bool
	secrets              [][sha256.Size]byte
	appIDs, locationIDs  []string
	allowUnauthenticated bool
}

type verifyingKey struct {
	key   ed25519.PublicKey
	proof Proof
}

// NewVerifier validates cfg. Its error lists all invalid settings, without any secret.
//
// PublishedKey signs for every app of GoHighLevel. Alone it is sufficient only if AppIDs or LocationIDs select from what it signs. It is
// invalid in PublicKeys without them.
func NewVerifier(cfg AuthConfig) (*Verifier, error) { return newVerifier(cfg, publishedKey) }

func newVerifier(cfg AuthConfig, publishedKey ed25519.PublicKey) (*Verifier, error) {
	v := &Verifier{allowUnauthenticated: cfg.AllowUnauthenticated}
	var invalid []error
	blank := func(what string, list []string) []string {
		trimmed := make([]string, len(list))
		for i, s := range list {
			if trimmed[i] = strings.TrimSpace(s); trimmed[i] == "" {
				invalid = append(invalid, fmt.Errorf("%s %d of %d is blank", what, i+1, len(list)))
			}
		}
		return trimmed
	}
	v.appIDs = blank("app id", cfg.AppIDs)
	v.locationIDs = blank("location id", cfg.LocationIDs)
	for _, secret := range blank("webhook secret", cfg.Secrets) {
		v.secrets = append(v.secrets, sha256.Sum256([]byte(secret)))
	}

	tenantKnown := len(cfg.AppIDs) > 0 || len(cfg.LocationIDs) > 0
	for i, s := range cfg.PublicKeys {
		key, err := parsePublicKey(s)
		switch {
		case err != nil:
			invalid = append(invalid, fmt.Errorf("public key %d of %d: %w", i+1, len(cfg.PublicKeys), err))
		case !key.Equal(publishedKey):
			v.keys = append(v.keys, verifyingKey{key, ProofOwnKey})
		case !tenantKnown && !cfg.AllowUnauthenticated:
			invalid = append(invalid, fmt.Errorf("public key %d of %d is GoHighLevel's own, which signs for every app: "+
				"set app ids or location ids to select yours", i+1, len(cfg.PublicKeys)))
		default:
			v.keys = append(v.keys, verifyingKey{key, ProofPublishedKey})
		}
	}
	v.signatureSuffices = len(cfg.PublicKeys) > 0 || tenantKnown || cfg.AllowUnauthenticated
	if len(cfg.PublicKeys) == 0 {
		v.keys = append(v.keys, verifyingKey{publishedKey, ProofPublishedKey})
	}
	if !v.signatureSuffices && len(cfg.Secrets) == 0 {
		invalid = append(invalid, errors.New("no sender is allowed: configure webhook secrets, public keys, or "+
			"the app ids or location ids for which GoHighLevel's own signature is accepted"))
	}
	if err := errors.Join(invalid...); err != nil {
		return nil, err
	}
	return v, nil
}

// Authenticate checks a request before its body is decoded: raw is what GoHighLevel signed. A wrong signature is ErrUnauthenticated even
// beside a valid secret, and even if unauthenticated requests are allowed. The query is the result of QueryOf.
func (v *Verifier) Authenticate(h http.Header, query url.Values, raw []byte) (Proof, error) {
	if len(h.Values(HeaderSignature)) > 1 {
		return ProofNone, ErrUnauthenticated // GoHighLevel sends one. Proxies and servers differ in which of several they read.
	}
	if signature, ok := signatureOf(h); ok {
		proof, ok := v.verify(signature, raw)
		if !ok {
			return ProofNone, ErrUnauthenticated
		}
		if v.signatureSuffices {
			return proof, nil
		}
	}
	if v.hasSecret(h, query) {
		return ProofSecret, nil
	}
	if v.allowUnauthenticated {
		return ProofNone, nil
	}
	return ProofNone, ErrUnauthenticated
}

// signatureOf returns the signature header. GoHighLevel sends N/A in an unsigned request.
func signatureOf(h http.Header) (string, bool) {
	signature := strings.TrimSpace(h.Get(HeaderSignature))
	return signature, signature != "" && !strings.EqualFold(signature, "N/A")
}

func (v *Verifier) verify(signature string, raw []byte) (Proof, bool) {
	sig, err := decodeBase64(signature)
	if err != nil || len(sig) != ed25519.SignatureSize {
		return ProofNone, false
	}
	for _, k := range v.keys {
		if ed25519.Verify(k.key, raw, sig) {
			return k.proof, true
		}
	}
	return ProofNone, false
}

// Authorize checks an authenticated body against the configured apps and locations. It returns nil, ErrAppNotAllowed, ErrNotMarketplace or
// ErrLocationIgnored.
//
// App ids apply to signed webhooks, because only those have one. If app ids are configured, a signed webhook without one is rejected. A
// body without a location is accepted if a secret, an own key or an app id proves that it is for this installation. If only the list of
// locations restricts GoHighLevel's published key, such a body may be another customer's. If a body names several locations, all must be
// configured.
//
// For GoHighLevel's published key only the envelope counts, which no customer can write. A body without one is rejected. A body with two
// locations, or about another location than its envelope's, is ignored.
func (v *Verifier) Authorize(p Proof, b Body, e event.Event) error {
	if len(v.appIDs) == 0 && len(v.locationIDs) == 0 {
		return nil
	}
	if p.Signed() {
		if err := v.authorizeSigned(p, b, e); err != nil {
			return err
		}
	}
	if len(v.locationIDs) == 0 {
		return nil
	}
	location := e.LocationID
	named := b.locationIDs()
	if e.EntityType == entityLocation && e.EntityID != "" {
		location = cmp.Or(location, e.EntityID)
		named = append(named, e.EntityID)
	}
	for _, id := range named {
		if !slices.Contains(v.locationIDs, id) {
			return ErrLocationIgnored
		}
	}
	switch {
	case slices.Contains(v.locationIDs, location):
		return nil
	case location == "" && (p != ProofPublishedKey || len(v.appIDs) > 0):
		return nil
	default:
		return ErrLocationIgnored
	}
}

// authorizeSigned checks the envelope of a signed body against the list of apps and, for GoHighLevel's published key, against the event.
func (v *Verifier) authorizeSigned(p Proof, b Body, e event.Event) error {
	envelope := envelopeOf(b)
	if p == ProofPublishedKey && envelope.foreign {
		return ErrNotMarketplace
	}
	if len(v.appIDs) > 0 && (envelope.foreign || !slices.Contains(v.appIDs, envelope.appID)) {
		return ErrAppNotAllowed
	}
	if p != ProofPublishedKey {
		return nil
	}
	about := []string{e.LocationID}
	if e.EntityType == entityLocation {
		about = append(about, e.EntityID)
	}
	for _, id := range about {
		if id != "" && !slices.Contains(envelope.locations, id) {
			return ErrLocationIgnored
		}
	}
	if len(envelope.locations) > 1 || len(envelope.locations) == 1 && !slices.Contains(about, envelope.locations[0]) {
		return ErrLocationIgnored
	}
	return nil
}

// entityLocation is the entity type of events about a location.
const entityLocation = "location"
