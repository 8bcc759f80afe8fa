package ghl

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"filippo.io/edwards25519"
)

// PublishedKey is the Ed25519 key with which GoHighLevel signs webhooks, from its webhook integration guide: SPKI DER in base64. It is the
// same for every app of every vendor: a signature proves that GoHighLevel sent the body, but not to whom.
const PublishedKey = "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg="

var publishedKey = func() ed25519.PublicKey {
	key, err := parsePublicKey(PublishedKey)
	if err != nil {
		panic(err)
	}
	return key
}()

// errPublicKey does not include the value: people paste private keys.
var errPublicKey = errors.New("not an Ed25519 public key in PEM, in base64 (raw or SPKI) or in hexadecimal")

// errSmallOrder is about the few points of the curve for which one signature is valid for any body: an encoding of zeros, for instance.
var errSmallOrder = errors.New("an Ed25519 key of small order, for which anyone can sign")

// parsePublicKey parses a key for which only the owner of the private key can sign.
func parsePublicKey(s string) (ed25519.PublicKey, error) {
	key, err := readPublicKey(s)
	if err != nil {
		return nil, err
	}
	point, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		return nil, errPublicKey
	}
	if point.MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return nil, errSmallOrder
	}
	return key, nil
}

// readPublicKey parses a key in any common form: PEM, also without line breaks or with \n for them; base64 of the DER or of the 32 bytes;
// hexadecimal.
func readPublicKey(s string) (ed25519.PublicKey, error) {
	if _, body, ok := strings.Cut(s, "-----BEGIN PUBLIC KEY-----"); ok {
		s, _, _ = strings.Cut(body, "-----END PUBLIC KEY-----")
		s = strings.ReplaceAll(s, `\n`, "")
	}
	s = strings.Join(strings.Fields(s), "")

	if key, err := hex.DecodeString(s); err == nil && len(key) == ed25519.PublicKeySize {
		return key, nil
	}
	der, err := decodeBase64(s)
	if err != nil {
		return nil, errPublicKey
	}
	if len(der) == ed25519.PublicKeySize {
		return der, nil
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if key, ok := parsed.(ed25519.PublicKey); ok && err == nil {
		return key, nil
	}
	return nil, errPublicKey
}

var standardAlphabet = strings.NewReplacer("-", "+", "_", "/")

// decodeBase64 accepts both alphabets, with and without padding.
func decodeBase64(s string) ([]byte, error) {
	s = standardAlphabet.Replace(strings.TrimRight(s, "="))
	return base64.RawStdEncoding.DecodeString(s)
}
