package verity

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// members are leads, its partitions and its children by inheritance. Each has its own indexes, constraints and triggers.
const members = `(WITH RECURSIVE member(oid) AS (SELECT to_regclass('leads')::oid
	UNION SELECT h.inhrelid FROM pg_inherits h JOIN member ON h.inhparent = member.oid) SELECT oid FROM member)`

// ofPartition follows the name of an object that belongs to a partition or a child, and names that partition or child.
func ofPartition(relation string) string {
	return fmt.Sprintf(`CASE WHEN %[1]s NOT IN (0, to_regclass('leads')::oid)
		THEN CASE WHEN (SELECT m.relispartition FROM pg_class m WHERE m.oid = %[1]s) THEN ' of the partition ' ELSE ' of the child ' END
			|| %[1]s::regclass::text ELSE '' END`, relation)
}

// uniqueIndex is a unique index of leads. It may belong to a constraint, for example to a primary key.
type uniqueIndex struct {
	Name, Definition string
	// Columns are the columns of the key; an expression is "".
	Columns []string
	// Fixed is true if all rows inserted without its columns have the same key: the columns have constant defaults, or no defaults and
	// NULLs are not distinct.
	Fixed bool
}

var uniqueIndexesOf = `
	SELECT c.relname || ` + ofPartition("i.indrelid") + `, pg_get_indexdef(c.oid), array_agg(coalesce(a.attname, '') ORDER BY k.at),
		bool_and(a.attname IS NOT NULL AND a.attidentity = '' AND CASE
			WHEN d.oid IS NULL THEN coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false)
			ELSE pg_get_expr(d.adbin, d.adrelid) !~ '[(]|^(CURRENT|LOCAL)' END)
	FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
	CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, at)
	LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
	LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE i.indrelid IN ` + members + ` AND (i.indrelid = to_regclass('leads') OR NOT c.relispartition)
		AND i.indisunique AND i.indisready AND k.at <= i.indnkeyatts
	GROUP BY c.oid, c.relname, i.indrelid ORDER BY c.relname`

func (i *inspection) uniqueIndexes() error {
	rows, err := i.db.Query(i.ctx, uniqueIndexesOf)
	if err != nil {
		return err
	}
	indexes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[uniqueIndex])
	if err != nil {
		return err
	}
	needsValue := func(name string) bool { c := i.leads.columns[name]; return c.needsValue() }
	for _, x := range indexes {
		isWritten := func(name string) bool { return slices.Contains(written, name) }
		expression := slices.Contains(x.Columns, "")
		switch {
		case expression && slices.ContainsFunc(written, func(name string) bool { return strings.Contains(x.Definition, name) }):
			i.add(preflight.Warning, "check which leads it forbids",
				"leads has the unique index %s over an expression (%s): if it forbids a second lead of a contact, that lead does not "+
					"change; if it forbids the only one, the event ends in Error", x.Name, x.Definition)
		case expression:
		case slices.Contains(x.Columns, appointmentColumn) && !slices.ContainsFunc(x.Columns, func(c string) bool {
			return c != appointmentColumn && c != "contact_id"
		}):
			i.add(preflight.Warning, "drop it if all leads of a contact should follow its appointment; otherwise do nothing",
				"the unique index %s allows only one lead for an appointment: if a contact has several leads, the one that points at the "+
					"appointment follows it, or else the one that was active last; the others do not change", x.Name)
		case !slices.ContainsFunc(x.Columns, isWritten) && !slices.ContainsFunc(x.Columns, needsValue) && x.Fixed:
			i.add(preflight.Warning, "drop the index, or give its columns defaults that differ from row to row",
				"the unique index %s is over columns that are the same in all leads that verity-sync inserts (%s): it forbids the second, "+
					"and the events of contacts without a lead end in Error", x.Name, preflight.InWords(x.Columns))
		}
	}
	return nil
}

