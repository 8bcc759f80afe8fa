package verity

import (
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// updated are the columns that an UPDATE of leads always sets.
var updated = []string{appointmentColumn, "last_activity_at"}

func (i *inspection) privileges() error {
	mayRead := func(c column) bool { return c.mayRead }
	inserted := slices.Clone(written)
	for _, c := range i.leads.columns {
		if c.needsValue() && c.suppliable() {
			inserted = append(inserted, c.name)
		}
	}
	for _, n := range []struct {
		table     *relation
		privilege string
		columns   []string
		has       func(column) bool
	}{
		{i.contacts, "SELECT", contactColumns, mayRead},
		{i.leads, "SELECT", []string{"contact_id", appointmentColumn, "last_activity_at"}, mayRead},
		{i.leads, "INSERT", inserted, func(c column) bool { return c.mayInsert }},
		{i.leads, "UPDATE", updated, func(c column) bool { return c.mayUpdate }},
	} {
		if err := i.privilegesOn(n.table, n.privilege, n.columns, n.has); err != nil {
			return err
		}
	}
	return nil
}

// consequences has what happens if a privilege is missing.
var consequences = map[string]string{
	"SELECT": "appointment events wait",
	"UPDATE": "no lead is written, and appointment events wait",
	"INSERT": "contacts without a lead get none, and appointment events wait",
}

func (i *inspection) privilegesOn(r *relation, privilege string, columns []string, has func(column) bool) error {
	var without []string
	for _, name := range columns {
		if c, found := r.columns[name]; found && !has(c) {
			without = append(without, name)
		}
	}
	if without == nil {
		return nil
	}
	roles, err := i.uninherited(`has_table_privilege(g.oid, to_regclass($1), $2)`, r.name, privilege)
	grant := fmt.Sprintf("GRANT %s ON %s TO %s", privilege, database.Quote(r.schema, r.name), database.Quote(i.role))
	i.add(preflight.Error, i.orInherit(grant, roles),
		"the role %s has no %s privilege on %s (%s): %s", i.role, privilege, r.name, preflight.InWords(without), consequences[privilege])
	return err
}

// sequencesBehind reads the sequences of the defaults of leads that the role may not use. Sequences of identity columns need no privilege.
const sequencesBehind = `
	SELECT DISTINCT n.nspname AS schema, s.relname AS sequence
	FROM pg_attrdef a
	JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid AND d.refclassid = 'pg_class'::regclass
	JOIN pg_class s ON s.oid = d.refobjid JOIN pg_namespace n ON n.oid = s.relnamespace
	WHERE a.adrelid = to_regclass('leads')
		AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') AND NOT has_sequence_privilege(s.oid, 'UPDATE') END
	ORDER BY 1, 2`

func (i *inspection) sequences() error {
	rows, err := i.db.Query(i.ctx, sequencesBehind)
	if err != nil {
		return err
	}
	type name struct{ Schema, Sequence string }
	names, err := pgx.CollectRows(rows, pgx.RowToStructByPos[name])
	for _, n := range names {
		sequence := database.Quote(n.Schema, n.Sequence)
		roles, err := i.uninherited(`has_sequence_privilege(g.oid, $1, 'USAGE')`, sequence)
		if err != nil {
			return err
		}
		i.add(preflight.Error, i.orInherit(fmt.Sprintf("GRANT USAGE ON SEQUENCE %s TO %s", sequence, database.Quote(i.role)), roles),
			"the role %s has no USAGE on the sequence %s, which a default of leads needs: contacts without a lead get none, and "+
				"appointment events wait", i.role, n.Sequence)
	}
	return err
}

func (i *inspection) rowSecurity() error {
	if set := i.settings["row_security"]; set.Value == "off" {
		return i.refusedByRowSecurity(set)
	}
	found, err := readRestrictions(i.ctx, i.db, contactsTable, leadsTable)
	for _, r := range found {
		i.add(preflight.Error, r.action(), "%s, and its policies may not allow every row; %s", r, r.consequence())
	}
	return err
}

// refusedByRowSecurity reports the tables with row security while row_security is off: Postgres then refuses every statement on them.
func (i *inspection) refusedByRowSecurity(set database.Setting) error {
	found, err := readSecured(i.ctx, i.db, contactsTable, leadsTable)
	for _, r := range found {
		i.add(preflight.Error, fmt.Sprintf("%s, or run ALTER ROLE %s BYPASSRLS", set.Reset("on"), database.Quote(r.role)),
			"row_security is off, set %s, and row security of %s applies to the role %s: Postgres refuses the statements "+
				"(SQLSTATE 42501), and appointment events wait", set.SetBy(), r.on(), r.role)
	}
	return err
}
