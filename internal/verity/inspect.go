package verity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// The checks of Inspect. docs/databases.md has a row for each.
const (
	CheckReadOnly         = "read-only"
	CheckTables           = "tables"
	CheckSearchPath       = "search-path"
	CheckTableKind        = "table-kind"
	CheckColumns          = "columns"
	CheckColumnTypes      = "column-types"
	CheckPrivileges       = "privileges"
	CheckSequences        = "sequences"
	CheckRowSecurity      = "row-security"
	CheckInsertColumns    = "insert-columns"
	CheckClearAppointment = "clear-appointment"
	CheckUniqueIndexes    = "unique-indexes"
	CheckConstraints      = "constraints"
	CheckForeignKeys      = "foreign-keys"
	CheckTriggers         = "triggers"
	CheckRules            = "rules"
	CheckIndexes          = "indexes"
	CheckStatements       = "statements"
)

// check is one check of Verity's tables. okMessage is reported if it finds nothing.
type check struct {
	name, okMessage string
	run             func(*inspection) error
}

// checks are in order: if a table is missing, CheckTables is the last one that runs.
var checks = []check{
	{CheckReadOnly, "the session can write", (*inspection).readOnly},
	{CheckTables, "contacts and leads are visible", (*inspection).tables},
	{CheckSearchPath, "no other schema has a contacts or leads", (*inspection).searchPath},
	{CheckTableKind, "contacts and leads are ordinary tables", (*inspection).kinds},
	{CheckColumns, "contacts and leads have the required columns", (*inspection).missingColumns},
	{CheckColumnTypes, "the columns have usable types", (*inspection).columnTypes},
	{CheckPrivileges, "the role has the required privileges", (*inspection).privileges},
	{CheckSequences, "the role can use the sequences of the defaults of leads", (*inspection).sequences},
	{CheckRowSecurity, "row security hides nothing from the role", (*inspection).rowSecurity},
	{CheckInsertColumns, "an INSERT sets every column of leads that must not be null", (*inspection).insertColumns},
	{CheckClearAppointment, "the appointment of a lead can be null", (*inspection).clearAppointment},
	{CheckUniqueIndexes, "no unique index of leads prevents the writes of verity-sync", (*inspection).uniqueIndexes},
	{CheckConstraints, "no constraint of leads applies to the columns that verity-sync writes", (*inspection).constraints},
	{CheckForeignKeys, "no foreign key of leads requires more than the contact", (*inspection).foreignKeys},
	{CheckTriggers, "leads has no trigger", (*inspection).triggers},
	{CheckRules, "leads has no rule", (*inspection).rules},
	{CheckIndexes, "every lookup has an index", (*inspection).indexes},
	{CheckStatements, "Postgres accepts the statements", (*inspection).statements},
}

// relation is a table, or a view or a foreign table in its place.
type relation struct {
	name, schema, kind string
	// updatable is the mask of pg_relation_is_updatable.
	updatable   int
	partitioned partitioning
	columns     map[string]column
}

// partitioning is the partition key of a table, and whether it has a default partition.
type partitioning struct {
	key        string
	hasDefault bool
}

// ordinary reports whether a relation is a table, with or without partitions, that has its own indexes, constraints and triggers.
func (r *relation) ordinary() bool { return r.kind == "r" || r.kind == "p" }

// inspection is one run of Inspect.
type inspection struct {
	ctx context.Context //nolint:containedctx // An inspection is one call, split into functions.
	db  pgx.Tx
	// role is the current role, which SET ROLE may have changed. Privileges apply to it.
	role     string
	settings map[string]database.Setting
	// contacts and leads are nil if the table is missing.
	contacts, leads *relation
	current         string
	findings        []preflight.Finding
}

// Inspect reports properties of Verity's contacts and leads that prevent the processing of all or some events, and what to do about them.
// It writes nothing. It returns an error if it cannot query the database.
func (l *Leads) Inspect(ctx context.Context) ([]preflight.Finding, error) {
	i := &inspection{ctx: ctx}
	err := l.pool.InTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		i.db = tx
		// The checks compare definitions in the form in which Postgres writes them by default.
		_, err := tx.Exec(ctx, `SET LOCAL quote_all_identifiers = off`)
		if err != nil {
			return err
		}
		if i.settings, err = l.pool.Settings(ctx, tx); err != nil {
			return err
		}
		return i.run()
	})
	if err != nil && !errors.Is(err, errRefused) {
		return nil, fmt.Errorf("inspect the tables of Verity's database: %w", l.failure(err))
	}
	return i.findings, nil
}

