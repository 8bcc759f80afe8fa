package store_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// TestOutagesAreNotPermanent uses the states of a server that a test cannot produce. The tests of cmd use the others.
func TestOutagesAreNotPermanent(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"28P01": true, "28000": true, "3D000": true, "42501": true, "0A000": true, "2BP01": true, "23505": true, "22P02": true, "3F000": true,
		"57P03": false, "57P01": false, "53300": false, "53100": false, "25006": false, "08006": false, "40001": false, "40P01": false,
		"55P03": false, "58030": false, "XX000": false, "": false,
	} {
		assert.Equal(t, want, store.IsPermanent(fmt.Errorf("migrate: %w", &pgconn.PgError{Code: code})), code)
	}
	assert.True(t, store.IsPermanent(fmt.Errorf("a: %w", &store.ObstructedError{})))
	assert.False(t, store.IsPermanent(errors.New("connection refused")))
	assert.False(t, store.IsPermanent(nil))
}

func TestARefusedCertificateIsPermanent(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"the authority is unknown, with verify-full": &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}},
		"the authority is unknown, with verify-ca":   x509.UnknownAuthorityError{},
		"the certificate is expired":                 x509.CertificateInvalidError{Reason: x509.Expired},
		"the certificate has another name":           x509.HostnameError{Certificate: &x509.Certificate{}, Host: "db"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.True(t, store.IsPermanent(fmt.Errorf("connect: %w", err)))
		})
	}
}
