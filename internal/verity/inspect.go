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

// The checks of Inspect. Documentation has a row for each.
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

// Checks are the names of the checks of Inspect, in the order in which it reports them.
func Checks() []string {
	var names []string
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// check is one question about Verity's tables. fine is what to report where it has no finding.
type check struct {
	name, fine string
	run        func(*inspection) error
}

// checks are in order: where a table is missing, nothing after that check is asked.
var checks = []check{
	{CheckReadOnly, "the session can write", (*inspection).readOnly},
	{CheckTables, "contacts and leads are visible", (*inspection).tables},
	{CheckSearchPath, "no other schema has a contacts or leads", (*inspection).searchPath},
	{CheckTableKind, "contacts and leads are ordinary tables", (*inspection).kinds},
	{CheckColumns, "contacts and leads have the columns that are needed", (*inspection).missingColumns},
	{CheckColumnTypes, "the columns have usable types", (*inspection).columnTypes},
	{CheckPrivileges, "the role has the privileges that are needed", (*inspection).privileges},
	{CheckSequences, "the role can use the sequences behind the defaults of leads", (*inspection).sequences},
	{CheckRowSecurity, "row security hides nothing from the role", (*inspection).rowSecurity},
	{CheckInsertColumns, "an INSERT leaves out no column of leads that must not be null", (*inspection).insertColumns},
	{CheckClearAppointment, "leads can point at no appointment", (*inspection).clearAppointment},
	{CheckUniqueIndexes, "no unique index of leads forbids what is written", (*inspection).uniqueIndexes},
	{CheckConstraints, "no constraint of leads is about the columns that are written", (*inspection).constraints},
	{CheckForeignKeys, "no foreign key of leads asks for more than the contact", (*inspection).foreignKeys},
	{CheckTriggers, "leads has no trigger", (*inspection).triggers},
	{CheckRules, "leads has no rule", (*inspection).rules},
	{CheckIndexes, "every look-up has an index", (*inspection).indexes},
	{CheckStatements, "Postgres accepts the statements", (*inspection).statements},
}

// relation is a table, or what stands in its place.
type relation struct {
	name, schema, kind string
	// updatable is the mask of pg_relation_is_updatable.
	updatable   int
	partitioned partitioning
	columns     map[string]column
}

// partitioning is that of a partitioned table: its key, and whether a row that no other partition takes has one.
type partitioning struct {
	key        string
	hasDefault bool
}

// ordinary reports whether a relation is a table, with or without partitions: indexes, constraints and triggers are its own.
func (r *relation) ordinary() bool { return r.kind == "r" || r.kind == "p" }

// inspection is one run of Inspect.
type inspection struct {
	ctx context.Context //nolint:containedctx // It is one call, in several functions.
	db  pgx.Tx
	// role is the one that privileges are for; SET ROLE may have changed it.
	role     string
	settings map[string]database.Setting
	// contacts and leads are nil where the table is missing.
	contacts, leads *relation
	current         string
	findings        []preflight.Finding
}

// Inspect reports what there is about Verity's contacts and leads that keeps events from being processed, or some of them, and what to do
// about it. It writes nothing. The error says that the database could not be asked.
func (l *Leads) Inspect(ctx context.Context) ([]preflight.Finding, error) {
	i := &inspection{ctx: ctx}
	err := l.pool.InTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		i.db = tx
		// Definitions are compared as Postgres writes them by default.
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
			i.fine(c)
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

// ofTable are the checks that see only what belongs to leads itself, and nothing of a table behind it; CheckIndexes is about contacts too.
var ofTable = []string{
	CheckSequences, CheckInsertColumns, CheckClearAppointment, CheckUniqueIndexes, CheckConstraints, CheckForeignKeys,
	CheckTriggers, CheckIndexes,
}

// fine reports that a check has found nothing, or that it could not see everything.
func (i *inspection) fine(c check) {
	kinds := map[string]string{"v": "view", "f": "foreign table"}
	for _, r := range []*relation{i.contacts, i.leads} {
		if !slices.Contains(ofTable, c.name) || r.name == contactsTable && c.name != CheckIndexes {
			continue
		}
		if kind, behind := kinds[r.kind]; behind {
			i.add(preflight.Warning,
				"compare the table with what the documentation says about this check, or let search_path find the table itself",
				"not checked behind the %s %s, whose table is not followed", kind, r.name)
			return
		}
	}
	i.add(preflight.OK, "", "%s", c.fine)
}

// failed reports whether there is an Error already.
func (i *inspection) failed() bool {
	return slices.ContainsFunc(i.findings, func(f preflight.Finding) bool { return f.Severity == preflight.Error })
}

// uninherited returns the roles that would satisfy a condition about g.oid, and of which the role is a member without their privileges.
func (i *inspection) uninherited(condition string, args ...any) (roles []string, err error) {
	err = i.db.QueryRow(i.ctx, `SELECT `+database.UninheritedRoles(condition), args...).Scan(&roles)
	return roles, err
}

// orInherit returns a GRANT, and what does the same with the privileges of a role.
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
			"the server is a replica, which takes no writes: no lead is written, and the events wait")
	case cannotWrite:
		set := i.settings["default_transaction_read_only"]
		i.add(preflight.Error, set.Reset("off"),
			"the session is read-only, set %s: no lead is written, and the events wait", set.SetBy())
	}
	return nil
}

// statements has Postgres check what the other checks may have missed.
func (i *inspection) statements() error {
	if i.failed() {
		i.add(preflight.OK, "", "not asked, since another check failed")
		return nil
	}
	all := slices.Concat(rehearsals, []string{
		"EXPLAIN " + updateLeads + ofContact + fmt.Sprintf(notSpared, 3, 4),
		"EXPLAIN " + findByPhone, "EXPLAIN " + findByEmail, "EXPLAIN " + findByLowerEmail,
	})
	for _, sql := range all {
		_, err := i.db.Exec(i.ctx, sql, make([]any, strings.Count(sql, "$"))...)
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
			i.add(preflight.Error, "change the table or the role's privileges so that the statement works",
				"Postgres refuses a statement, so that the events wait: %s", describeState(pg))
			return errRefused
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errRefused ends the transaction of an inspection in which a statement was refused.
var errRefused = errors.New("a statement was refused")
