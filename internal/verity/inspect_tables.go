package verity

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// relationOf reads the relation that search_path finds under a name.
const relationOf = `
	SELECT n.nspname, c.relkind::text, pg_relation_is_updatable(c.oid, true), coalesce(pg_get_partkeydef(c.oid), ''),
		EXISTS (SELECT FROM pg_partitioned_table p WHERE p.partrelid = c.oid AND p.partdefid <> 0)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'v', 'm', 'f', 'p')`

func (i *inspection) relation(name string) (*relation, error) {
	r := &relation{name: name, columns: map[string]column{}}
	err := i.db.QueryRow(i.ctx, relationOf, name).Scan(&r.schema, &r.kind, &r.updatable, &r.partitioned.key, &r.partitioned.hasDefault)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	columns, err := readColumns(i.ctx, i.db, name)
	for _, c := range columns {
		r.columns[c.name] = c
	}
	return r, err
}

// elsewhereNamed reads the other schemas with a table of a name from the catalogs, for which the role needs no privilege on the schemas.
const elsewhereNamed = `
	SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relname = $1 AND c.relkind IN ('r', 'v', 'm', 'f', 'p') AND c.oid IS DISTINCT FROM to_regclass($1)::oid
		AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
	ORDER BY 1 LIMIT 5`

func (i *inspection) tables() (err error) {
	if i.contacts, err = i.relation(contactsTable); err != nil {
		return err
	}
	if i.leads, err = i.relation(leadsTable); err != nil {
		return err
	}
	schemas := map[string][]string{}
	for name, r := range map[string]*relation{contactsTable: i.contacts, leadsTable: i.leads} {
		if r != nil {
			schemas[name] = []string{r.schema}
		} else if schemas[name], err = i.list(elsewhereNamed, name); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		name  string
		found *relation
	}{{contactsTable, i.contacts}, {leadsTable, i.leads}} {
		if t.found != nil {
			continue
		}
		if err := i.missing(t.name, schemas); err != nil {
			return err
		}
	}
	return nil
}

// missing reports that search_path finds no table of a name. schemas has the schemas of each table.
func (i *inspection) missing(name string, schemas map[string][]string) error {
	if len(schemas[name]) == 0 {
		i.add(preflight.Error, "check that VERITY_DATABASE_URL names Verity's database, and that Verity has created its tables there",
			"there is no table %s in the database: appointment events wait", name)
		return nil
	}
	schema := schemas[name][0]
	var usable, named bool
	const query = `SELECT has_schema_privilege($1, 'USAGE'), EXISTS (
		SELECT FROM unnest($2::text[]) AS p(name) WHERE CASE p.name WHEN '$user' THEN current_user ELSE p.name END = $1)`
	path := i.settings["search_path"]
	if err := i.db.QueryRow(i.ctx, query, schema, database.SearchPath(path.Value)).Scan(&usable, &named); err != nil {
		return err
	}
	because := fmt.Sprintf("search_path is %s", path.Value)
	var actions []string
	if !usable {
		because += fmt.Sprintf(" and the role %s has no USAGE on the schema %s", i.role, schema)
		roles, err := i.uninherited(`has_schema_privilege(g.oid, $1, 'USAGE')`, schema)
		if err != nil {
			return err
		}
		grant := fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", database.Quote(schema), database.Quote(i.role))
		actions = append(actions, i.orInherit(grant, roles))
	}
	if !named {
		first := func(names []string) string { return append(names, "")[0] }
		actions = append(actions, path.Set(pathOf(first(schemas[contactsTable]), first(schemas[leadsTable]))))
	}
	i.add(preflight.Error, strings.Join(actions, ", and "),
		"the table %s is not visible: it is in the schema %s, %s; appointment events wait", name,
		preflight.InWords(schemas[name]), because)
	return nil
}

// pathOf returns a search_path of schemas. It skips empty names and duplicates.
func pathOf(schemas ...string) string {
	var quoted []string
	for _, schema := range schemas {
		if name := database.Quote(schema); schema != "" && !slices.Contains(quoted, name) {
			quoted = append(quoted, name)
		}
	}
	return strings.Join(quoted, ", ")
}

