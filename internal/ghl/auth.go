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

// Where a request carries what authenticates it. GHL sets the first; people set one of the others in a workflow.
const (
	HeaderSignature = "X-GHL-Signature"
	HeaderSecret    = "X-Webhook-Secret" //nolint:gosec // The name of a header is no secret.
	QueryToken      = "token"
)

// Errors of Authenticate and Authorize.
var (
	// ErrUnauthenticated: no valid signature or secret, or a wrong signature whatever else is there. HTTP 401.
	ErrUnauthenticated = errors.New("no valid signature or secret")
	// ErrAppNotAllowed: GHL signed it, but for another app than those that are allowed. HTTP 403.
	ErrAppNotAllowed = errors.New("not signed for an app that is allowed here")
	// ErrNotMarketplace is the ErrAppNotAllowed of a body that GHL's published key signed and that does not have the form of a
	// marketplace webhook: what its fields say is a customer's own word. HTTP 403.
	ErrNotMarketplace = fmt.Errorf("%w: its body is not a marketplace webhook as GHL writes it", ErrAppNotAllowed)
	// ErrLocationIgnored: authentic, but of a location that is not wanted here. HTTP 200, since GHL's breaker would
	// count anything else against the whole endpoint; nothing is stored.
	ErrLocationIgnored = errors.New("not a location that is wanted here")
)

// AuthConfig says who may post. The zero value is nobody, which NewVerifier refuses.
type AuthConfig struct {
	// PublicKeys verify signatures: Ed25519, in PEM, in base64 (SPKI or the raw 32 bytes) or in hexadecimal. Several can
	// be in force at once. Where there are none, PublishedKey is.
	PublicKeys []string
	// Secrets authenticate unsigned posts. Several can be in force at once.
	Secrets []string
	// AppIDs are the marketplace apps that signed posts may be for; empty means any.
	AppIDs []string
	// LocationIDs are the locations that are wanted; empty means any.
	LocationIDs []string
	// AllowUnauthenticated takes posts that carry neither signature nor secret, or a wrong secret.
	AllowUnauthenticated bool
}

// Proof says what a request was authenticated by.
type Proof uint8

// The proofs, from none to best.
const (
	// ProofNone: nothing, where unauthenticated posts are allowed.
	ProofNone Proof = iota
	// ProofPublishedKey: a signature by PublishedKey. GHL sent it, to one of its customers.
	ProofPublishedKey
	// ProofSecret: one of the secrets.
	ProofSecret
	// ProofOwnKey: a signature by another key of the configuration.
	ProofOwnKey
)

// Signed reports whether the proof is a signature.
func (p Proof) Signed() bool { return p == ProofPublishedKey || p == ProofOwnKey }

// String returns the proof as it stands in logs.
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

// Verifier decides which requests are believed. It is safe for concurrent use.
type Verifier struct {
	keys []verifyingKey
	// signatureSuffices is false where a signature by the published key alone would let in every GHL customer. A wrong
	// signature is turned away even then.
	signatureSuffices    bool
	secrets              [][sha256.Size]byte
	appIDs, locationIDs  []string
	allowUnauthenticated bool
}

type verifyingKey struct {
	key   ed25519.PublicKey
	proof Proof
}

// NewVerifier returns an error that names all mistakes of cfg at once and repeats no secret.
//
// PublishedKey is for every GHL app there is. Alone it is in force only where AppIDs or LocationIDs say which of what it
// signs is wanted, and to name it in PublicKeys without them is a mistake.
func NewVerifier(cfg AuthConfig) (*Verifier, error) { return newVerifier(cfg, publishedKey) }

func newVerifier(cfg AuthConfig, publishedKey ed25519.PublicKey) (*Verifier, error) {
	v := &Verifier{allowUnauthenticated: cfg.AllowUnauthenticated}
	var mistakes []error
	blank := func(what string, list []string) []string {
		trimmed := make([]string, len(list))
		for i, s := range list {
			if trimmed[i] = strings.TrimSpace(s); trimmed[i] == "" {
				mistakes = append(mistakes, fmt.Errorf("%s %d of %d is blank", what, i+1, len(list)))
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
			mistakes = append(mistakes, fmt.Errorf("public key %d of %d: %w", i+1, len(cfg.PublicKeys), err))
		case !key.Equal(publishedKey):
			v.keys = append(v.keys, verifyingKey{key, ProofOwnKey})
		case !tenantKnown && !cfg.AllowUnauthenticated:
			mistakes = append(mistakes, fmt.Errorf("public key %d of %d is GHL's own, which signs for every GHL app: "+
				"say with app ids or location ids which are yours", i+1, len(cfg.PublicKeys)))
		default:
			v.keys = append(v.keys, verifyingKey{key, ProofPublishedKey})
		}
	}
	v.signatureSuffices = len(cfg.PublicKeys) > 0 || tenantKnown || cfg.AllowUnauthenticated
	if len(cfg.PublicKeys) == 0 {
		v.keys = append(v.keys, verifyingKey{publishedKey, ProofPublishedKey})
	}
	if !v.signatureSuffices && len(cfg.Secrets) == 0 {
		mistakes = append(mistakes, errors.New("nothing says who may post: configure webhook secrets, public keys, or "+
			"the app ids or location ids for which GHL's own signature is accepted"))
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	return v, nil
}

// Authenticate checks a request before anything of its body is decoded: raw is what GHL signed. A wrong signature is
// ErrUnauthenticated even beside a valid secret, and even where unauthenticated posts are allowed: whoever signs means
// it. The query is that of QueryOf.
func (v *Verifier) Authenticate(h http.Header, query url.Values, raw []byte) (Proof, error) {
	if len(h.Values(HeaderSignature)) > 1 {
		return ProofNone, ErrUnauthenticated // GHL sends one. Proxies and servers differ in which of several they read.
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

// signatureOf returns the signature header; GHL writes N/A where it has not signed.
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

// Authorize says whether an authenticated body is wanted: nil, ErrAppNotAllowed, ErrNotMarketplace or ErrLocationIgnored.
//
// The app ids are for signed posts, since nothing else carries one; a signed post without an app id is none of ours
// where they are set. A body without a location is let through where something else has shown that it is ours: a
// secret, an own key, or an app id. Where the list of locations is all there is to hold against GHL's published key, it
// is another customer's for all we know. A body that names several locations needs all of them on the list.
//
// For GHL's published key, only the envelope counts, which no customer can write. A body without one is refused, and one that
// names two locations, or is about another location than its envelope, is no wanted location's.
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

// authorizeSigned holds the envelope of a signed body against the list of apps, and for GHL's published key against what the event
// is about.
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

// entityLocation is the entity type of events about a location itself.
const entityLocation = "location"
