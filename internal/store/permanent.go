package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dfmiddleware/verity-sync/internal/database"
)

// errUnsuitable means that verity-sync cannot use the database.
var errUnsuitable = errors.New("the database is not suitable")

// permanentClasses are the classes of SQLSTATE for which a retry cannot succeed. Outages, failovers (25006), full disks and too many
// connections have other classes.
var permanentClasses = []string{
	"0A", // feature not supported: a type that cannot be altered
	"22", // data exception
	"23", // integrity constraint violation
	"28", // invalid authorization: a wrong password, an unknown role, no entry in pg_hba.conf
	"2B", // dependent objects exist
	"3D", // unknown database
	"3F", // unknown schema
	"42", // syntax error or access rule violation: an insufficient privilege, an object that is missing or in the way
}

// IsPermanent reports whether a migration fails with err until the configuration or the database is changed.
func IsPermanent(err error) bool {
	if _, ok := errors.AsType[*ObstructedError](err); ok || errors.Is(err, ErrSchemaTooNew) || errors.Is(err, errUnsuitable) ||
		errors.Is(err, database.ErrUnusable) {
		return true
	}
	if isCertificateError(err) {
		return true
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && len(pg.Code) == 5 && slices.Contains(permanentClasses, pg.Code[:2])
}

// isCertificateError reports whether the certificate of the server was rejected. With sslmode=verify-ca the error is a bare x509 error.
func isCertificateError(err error) bool {
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	return verification || authority || invalid || name
}