func (i *inspection) run() error {
	for _, c := range checks {
		before := len(i.findings)
		i.current = c.name
		if err := c.run(i); err != nil {
			return fmt.Errorf("check %s: %w", c.name, err)
		}
		if len(i.findings) == before {
			i.addOK(c)
		}
		if c.name == CheckTables && (i.contacts == nil || i.leads == nil) {
			return nil
		}
	}
	return nil
}

func (i *inspection) add(severity preflight.Severity, action, format string, args ...any) {
	i.findings = append(i.findings, preflight.Finding{
		Database: preflight.Verity, Severity: severity, Check: i.current, Message: fmt.Sprintf(format, args...), Action: action,
	})
}

// ofTable are the checks that see only the definition of leads itself, and nothing of a table behind a view. CheckIndexes applies to
// contacts, too.
var ofTable = []string{
	CheckSequences, CheckInsertColumns, CheckClearAppointment, CheckUniqueIndexes, CheckConstraints, CheckForeignKeys,
	CheckTriggers, CheckIndexes,
}

// addOK reports that a check found nothing, or that it could not see everything.
func (i *inspection) addOK(c check) {
	kinds := map[string]string{"v": "view", "f": "foreign table"}
	for _, r := range []*relation{i.contacts, i.leads} {
		if !slices.Contains(ofTable, c.name) || r.name == contactsTable && c.name != CheckIndexes {
			continue
		}
		if kind, behind := kinds[r.kind]; behind {
			i.add(preflight.Warning,
				"compare the table with the documentation of this check, or change search_path so that it finds the table itself",
				"not checked behind the %s %s: this check does not see the table behind it", kind, r.name)
			return
		}
	}
	i.add(preflight.OK, "", "%s", c.okMessage)
}

// failed reports whether a check has found an Error.
func (i *inspection) failed() bool {
	return slices.ContainsFunc(i.findings, func(f preflight.Finding) bool { return f.Severity == preflight.Error })
}

// uninherited returns the roles that satisfy a condition on g.oid, and of which the role is a member without inheriting their privileges.
func (i *inspection) uninherited(condition string, args ...any) (roles []string, err error) {
	err = i.db.QueryRow(i.ctx, `SELECT `+database.UninheritedRoles(condition), args...).Scan(&roles)
	return roles, err
}

// orInherit returns a GRANT and, as alternatives, the statements with which the role gets the privileges of one of roles.
func (i *inspection) orInherit(grant string, roles []string) string {
	version, _ := strconv.Atoi(i.settings["server_version_num"].Value)
	return database.OrInherit(grant, i.role, roles, version)
}

// list reads one text column.
func (i *inspection) list(sql string, args ...any) ([]string, error) {
	rows, err := i.db.Query(i.ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (i *inspection) readOnly() error {
	const query = `SELECT current_user, pg_is_in_recovery(), current_setting('transaction_read_only')::bool`
	var recovering, cannotWrite bool
	if err := i.db.QueryRow(i.ctx, query).Scan(&i.role, &recovering, &cannotWrite); err != nil {
		return err
	}
	switch {
	case recovering:
		i.add(preflight.Error, "point VERITY_DATABASE_URL at the primary",
			"the server is a read-only replica: no lead is written, and appointment events wait")
	case cannotWrite:
		set := i.settings["default_transaction_read_only"]
		i.add(preflight.Error, set.Reset("off"),
			"the session is read-only, set %s: no lead is written, and appointment events wait", set.SetBy())
	}
	return nil
}

// statements has Postgres check the statements, for reasons that the other checks do not know.
func (i *inspection) statements() error {
	if i.failed() {
		i.add(preflight.OK, "", "not checked, because another check failed")
		return nil
	}
	all := slices.Concat(dryRuns, []string{
		"EXPLAIN " + updateLeads + ofContact + fmt.Sprintf(notSpared, 3, 4),
		"EXPLAIN " + findByPhone, "EXPLAIN " + findByEmail, "EXPLAIN " + findByLowerEmail,
	})
	for _, sql := range all {
		_, err := i.db.Exec(i.ctx, sql, make([]any, strings.Count(sql, "$"))...)
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
			i.add(preflight.Error, "change the table or the role's privileges so that the statement succeeds",
				"Postgres refuses a statement, and appointment events wait: %s", describeState(pg))
			return errRefused
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errRefused ends the transaction of an inspection in which Postgres refused a statement.
var errRefused = errors.New("a statement was refused")
