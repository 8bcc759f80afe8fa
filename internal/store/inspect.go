package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// The checks of the middleware database, in addition to those of its connection.
const (
	checkSchemaVersion = "schema"
	checkSearchPath    = "search-path"
	checkPrivileges    = "privileges"
	checkRowSecurity   = "row-security"
)

// Process is the process that a database is inspected for.
type Process int

const (
	// AnyProcess needs what receivers and controllers need.
	AnyProcess Process = iota
	// ReceiverProcess stores events and relays them.
	ReceiverProcess
	// ControllerProcess processes events.
	ControllerProcess
	// MigrationProcess changes the schema. It may use another Postgres role.
	MigrationProcess
)

// Inspect checks the connection, the server, the schema and the privileges of the role for a process. An error means that the database did
// not answer.
func (s *Store) Inspect(ctx context.Context, process Process, clients []database.Clients) ([]preflight.Finding, error) {
	findings, err := inspect(ctx, s.pool, process, database.Inspection{
		Database: preflight.Middleware, Clients: clients,
		Timeouts: map[string]time.Duration{
			"statement_timeout": statementTimeout, "lock_timeout": lockTimeout,
			"idle_in_transaction_session_timeout": idleInTransactionTimeout,
		},
	})
	return findings, s.wrap(err, "inspect the database")
}

// InspectMigration checks the database at url for a migration, except for obstacles and the version, which Migrate checks. It also returns
// the path between the processes and the database. An error means that the database did not answer, or not all questions; the findings
// until then are valid.
func InspectMigration(
	ctx context.Context, url string, clients []database.Clients,
) (path database.Path, findings []preflight.Finding, err error) {
	db, err := openMigration(ctx, url)
	if err != nil {
		return database.Path{}, nil, err
	}
	defer db.Close() //nolint:errcheck // Its work is done.
	err = database.Within(ctx, answerTimeout, func(ctx context.Context) (err error) {
		if path, err = db.pool.Check(ctx); err != nil && !errors.Is(err, database.ErrUnusable) {
			return fmt.Errorf("connect to the database: %w", err)
		}
		findings, err = inspect(ctx, db.pool, MigrationProcess, database.Inspection{Database: preflight.Middleware, Clients: clients})
		if err != nil {
			return fmt.Errorf("inspect the database: %w", err)
		}
		return nil
	})
	return path, findings, err
}

func inspect(ctx context.Context, pool *database.Pool, process Process, inspection database.Inspection) ([]preflight.Finding, error) {
	findings, err := database.Inspect(ctx, pool, inspection)
	if err != nil || database.Unusable(findings) {
		return findings, err
	}
	settings, err := pool.Settings(ctx, pool)
	if err != nil {
		return findings, err
	}
	p, err := readTableSchemas(ctx, pool, settings["search_path"])
	if err != nil {
		return findings, err
	}
	findings = append(findings, p.searchPath(process))
	if process == MigrationProcess {
		return findings, nil // Migrate checks the version, and obstacles such as missing privileges.
	}
	version, err := schemaFinding(ctx, pool, p)
	switch {
	case err == nil:
		findings = append(findings, version)
	case sqlState(err) == insufficientPrivilege: // Reported by inspectPrivileges.
	default:
		findings = append(findings, unreadableVersion(err))
	}
	if version.Severity == preflight.Error {
		return findings, nil // The tables do not exist yet, or are those of another version.
	}
	more, err := p.inspectRights(ctx, pool, settings["row_security"], process)
	if err != nil || ofServer(p.current()) { // The tables are not in the current schema.
		return append(findings, more...), err
	}
	columns, err := inspectColumns(ctx, pool, process)
	return slices.Concat(findings, more, columns), err
}

// inspectRights checks the privileges and the row security of the tables.
func (p tableSchemas) inspectRights(
	ctx context.Context, pool *database.Pool, rowSecurity database.Setting, process Process,
) ([]preflight.Finding, error) {
	findings, err := inspectPrivileges(ctx, pool, p, process)
	if err != nil {
		return nil, err
	}
	rows, err := inspectRowSecurity(ctx, pool, p, rowSecurity, process)
	return append(findings, rows...), err
}

func newFinding(severity preflight.Severity, check, message, action string) preflight.Finding {
	return preflight.Finding{Database: preflight.Middleware, Severity: severity, Check: check, Message: message, Action: action}
}

// unreadableVersion reports that the version of the schema could not be read, for example because of a lock. The other checks do not need
// it.
func unreadableVersion(err error) preflight.Finding {
	f := newFinding(preflight.Error, checkSchemaVersion, fmt.Sprintf("the version of the schema cannot be read: %v", err),
		"end the session that holds a lock on "+versionTable+": SELECT pid, query FROM pg_stat_activity WHERE pid IN "+
			"(SELECT pid FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = to_regclass('"+versionTable+"'))")
	f.MayPass = true
	return f
}

// schemaFinding compares the version of the schema with that of this binary.
func schemaFinding(ctx context.Context, pool *database.Pool, p tableSchemas) (preflight.Finding, error) {
	if deadline, ok := ctx.Deadline(); ok { // The other checks need the rest of the time.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	s := &Store{pool: pool}
	version, err := s.SchemaVersion(ctx)
	if err != nil {
		return preflight.Finding{}, err
	}
	message := fmt.Sprintf("the schema has version %d", version)
	err = s.CheckSchema(ctx)
	switch {
	case errors.Is(err, ErrSchemaTooNew), errors.Is(err, ErrSchemaOutdated):
		message, action, _ := strings.Cut(err.Error(), "): ")
		if version == 0 && len(p.homes) > 0 {
			action = fmt.Sprintf("run `verity-sync migrate` first. There are tables of verity-sync in the schema %s: if those of %s are "+
				"this installation's, %s", strings.Join(p.homes, ", "), p.homes[0], p.setPath(p.homes[0]))
		}
		f := newFinding(preflight.Error, checkSchemaVersion, message+")", action)
		f.MayPass = errors.Is(err, ErrSchemaOutdated) // A migration may be in progress.
		return f, nil
	case err != nil:
		return preflight.Finding{}, err
	case len(p.missing()) > 0:
		return newFinding(preflight.Error, checkSchemaVersion, message+", but the schema lacks the tables "+strings.Join(p.missing(), ", ")+
			": operations that use them fail", "restore them from a backup"), nil
	case version > latestVersion:
		message += fmt.Sprintf(", which is newer than that of this binary, %d, and compatible", latestVersion)
	default:
		message += ", which this binary needs"
	}
	return newFinding(preflight.OK, checkSchemaVersion, message, ""), nil
}
