package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// The checks of the middleware database, besides those of its connection.
const (
	checkSchemaVersion = "schema"
	checkSearchPath    = "search-path"
	checkPrivileges    = "privileges"
	checkRowSecurity   = "row-security"
)

// Process says what the database is inspected for.
type Process int

const (
	// AnyProcess uses all that receivers and controllers use.
	AnyProcess Process = iota
	// ReceiverProcess stores events and relays them.
	ReceiverProcess
	// ControllerProcess works on events.
	ControllerProcess
	// MigrationProcess changes the schema, and may have another role of Postgres than the others.
	MigrationProcess
)

// Inspect checks the connection, the server, the schema and the rights of the role for a process. The error says that the database could
// not be asked.
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

// InspectMigration checks the database at url for a migration, but for obstacles and the version, which Migrate checks itself. It also
// returns what is between receivers and controllers and the database. The error says that the database could not be asked, or no more than
// the findings say.
func InspectMigration(ctx context.Context, url string, clients []database.Clients) (path database.Path, findings []preflight.Finding, err error) {
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
	p, err := readPlaces(ctx, pool)
	if err != nil {
		return findings, err
	}
	findings = append(findings, p.searchPath(process))
	if process == MigrationProcess {
		return findings, nil // It compares versions by itself, and looks for obstacles, missing rights among them.
	}
	version, err := schemaFinding(ctx, pool, p)
	switch {
	case err == nil:
		findings = append(findings, version)
	case sqlState(err) == insufficientPrivilege: // It is among the privileges.
	default:
		findings = append(findings, unreadableVersion(err))
	}
	if version.Severity == preflight.Error {
		return findings, nil // The tables are yet to come, or those of another binary.
	}
	for _, check := range []func(context.Context, *database.Pool, Process) ([]preflight.Finding, error){
		inspectPrivileges, inspectRowSecurity, inspectColumns,
	} {
		more, err := check(ctx, pool, process)
		if err != nil {
			return findings, err
		}
		findings = append(findings, more...)
	}
	return findings, nil
}

func found(severity preflight.Severity, check, message, action string) preflight.Finding {
	return preflight.Finding{Database: preflight.Middleware, Severity: severity, Check: check, Message: message, Action: action}
}

// places says in which schemas there are tables of verity-sync.
type places struct {
	// path is the search_path as it is set; current is the first schema of it that exists, "" where none does.
	path, current, role string
	// first is the schema that it names first, which need not exist.
	first string
	// resolved are the schemas of the tables that are found without naming one, by table.
	resolved map[string]string
	// visible are the schemas of the search_path that have tables of verity-sync, in its order.
	visible []string
}

func readPlaces(ctx context.Context, pool *database.Pool) (places, error) {
	var p places
	var existing []string
	err := pool.QueryRow(ctx, `
		SELECT current_setting('search_path'), coalesce(current_schema(), ''), current_user,
		       ARRAY(SELECT unnest(current_schemas(false))::text)`).Scan(&p.path, &p.current, &p.role, &existing)
	if err != nil {
		return places{}, fmt.Errorf("read the search_path: %w", err)
	}
	p.first = firstOfPath(p.path)
	rows, err := pool.Query(ctx, `
		SELECT n.nspname::text, c.relname::text, pg_table_is_visible(c.oid)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relname = ANY ($1::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\_%'
		ORDER BY coalesce(array_position($2::text[], n.nspname::text), 1000), 1`, tableNames(), existing)
	if err != nil {
		return places{}, fmt.Errorf("look for the tables: %w", err)
	}
	p.resolved = map[string]string{}
	var schema, table string
	var visible bool
	_, err = pgx.ForEachRow(rows, []any{&schema, &table, &visible}, func() error {
		if visible {
			p.resolved[table] = schema
		}
		// What makes a set of tables verity-sync's is its version.
		if table == versionTable && slices.Contains(existing, schema) {
			p.visible = append(p.visible, schema)
		}
		return nil
	})
	if err != nil {
		return places{}, fmt.Errorf("look for the tables: %w", err)
	}
	return p, nil
}

var pathElement = regexp.MustCompile(`^\s*(?:"((?:[^"]|"")*)"|([^\s,]+))`)