// constraintsOf reads the CHECK and exclusion constraints of the columns that verity-sync writes, and of their domains.
var constraintsOf = `
	SELECT DISTINCT c.conname || ` + ofPartition("c.conrelid") + ` || ' ' || pg_get_constraintdef(c.oid)
	FROM pg_constraint c JOIN pg_attribute a ON a.attrelid IN ` + members + ` AND a.attname = ANY ($1::text[])
	WHERE c.contype IN ('c', 'x') AND (c.conrelid IN (0, to_regclass('leads')::oid) OR c.coninhcount = 0 AND c.conparentid = 0)
	  AND (c.conrelid = a.attrelid AND (a.attnum = ANY (c.conkey) OR 0 = ANY (c.conkey))
		OR c.contypid <> 0 AND c.contypid = a.atttypid)
	ORDER BY 1`

func (i *inspection) constraints() error {
	found, err := i.list(constraintsOf, written)
	if err == nil && len(found) > 0 {
		i.add(preflight.Warning, "check that they allow a text of 20 to 24 letters and digits, no appointment, and the present time",
			"constraints apply to columns that verity-sync writes: %s; if one refuses a lead, the event ends in Error",
			strings.Join(found, "; "))
	}
	return err
}

var foreignKeysOf = `
	SELECT c.conname || ` + ofPartition("c.conrelid") + `, r.relname,
		array_agg(a.attname ORDER BY a.attnum), c.confrelid = to_regclass('contacts')::oid
	FROM pg_constraint c JOIN pg_class r ON r.oid = c.confrelid JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
	WHERE c.contype = 'f' AND c.conrelid IN ` + members + `
		AND (c.conrelid = to_regclass('leads') OR c.conparentid = 0)
	GROUP BY c.oid, c.conrelid, c.conname, r.relname, c.confrelid ORDER BY c.conname`

func (i *inspection) foreignKeys() error {
	rows, err := i.db.Query(i.ctx, foreignKeysOf)
	if err != nil {
		return err
	}
	type foreignKey struct {
		Name, Target string
		Columns      []string
		ToContacts   bool
	}
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[foreignKey])
	for _, key := range keys {
		switch {
		case slices.Contains(key.Columns, appointmentColumn):
			i.add(preflight.Warning, "drop it, unless Verity writes the appointment there first, or when it receives the webhook",
				"the foreign key %s requires every appointment in %s: the event of a lead is retried until its appointment is there, and "+
					"ends in Error after the last attempt", key.Name, key.Target)
		case slices.Contains(key.Columns, "contact_id") && !key.ToContacts && i.contacts.ordinary():
			i.add(preflight.Warning, "check that every contact is there too",
				"the foreign key %s refers to the contacts of leads in %s, and verity-sync finds them in contacts: the events of contacts "+
					"that are not in both end in Error", key.Name, key.Target)
		}
	}
	return err
}

// triggersOf reads the triggers that fire for the statements of verity-sync in an ordinary session. A partition has copies of its table's
// row triggers. A statement trigger of a partition fires only if a statement names the partition. No row is inserted into a child.
var triggersOf = `
	SELECT t.tgname || ` + ofPartition("t.tgrelid") + ` || ' (' ||
		CASE WHEN t.tgtype & 64 <> 0 THEN 'INSTEAD OF' WHEN t.tgtype & 2 <> 0 THEN 'BEFORE' ELSE 'AFTER' END
		|| CASE WHEN t.tgtype & 4 <> 0 THEN ' INSERT' ELSE '' END
		|| CASE WHEN t.tgtype & 20 = 20 THEN ' OR' ELSE '' END
		|| CASE WHEN t.tgtype & 16 <> 0 THEN ' UPDATE' ELSE '' END || ')'
	FROM pg_trigger t
	WHERE t.tgrelid IN ` + members + ` AND NOT t.tgisinternal
		AND (t.tgrelid = to_regclass('leads') OR t.tgtype & 1 <> 0 AND coalesce((to_jsonb(t) ->> 'tgparentid')::oid, 0) = 0)
		AND t.tgenabled IN ('O', 'A') AND (t.tgtype & 4 <> 0 AND (t.tgrelid = to_regclass('leads')
			OR (SELECT m.relispartition FROM pg_class m WHERE m.oid = t.tgrelid))
			OR t.tgtype & 16 <> 0 AND (cardinality(t.tgattr::int2[]) = 0 OR EXISTS (
			SELECT FROM pg_attribute a
			WHERE a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr::int2[]) AND a.attname = ANY ($1::text[]))))
	ORDER BY 1`

