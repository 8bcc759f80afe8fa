package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/event"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// versionTable is goose's table of applied migrations. Its name is not goose's default, since the database may be shared.
const versionTable = "verity_sync_schema_version"

// versionQuery reads the version without creating the table, as goose would.
const versionQuery = `SELECT coalesce(max(version_id), 0) FROM ` + versionTable + ` WHERE is_applied`

// oldestQuery reads the oldest version whose binaries may use the schema. The table exists since version 3.
const oldestQuery = `SELECT oldest_version FROM verity_sync_schema_compatibility`

// undefinedTable is the SQLSTATE of a table that does not exist.
const undefinedTable = "42P01"

// adoptVersion is the migration that normalises adopted rows again.
const adoptVersion = 2

// latestVersion is the newest version that this binary knows.
const latestVersion = 15

// ErrSchemaOutdated means that the database lacks migrations of this binary.
var ErrSchemaOutdated = errors.New("the database schema is older than this binary")

// ErrSchemaTooNew means that the database has a migration that is incompatible with this binary.
var ErrSchemaTooNew = errors.New("the database schema is too new for this binary")

// CheckSchema compares the version of the schema with that of this binary. It accepts a newer schema that is compatible, so that an older
// process can start during a rollout and after a rollback. The error has what to do.
func (s *Store) CheckSchema(ctx context.Context) error {
	version, err := s.SchemaVersion(ctx)
	if err != nil {
		return err
	}
	if version < latestVersion {
		return fmt.Errorf("%w (version %d, this binary needs %d): run `verity-sync migrate` first%s",
			ErrSchemaOutdated, version, latestVersion, s.elsewhere(ctx, version))
	}
	if version == latestVersion {
		return nil
	}
	var oldest int64
	if err := s.pool.QueryRow(ctx, oldestQuery).Scan(&oldest); err != nil {
		return s.wrap(err, "read which versions the schema is compatible with")
	}
	return checkNotTooNew(version, oldest)
}

// elsewhere names other schemas with tables of verity-sync, if search_path has none.
func (s *Store) elsewhere(ctx context.Context, version int64) string {
	if version > 0 {
		return ""
	}
	var schemas string
	err := s.pool.QueryRow(ctx, `SELECT coalesce(string_agg(name, ', '), '') FROM (
		SELECT quote_ident(nspname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relname = $1 AND c.relkind = 'r' ORDER BY 1 LIMIT 3) others`, versionTable).Scan(&schemas)
	if err != nil || schemas == "" {
		return ""
	}
	return ". There are tables of verity-sync in the schema " + schemas + ": if they are those of this installation, " +
		"name their schema in search_path, by ALTER ROLE … SET search_path"
}

// checkNotTooNew rejects a database that a newer binary has migrated incompatibly.
func checkNotTooNew(version, oldest int64) error {
	if latestVersion < oldest {
		return fmt.Errorf("%w (version %d, for binaries that know at least %d; this one knows %d): "+
			"run the version of verity-sync that migrated it, or a newer one; "+
			"to return to this version, restore a backup from before that migration", ErrSchemaTooNew, version, oldest, latestVersion)
	}
	return nil
}

// SchemaVersion returns the version of the schema, 0 before the first migration.
func (s *Store) SchemaVersion(ctx context.Context) (int64, error) {
	var version int64
	err := s.pool.QueryRow(ctx, versionQuery).Scan(&version)
	if sqlState(err) == undefinedTable {
		return 0, nil
	}
	return version, s.wrap(err, "read the schema version")
}

// MigrateOptions configure a migration.
type MigrateOptions struct {
	// Normalise decodes a payload of GoHighLevel. It is applied to unfinished rows of the legacy middleware.
	Normalise func(payload []byte, receivedAt time.Time) event.Event
	// ForwardAdopted also forwards unfinished rows of the legacy middleware, which forwarded them when it received them.
	ForwardAdopted bool
	// Report is called every few seconds during a step that may take long and has no timeout. It may be nil.
	Report func(step string, since time.Duration)
}

// answerTimeout bounds a migration's queries of the catalog. Statements that read or change tables have no timeout.
const answerTimeout = 20 * time.Second

// reportPeriod is how often a long step is reported.
const reportPeriod = 5 * time.Second

// reported runs a step that may take long.
func (o MigrateOptions) reported(step string, f func() error) error {
	if o.Report == nil {
		return f()
	}
	began, done := time.Now(), make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(reportPeriod):
				o.Report(step, time.Since(began).Round(time.Second))
			}
		}
	})
	defer reporter.Wait()
	defer close(done)
	return f()
}

// MigrationStatus is a migration and the time when it was applied, zero if it is pending.
type MigrationStatus struct {
	Version   int64
	Name      string
	AppliedAt time.Time
}