// firstOfPath returns the schema that a search_path names first, "" where it is the role's own, which need not exist.
func firstOfPath(path string) string {
	match := pathElement.FindStringSubmatch(path)
	if match == nil {
		return ""
	}
	first := strings.ReplaceAll(match[1], `""`, `"`) + strings.ToLower(match[2])
	if first == "$user" {
		return ""
	}
	return first
}

// missing are the tables of verity-sync that are not found.
func (p places) missing() []string {
	return slices.DeleteFunc(tableNames(), func(table string) bool { return p.resolved[table] != "" })
}

// setPath is the statement that has the role work in a schema.
func (p places) setPath(schema string) string {
	return fmt.Sprintf("run ALTER ROLE %s SET search_path = %s", database.Quote(p.role), database.Quote(schema))
}

// searchPath finds out whether the tables of one schema are used, and which.
func (p places) searchPath(process Process) preflight.Finding {
	migrated := p.resolved[versionTable] != ""
	home := cmp.Or(p.resolved[versionTable], p.current)
	var strays []string
	var elsewhere string
	for _, table := range tableNames() {
		if schema := p.resolved[table]; schema != "" && schema != home {
			strays, elsewhere = append(strays, schema+"."+table), schema
		}
	}
	stray := strings.Join(strays, ", ")
	say := func(severity preflight.Severity, action, format string, args ...any) preflight.Finding {
		return found(severity, checkSearchPath, fmt.Sprintf(format, args...), action)
	}
	switch {
	case p.current == "":
		return say(preflight.Error,
			"create the schema, or GRANT USAGE ON SCHEMA … TO "+database.Quote(p.role)+", or set search_path for the role",
			"search_path names no schema that exists and that the role %s may use: it is %s", p.role, p.path)
	case process == MigrationProcess && home != p.current:
		return say(preflight.Error, p.setPath(home),
			"a migration creates tables in the schema %s, and the tables of verity-sync are in %s", p.current, home)
	case migrated && stray != "":
		return say(preflight.Error, p.setPath(home),
			"search_path mixes the tables of two schemas: %s would be used with those of %s", stray, home)
	case process == MigrationProcess && stray != "":
		return say(preflight.Warning, "to adopt it, "+p.setPath(elsewhere),
			"%s is not adopted: the migration creates tables of its own in the schema %s", stray, p.current)
	case len(p.visible) > 1:
		return say(preflight.Warning, "name only one of them in search_path",
			"search_path names several schemas with tables of verity-sync (%s): those of %s are used", strings.Join(p.visible, ", "), home)
	case p.first != "" && p.first != p.current:
		return say(preflight.Warning, "create it and GRANT USAGE on it, or "+p.setPath(p.current),
			"the first schema of search_path, %s, does not exist, or the role %s may not use it: %s is used", p.first, p.role, p.current)
	case !migrated:
		return say(preflight.OK, "", "tables are created in the schema %s", home)
	default:
		return say(preflight.OK, "", "the tables are those of the schema %s", home)
	}
}

// unreadableVersion says that the version of the schema could not be read, such as for a lock. What else can be found out does not need it.
func unreadableVersion(err error) preflight.Finding {
	f := found(preflight.Error, checkSchemaVersion, fmt.Sprintf("the version of the schema cannot be read: %v", err),
		"end the session that holds a lock on "+versionTable+": SELECT pid, query FROM pg_stat_activity WHERE pid IN "+
			"(SELECT pid FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = to_regclass('"+versionTable+"'))")
	f.MayPass = true
	return f
}

// schemaFinding compares the schema with what this binary was built for.
func schemaFinding(ctx context.Context, pool *database.Pool, p places) (preflight.Finding, error) {
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
		f := found(preflight.Error, checkSchemaVersion, message+")", action)
		f.MayPass = errors.Is(err, ErrSchemaOutdated) // A migration may be under way.
		return f, nil
	case err != nil:
		return preflight.Finding{}, err
	case len(p.missing()) > 0:
		return found(preflight.Error, checkSchemaVersion, message+", and lacks the tables "+strings.Join(p.missing(), ", ")+
			": what needs them fails", "restore them from a backup"), nil
	case version > latestVersion:
		message += fmt.Sprintf(", which this binary can work with; it knows %d", latestVersion)
	default:
		message += ", which this binary needs"
	}
	return found(preflight.OK, checkSchemaVersion, message, ""), nil
}
