package webhooksink

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The lengths of a key, in bytes, that the specification allows.
const (
	minKey = 24
	maxKey = 64
)

// ParseSecret returns the key of a secret: whsec_ and the base64 of 24 to 64 bytes. The error does not contain the secret.
func ParseSecret(secret string) ([]byte, error) {
	encoded, found := strings.CutPrefix(secret, "whsec_")
	if !found {
		return nil, errors.New("expected whsec_ and the base64 of 24 to 64 random bytes")
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("expected base64 after whsec_")
	}
	if len(key) < minKey || len(key) > maxKey {
		return nil, fmt.Errorf("expected the base64 of %d to %d bytes after whsec_, got %d bytes", minKey, maxKey, len(key))
	}
	return key, nil
}

// sign returns the value of the header webhook-signature: version 1, HMAC-SHA256.
func sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
