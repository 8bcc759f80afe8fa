package store

import (
	"crypto/tls"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dfmiddleware/verity-sync/internal/database"
)

// errUnsuitable says that a database can hold nothing of verity-sync, whatever happens.
var errUnsuitable = errors.New("the database is not suitable")

// permanentClasses are the classes of SQLSTATE that a statement or a connection fails with however often it is repeated. Outages,
// failovers (25006), full disks and too many connections are in others.
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

// IsPermanent reports whether err, of a migration, stays the same until somebody changes the configuration or the database.
func IsPermanent(err error) bool {
	if _, ok := errors.AsType[*ObstructedError](err); ok || errors.Is(err, ErrSchemaTooNew) || errors.Is(err, errUnsuitable) ||
		errors.Is(err, database.ErrUnusable) {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && len(pg.Code) == 5 && slices.Contains(permanentClasses, pg.Code[:2])
}
