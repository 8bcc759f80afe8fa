package verity

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The tables of Verity that verity-sync uses. search_path finds them.
const (
	contactsTable = "contacts"
	leadsTable    = "leads"

	appointmentColumn = "ghl_appointment_id"
)

// tableAge is how long the definition of leads is cached.
const tableAge = time.Minute

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// table is the definition of leads, as far as a writer needs it.
type table struct {
	readAt  time.Time
	columns map[string]column
	// supplied are further columns for which an INSERT needs a value that verity-sync can supply.
	supplied []string
	// touched are further columns that an UPDATE sets to the current time.
	touched []string
	// unsuppliable is a column for which an INSERT needs a value that verity-sync cannot supply, "" if there is none.
	unsuppliable string
	// plainInsert is true if Postgres refuses ON CONFLICT: with rules, and with deferrable unique constraints.
	plainInsert bool
	// key are the columns that identify a row, "" if there are none that the role can read.
	key string
}

// supplying returns a copy of t whose inserts supply one more column.
func (t *table) supplying(name string) *table {
	extended := *t
	extended.supplied = append(slices.Clone(t.supplied), name)
	return &extended
}

// column is a column of a table, with the privileges of the role.
type column struct {
	name string
	// base is the name of the type, or of the type behind a domain; display is how Postgres writes the type.
	base, display string
	// length is n of varchar(n) and char(n), 0 if there is no limit.
	length int
	// required is true if the column must not be null, hasDefault if Postgres sets a column that an INSERT omits.
	required, hasDefault bool
	// computed is true if the column cannot be written: a generated column, an identity column that is always generated, an expression of
	// a view.
	computed                      bool
	mayRead, mayInsert, mayUpdate bool
}

func (c column) isText() bool {
	return slices.Contains([]string{"text", "varchar", "bpchar", "citext"}, c.base)
}

func (c column) isTime() bool {
	return slices.Contains([]string{"timestamptz", "timestamp", "date"}, c.base)
}

// suppliable reports whether verity-sync can supply a value that Verity's own code (Prisma's client, for instance) would: a UUID for an id,
// the current time for updated_at.
func (c column) suppliable() bool {
	switch {
	case c.computed:
		return false
	case c.name == "id":
		return c.base == "uuid" || c.isText() && (c.length == 0 || c.length >= uuidLength)
	default:
		return c.isTime() && strings.ReplaceAll(strings.ToLower(c.name), "_", "") == "updatedat"
	}
}

// written are the columns of leads that an INSERT always sets.
var written = []string{"contact_id", appointmentColumn, "created_at", "last_activity_at"}

// needsValue reports whether an INSERT fails unless it sets the column, beside those that it always sets.
func (c column) needsValue() bool {
	return c.required && !c.hasDefault && !slices.Contains(written, c.name)
}

// columnsOf reads the columns of a table that search_path finds. It follows a domain to the type behind it.
const columnsOf = `
	SELECT a.attname, b.base, format_type(a.atttypid, a.atttypmod),
		CASE WHEN b.base IN ('varchar', 'bpchar') AND b.modifier > 4 THEN b.modifier - 4 ELSE 0 END,
		a.attnotnull OR b.required, a.atthasdef OR a.attidentity <> '' OR b.given,
		a.attgenerated <> '' OR a.attidentity = 'a'
			OR c.relkind = 'v' AND NOT c.relhastriggers AND NOT pg_column_is_updatable(c.oid, a.attnum, true),
		has_column_privilege(c.oid, a.attnum, 'SELECT'), has_column_privilege(c.oid, a.attnum, 'INSERT'),
		has_column_privilege(c.oid, a.attnum, 'UPDATE')
	FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	CROSS JOIN LATERAL (
		WITH RECURSIVE behind AS (
			SELECT t.typname, t.typtype, t.typbasetype, t.typtypmod, t.typnotnull, t.typdefault, 0 AS depth, a.atttypmod AS modifier
			FROM pg_type t WHERE t.oid = a.atttypid
			UNION ALL
			SELECT t.typname, t.typtype, t.typbasetype, t.typtypmod, t.typnotnull, t.typdefault, d.depth + 1,
				CASE WHEN d.modifier < 0 THEN d.typtypmod ELSE d.modifier END
			FROM behind d JOIN pg_type t ON t.oid = d.typbasetype WHERE d.typtype = 'd'
		)
		SELECT (array_agg(typname::text ORDER BY depth DESC))[1] AS base, (array_agg(modifier ORDER BY depth DESC))[1] AS modifier,
			bool_or(typnotnull) AS required, bool_or(typdefault IS NOT NULL) AS given
		FROM behind
	) b
	WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
	ORDER BY a.attnum`

