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

// The tables of Verity that verity-sync uses, under the names that search_path finds them by.
const (
	contactsTable = "contacts"
	leadsTable    = "leads"

	appointmentColumn = "ghl_appointment_id"
)

// tableAge is how long the definition of leads is taken to be as it was read.
const tableAge = time.Minute

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// table is what a writer has to know of the definition of leads.
type table struct {
	readAt  time.Time
	columns map[string]column
	// supplied are further columns that an INSERT has to give a value, and can.
	supplied []string
	// touched are further columns that an UPDATE sets to the time.
	touched []string
	// lacking is a column without which no INSERT can succeed, and for which there is no value; "" where there is none.
	lacking string
	// plainInsert is true where Postgres refuses ON CONFLICT: rules, and unique constraints that are deferrable.
	plainInsert bool
	// key are the columns that tell the rows of the table apart, "" where nothing does that the role can read.
	key string
}

// supplying returns a copy of t whose inserts supply one more column.
func (t *table) supplying(name string) *table {
	more := *t
	more.supplied = append(slices.Clone(t.supplied), name)
	return &more
}

// column is one of a table's, with what the role may do with it.
type column struct {
	name string
	// base is the name of the type, for a domain that of the type behind it; display is how Postgres writes the type.
	base, display string
	// length is that of varchar(n) and char(n), 0 where there is none.
	length int
	// required is true where NULL is refused, given where Postgres has a value for a column that an INSERT leaves out.
	required, given bool
	// computed is true where nothing can be written: generated columns, identity columns that are always generated, expressions of a view.
	computed                      bool
	mayRead, mayInsert, mayUpdate bool
}

func (c column) isText() bool {
	return slices.Contains([]string{"text", "varchar", "bpchar", "citext"}, c.base)
}

func (c column) isTime() bool {
	return slices.Contains([]string{"timestamptz", "timestamp", "date"}, c.base)
}

// suppliable reports whether an INSERT can give the column a value that Verity's own code would, such as Prisma's client: a UUID for an
// id, the time for updated_at.
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

// written are the columns of leads that an INSERT always gives a value.
var written = []string{"contact_id", appointmentColumn, "created_at", "last_activity_at"}

// lacks reports whether an INSERT fails unless it gives the column a value.
func (c column) lacks() bool {
	return c.required && !c.given && !slices.Contains(written, c.name)
}

// columnsOf reads the columns of a table that search_path finds. A domain is followed to the type behind it.
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
		err = row.Scan(&c.name, &c.base, &c.display, &c.length, &c.required, &c.given, &c.computed, &c.mayRead, &c.mayInsert, &c.mayUpdate)
		return c, err
	})
}

// habitsOf reads what is special about writes to leads: whether it is a view, whether the session can write at all, a sequence of a default
// that the role may not use, whether a trigger sees rows before their columns are checked, and whether ON CONFLICT is refused.
const habitsOf = `
	SELECT c.relkind = 'v', current_setting('transaction_read_only')::bool,
		coalesce((SELECT s.sequence FROM (` + sequencesBehind + `) s LIMIT 1), ''),
		EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
			AND t.tgtype & 1 <> 0 AND t.tgtype & (2 | 64) <> 0 AND t.tgtype & 4 <> 0),
		EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND NOT i.indimmediate)
			OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type IN ('2', '3') AND r.ev_enabled IN ('O', 'A'))
	FROM pg_class c WHERE c.oid = to_regclass('leads')`

// rehearsals are the statements of a writer. EXPLAIN has Postgres check tables, columns and privileges, and executes nothing: no trigger
// fires.
var rehearsals = []string{
	`EXPLAIN ` + updateLeads + ofContact,
	`EXPLAIN ` + fmt.Sprintf(insertLead, "", ""),
}

// table returns the definition of leads, or why nothing can be written to it.
func (l *Leads) table(ctx context.Context) (*table, error) {
	if t := l.described.Load(); t != nil && time.Since(t.readAt) < tableAge {
		return t, nil
	}
	var t *table
	err := l.pool.InTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) (err error) {
		for _, rehearsal := range rehearsals {
			if _, err := tx.Exec(ctx, rehearsal, make([]any, strings.Count(rehearsal, "$"))...); err != nil {
				return err
			}
		}
		if t, err = readTable(ctx, tx); err != nil {
			return err
		}
		return unhidden(ctx, tx, contactsTable, leadsTable)
	})
	if err != nil {
		return nil, err
	}
	l.described.Store(t)
	l.suspect.Store(false)
	return t, nil
}

// distrust has the next call find out whether leads can be written.
func (l *Leads) distrust() {
	l.described.Store(nil)
	l.suspect.Store(true)
}

func readTable(ctx context.Context, db querier) (*table, error) {
	t := &table{readAt: time.Now(), columns: map[string]column{}}
	var view, readOnlySession, firstSeenByTrigger bool
	var sequence string
	if err := db.QueryRow(ctx, habitsOf).Scan(&view, &readOnlySession, &sequence, &firstSeenByTrigger, &t.plainInsert); err != nil {
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
		case !c.lacks():
		case !c.suppliable():
			t.lacking = c.name
		default:
			t.supplied = append(t.supplied, c.name)
		}
		if c.lacks() && c.suppliable() && c.isTime() && c.mayUpdate {
			t.touched = append(t.touched, c.name)
		}
	}
	// A trigger may fill in what is missing. What it does not, the first INSERT shows.
	if firstSeenByTrigger {
		t.supplied, t.lacking = nil, ""
	}
	t.key = keyOf(t.columns, view)
	return t, nil
}

// keyOf returns the columns that tell the rows of leads apart.
func keyOf(columns map[string]column, view bool) string {
	switch id, found := columns["id"]; {
	case found && id.mayRead && (id.required || view):
		return "id"
	case view || slices.ContainsFunc(slices.Collect(maps.Values(columns)), func(c column) bool { return !c.mayRead }):
		return "" // The columns of the system take a privilege on the whole table.
	default:
		return "tableoid, ctid"
	}
}