// Migrate migrates the database at url and returns the applied migrations. Concurrent calls wait for each other. An ObstructedError lists
// obstacles; nothing was changed. A database.NoAnswerError means that the database did not answer.
func Migrate(ctx context.Context, url string, opts MigrateOptions) ([]MigrationStatus, error) {
	if opts.Normalise == nil {
		return nil, errors.New("migrate: Normalise is not set")
	}
	db, provider, _, err := openProvider(ctx, url, opts)
	if err != nil {
		return nil, err
	}
	defer db.Close() //nolint:errcheck // Its work is done.
	var unlock func()
	err = opts.reported("wait for other migrations", func() (err error) {
		ctx, unlock, err = lockMigration(ctx, db) //nolint:fatcontext // It is called once.
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("wait for other migrations: %w", err)
	}
	defer unlock()
	if err := checkObstacles(ctx, db.DB, provider); err != nil {
		return nil, err
	}
	applied, err := applyPending(ctx, provider, opts)
	if err != nil {
		return applied, errors.Join(err, lockLost(ctx))
	}
	if opts.ForwardAdopted {
		err := opts.reported("mark adopted events for forwarding", func() error {
			_, err := db.ExecContext(ctx, `UPDATE webhook_events SET forward = true
				WHERE adopted AND NOT forward AND status IN ('pending', 'processing')`)
			return err
		})
		if err != nil {
			return applied, fmt.Errorf("mark adopted events for forwarding: %w", errors.Join(err, lockLost(ctx)))
		}
	}
	return applied, nil
}

// applyPending applies the pending migrations, one at a time. A newer database, as after a rollback of the binary, has none.
func applyPending(ctx context.Context, provider *goose.Provider, opts MigrateOptions) (applied []MigrationStatus, err error) {
	for {
		version, err := provider.GetDBVersion(ctx)
		if err != nil {
			return applied, fmt.Errorf("migrate: %w", err)
		}
		step := "look for pending migrations"
		if next := slices.IndexFunc(provider.ListSources(), func(s *goose.Source) bool { return s.Version > version }); next >= 0 {
			source := provider.ListSources()[next]
			step = fmt.Sprintf("apply %d: %s", source.Version, migrationName(source))
		}
		var result *goose.MigrationResult
		err = opts.reported(step, func() (err error) {
			result, err = provider.UpByOne(ctx)
			return err
		})
		if errors.Is(err, goose.ErrNoNextVersion) {
			return applied, nil
		}
		if err != nil {
			return applied, fmt.Errorf("migrate: %w", err)
		}
		applied = append(applied, MigrationStatus{
			Version: result.Source.Version, Name: migrationName(result.Source), AppliedAt: time.Now(),
		})
	}
}

// MigrationsOf lists the migrations of this binary, with the time when each was applied to the database at url.
func MigrationsOf(ctx context.Context, url string) ([]MigrationStatus, error) {
	db, provider, version, err := openProvider(ctx, url, MigrateOptions{})
	if err != nil {
		return nil, err
	}
	defer db.Close() //nolint:errcheck // Its work is done.
	return migrationsOf(ctx, provider, version)
}

func migrationsOf(ctx context.Context, provider *goose.Provider, version int64) ([]MigrationStatus, error) {
	var out []MigrationStatus
	if version == 0 { // goose would create its table, but this must not change anything.
		for _, source := range provider.ListSources() {
			out = append(out, MigrationStatus{Version: source.Version, Name: migrationName(source)})
		}
		return out, nil
	}
	var statuses []*goose.MigrationStatus
	err := database.Within(ctx, answerTimeout, func(ctx context.Context) (err error) {
		statuses, err = provider.Status(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the applied migrations: %w", err)
	}
	for _, status := range statuses {
		out = append(out, MigrationStatus{Version: status.Source.Version, Name: migrationName(status.Source), AppliedAt: status.AppliedAt})
	}
	return out, nil
}

// migrationName returns the words of the file name, or plainer ones.
func migrationName(s *goose.Source) string {
	switch s.Version {
	case 1:
		return "tables"
	case adoptVersion:
		return "normalise adopted events"
	case 3:
		return "held events"
	case 4:
		return "parked events"
	default:
		_, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(s.Path), ".sql"), "_")
		return strings.ReplaceAll(name, "_", " ")
	}
}

// openProvider connects to the database at url and returns its version. It rejects a database that is too new for this binary.
func openProvider(ctx context.Context, url string, opts MigrateOptions) (*migrationDB, *goose.Provider, int64, error) {
	db, err := openMigration(ctx, url)
	if err != nil {
		return nil, nil, 0, err
	}
	var provider *goose.Provider
	var version int64
	err = database.Within(ctx, answerTimeout, func(ctx context.Context) (err error) {
		if provider, err = newProvider(ctx, db.DB, opts); err != nil {
			return err
		}
		version, err = readVersion(ctx, db.DB)
		if err != nil || version <= latestVersion {
			return err
		}
		var oldest int64
		err = db.QueryRowContext(ctx, oldestQuery).Scan(&oldest)
		if err == nil {
			err = checkNotTooNew(version, oldest)
		}
		if err != nil {
			return fmt.Errorf("check that this binary is new enough: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, nil, 0, errors.Join(err, db.Close())
	}
	return db, provider, version, nil
}

func newProvider(ctx context.Context, db *sql.DB, opts MigrateOptions) (*goose.Provider, error) {
	var schema, encoding string
	err := db.QueryRowContext(ctx, `SELECT coalesce(current_schema(), ''), current_setting('server_encoding')`).Scan(&schema, &encoding)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	if schema == "" {
		return nil, fmt.Errorf("%w: its search_path names no schema that exists", errUnsuitable)
	}
	if encoding != "UTF8" {
		return nil, fmt.Errorf("%w: it has the encoding %s, and payloads need UTF8", errUnsuitable, encoding)
	}
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	adopt := goose.NewGoMigration(adoptVersion, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		return normaliseAdopted(ctx, tx, opts.Normalise)
	}}, nil)
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true),
		goose.WithGoMigrations(adopt))
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	newest := slices.MaxFunc(provider.ListSources(), func(a, b *goose.Source) int { return int(a.Version - b.Version) })
	if newest.Version != latestVersion {
		return nil, fmt.Errorf("the newest migration is %d, this binary says %d", newest.Version, latestVersion)
	}
	return provider, nil
}