func readColumns(ctx context.Context, db querier, name string) ([]column, error) {
	rows, err := db.Query(ctx, columnsOf, name)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c column, err error) {
		err = row.Scan(&c.name, &c.base, &c.display, &c.length, &c.required, &c.hasDefault, &c.computed,
			&c.mayRead, &c.mayInsert, &c.mayUpdate)
		return c, err
	})
}

// writeProperties reads what writes to leads depend on: whether leads is a view, whether the session is read-only, a sequence of a default
// that the role may not use, whether a trigger can set columns before Postgres checks them, and whether Postgres refuses ON CONFLICT.
const writeProperties = `
	SELECT c.relkind = 'v', current_setting('transaction_read_only')::bool,
		coalesce((SELECT s.sequence FROM (` + sequencesBehind + `) s LIMIT 1), ''),
		EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
			AND t.tgtype & 1 <> 0 AND t.tgtype & (2 | 64) <> 0 AND t.tgtype & 4 <> 0),
		EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND NOT i.indimmediate)
			OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type IN ('2', '3') AND r.ev_enabled IN ('O', 'A'))
	FROM pg_class c WHERE c.oid = to_regclass('leads')`

// dryRuns are the statements of a writer with EXPLAIN: Postgres checks tables, columns and privileges, and executes nothing. No trigger
// fires.
var dryRuns = []string{
	`EXPLAIN ` + updateLeads + ofContact,
	`EXPLAIN ` + fmt.Sprintf(insertLead, "", ""),
}

// table returns the definition of leads, or the error that prevents all writes.
func (l *Leads) table(ctx context.Context) (*table, error) {
	if t := l.definition.Load(); t != nil && time.Since(t.readAt) < tableAge {
		return t, nil
	}
	var t *table
	err := l.pool.InTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) (err error) {
		for _, sql := range dryRuns {
			if _, err := tx.Exec(ctx, sql, make([]any, strings.Count(sql, "$"))...); err != nil {
				return err
			}
		}
		if t, err = readTable(ctx, tx); err != nil {
			return err
		}
		return checkVisible(ctx, tx, contactsTable, leadsTable)
	})
	if err != nil {
		return nil, err
	}
	l.definition.Store(t)
	l.suspect.Store(false)
	return t, nil
}

// discardDefinition makes the next call check again whether leads can be written.
func (l *Leads) discardDefinition() {
	l.definition.Store(nil)
	l.suspect.Store(true)
}

func readTable(ctx context.Context, db querier) (*table, error) {
	t := &table{readAt: time.Now(), columns: map[string]column{}}
	var view, readOnlySession, triggerFirst bool
	var sequence string
	if err := db.QueryRow(ctx, writeProperties).Scan(&view, &readOnlySession, &sequence, &triggerFirst, &t.plainInsert); err != nil {
		return nil, err
	}
	if sequence != "" {
		return nil, &pgconn.PgError{Code: "42501", Message: "permission denied for sequence " + sequence}
	}
	if readOnlySession {
		return nil, &pgconn.PgError{Code: readOnly, Message: "cannot execute UPDATE in a read-only transaction"}
	}
	columns, err := readColumns(ctx, db, leadsTable)
	if err != nil {
		return nil, err
	}
	for _, c := range columns {
		t.columns[c.name] = c
		switch {
		case !c.needsValue():
		case !c.suppliable():
			t.unsuppliable = c.name
		default:
			t.supplied = append(t.supplied, c.name)
		}
		if c.needsValue() && c.suppliable() && c.isTime() && c.mayUpdate {
			t.touched = append(t.touched, c.name)
		}
	}
	// A trigger may set the columns. The first INSERT shows which ones it does not set.
	if triggerFirst {
		t.supplied, t.unsuppliable = nil, ""
	}
	t.key = keyOf(t.columns, view)
	return t, nil
}

// keyOf returns the columns that identify a row of leads, "" if there are none that the role can read.
func keyOf(columns map[string]column, view bool) string {
	switch id, found := columns["id"]; {
	case found && id.mayRead && (id.required || view):
		return "id"
	case view || slices.ContainsFunc(slices.Collect(maps.Values(columns)), func(c column) bool { return !c.mayRead }):
		return "" // System columns need a privilege on the whole table.
	default:
		return "tableoid, ctid"
	}
}