func (i *inspection) searchPath() error {
	path := i.settings["search_path"]
	for _, t := range []struct{ table, other *relation }{{i.contacts, i.leads}, {i.leads, i.contacts}} {
		schemas, err := i.list(elsewhereNamed, t.table.name)
		if err != nil {
			return err
		}
		if len(schemas) > 0 {
			i.add(preflight.Warning,
				fmt.Sprintf("if Verity's is the one in %s, %s", schemas[0], path.Set(pathOf(schemas[0], t.other.schema))),
				"verity-sync uses %s in the schema %s (search_path is %s); there is another one in %s",
				t.table.name, t.table.schema, path.Value, preflight.InWords(schemas))
		}
	}
	if i.contacts.schema != i.leads.schema {
		i.add(preflight.Warning,
			"check that both are Verity's; if not, put the schema of Verity's tables first in search_path, which is set "+path.SetBy(),
			"contacts is in the schema %s and leads in %s: one of them may belong to another application",
			i.contacts.schema, i.leads.schema)
	}
	return nil
}

// The bits of pg_relation_is_updatable.
const (
	acceptsUpdates = 1 << 2
	acceptsInserts = 1 << 3
)

func (i *inspection) kinds() error {
	i.kindOfContacts()
	i.kindOfLeads()
	foreign, err := i.list(`SELECT m.oid::regclass::text FROM pg_class m
		WHERE m.oid IN ` + members + ` AND m.oid <> to_regclass('leads') AND m.relkind = 'f' ORDER BY 1`)
	if err == nil && len(foreign) > 0 {
		i.add(preflight.Warning, "keep the rows that verity-sync writes on the server of leads, if you can",
			"leads has partitions that are foreign tables (%s): writes to them wait for another server, whose policies, triggers, "+
				"constraints and indexes are not checked", preflight.InWords(foreign))
	}
	return err
}

func (i *inspection) kindOfContacts() {
	switch i.contacts.kind {
	case "v":
		i.add(preflight.Warning, "check that the view shows every contact, and that its table has the indexes",
			"contacts is a view: a contact that it does not show is not found, and the events end in ContactNotFound")
	case "m":
		i.add(preflight.Warning, "refresh it often, or name the table itself contacts",
			"contacts is a materialized view: contacts that were added after its last refresh are not found")
	case "f":
		i.add(preflight.Warning, "connect to the server that has the table, if you can",
			"contacts is a foreign table: lookups wait for another server, whose policies and indexes are not checked")
	}
}

func (i *inspection) kindOfLeads() {
	switch l := i.leads; l.kind {
	case "r":
	case "p":
		if !l.partitioned.hasDefault && !strings.HasPrefix(l.partitioned.key, "HASH") {
			i.add(preflight.Warning, "create a DEFAULT partition, or create partitions in advance",
				"leads is partitioned by %s and has no default partition: Postgres refuses a lead that fits no partition, and its event "+
					"ends in Error", l.partitioned.key)
		}
	case "v":
		const missing = "give it INSTEAD OF triggers, make it a simple view of one table, or change search_path so that it finds the table"
		switch {
		case l.updatable&acceptsUpdates == 0:
			i.add(preflight.Error, missing, "leads is a view that cannot be updated: no lead is written, and appointment events wait")
		case l.updatable&acceptsInserts == 0:
			i.add(preflight.Error, missing, "leads is a view that accepts no new rows: the events of contacts without a lead wait")
		default:
			i.add(preflight.Warning, "check that the view shows every lead; if not, change search_path so that it finds the table itself",
				"leads is a view: a lead that it does not show is not updated, and its contact gets another one")
		}
	case "f":
		i.add(preflight.Warning, "connect to the server that has the table, if you can",
			"leads is a foreign table: writes wait for another server, whose policies, triggers and constraints are not checked")
	case "m":
		i.add(preflight.Error, "change search_path so that it finds the table itself",
			"leads is a materialized view, which cannot be written: appointment events wait")
	}
}

// otherRules reads the rules of leads that rewrite an INSERT or an UPDATE.
const otherRules = `
	SELECT rulename FROM pg_rewrite
	WHERE ev_class = to_regclass('leads') AND ev_type IN ('2', '3') AND ev_enabled IN ('O', 'A') ORDER BY 1`

func (i *inspection) rules() error {
	names, err := i.list(otherRules)
	if err == nil && len(names) > 0 {
		i.add(preflight.Warning, "replace the rules with triggers, or check that they write what verity-sync writes and report its rows",
			"leads has rules for INSERT or UPDATE (%s), which can rewrite what verity-sync writes; with an INSTEAD rule that reports no "+
				"rows, the events end in Error", preflight.InWords(names))
	}
	return err
}