func (i *inspection) triggers() error {
	names, err := i.list(triggersOf, updated)
	if err == nil && len(names) > 0 {
		i.add(preflight.Warning, "check that they allow the writes of verity-sync; a trigger function runs with the privileges of "+
			"verity-sync's role, unless it is SECURITY DEFINER",
			"triggers fire when verity-sync writes leads: %s; they can change or drop a write, and if one refuses it, the event fails",
			preflight.InWords(names))
	}
	return err
}

// unindexed reads which of a table, its partitions and its children have no index for a comparison of a column, or of an expression of it,
// with a value. Postgres does not use an index with another collation.
const unindexed = `
	WITH RECURSIVE member(oid) AS (SELECT to_regclass($1)::oid
		UNION SELECT h.inhrelid FROM pg_inherits h JOIN member ON h.inhparent = member.oid)
	SELECT n.nspname::text, t.relname::text
	FROM member JOIN pg_class t ON t.oid = member.oid JOIN pg_namespace n ON n.oid = t.relnamespace
	WHERE t.relkind = 'r' AND 0 = ( -- No NOT EXISTS, for which Postgres may ask for the definitions of all indexes.
		SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
		JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = $3 AND a.attcollation = i.indcollation[0]
		WHERE i.indrelid = t.oid AND i.indisvalid AND m.amname IN ('btree', 'hash')
			AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = '(' || $2 || ' IS NOT NULL)')
			AND translate(replace(pg_get_indexdef(c.oid, 1, true), '::text', ''), '()', '') = translate($2, '()', ''))
	ORDER BY t.oid <> to_regclass($1), 1, 2`

func (i *inspection) indexes() error {
	for _, x := range []struct {
		table       *relation
		column, key string
	}{
		{i.contacts, "phone_e164", "phone_e164"}, {i.contacts, "email", "email"}, {i.contacts, "email", "lower(email)"},
		{i.leads, "contact_id", "contact_id"},
	} {
		if _, there := x.table.columns[x.column]; !there || !x.table.ordinary() {
			continue
		}
		rows, err := i.db.Query(i.ctx, unindexed, x.table.name, x.key, x.column)
		if err != nil {
			return err
		}
		type name struct{ Schema, Table string }
		withoutIndex, err := pgx.CollectRows(rows, pgx.RowToStructByPos[name])
		if err != nil {
			return err
		}
		var tables, statements []string
		for _, t := range withoutIndex {
			tables = append(tables, t.Table)
			statements = append(statements, fmt.Sprintf("CREATE INDEX CONCURRENTLY ON %s (%s)", database.Quote(t.Schema, t.Table), x.key))
		}
		switch {
		case tables == nil:
		case x.table.kind == "p":
			i.add(preflight.Warning, x.table.createPartitionedIndex(x.key),
				"no index of %s is on %s in the partitions %s: Postgres reads all of their rows for each event", x.table.name, x.key,
				preflight.InWords(tables))
		default:
			i.add(preflight.Warning, strings.Join(statements, "; "),
				"no index of %s is on %s: Postgres reads the whole table for each event",
				preflight.InWords(tables), x.key)
		}
	}
	return nil
}

// createPartitionedIndex returns the advice for an index of a partitioned table, for which Postgres refuses CONCURRENTLY.
func (r *relation) createPartitionedIndex(key string) string {
	return fmt.Sprintf("CREATE INDEX ON %[1]s (%[2]s), during which writes wait; "+
		"or CREATE INDEX … ON ONLY %[1]s (%[2]s), and for each "+
		"partition CREATE INDEX CONCURRENTLY and ALTER INDEX … ATTACH PARTITION", database.Quote(r.schema, r.name), key)
}
