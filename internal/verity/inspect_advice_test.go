package verity_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/preflight"
	"github.com/dfmiddleware/verity-sync/internal/verity"
	veritysim "github.com/dfmiddleware/verity-sync/test/sim/verity"
	"github.com/dfmiddleware/verity-sync/test/testenv/advice"
)

// advised is a database of Verity with a problem, which each way of the advice solves. {role}, {group} and {database} are replaced.
type advised struct {
	schema, alter, grant string
	settings             []string
	// finding is the finding with the advice, as "severity check: a part of the text".
	finding string
	// ways select the statements to execute, by a part of each; nil selects all. The URL is changed in any case.
	ways [][]string
}

func TestTheAdviceOfInspectHelps(t *testing.T) {
	t.Parallel()
	const (
		away     = `CREATE SCHEMA crm; GRANT USAGE ON SCHEMA crm TO PUBLIC; ALTER TABLE contacts SET SCHEMA crm; ALTER TABLE leads SET SCHEMA crm; `
		inCRM    = `GRANT SELECT ON crm.contacts TO {role}; GRANT SELECT, INSERT, UPDATE ON crm.leads TO {role}`
		hidden   = "error tables: the table contacts is not visible"
		member   = `ALTER ROLE {role} NOINHERIT; GRANT {group} TO {role}; `
		less     = `CREATE POLICY less ON leads AS RESTRICTIVE FOR SELECT USING (source IS NULL); `
		original = `ALTER TABLE leads RENAME TO lead_rows; CREATE VIEW leads WITH (security_invoker) AS SELECT * FROM lead_rows; GRANT ALL ON lead_rows TO {role}; `
	)
	everything := [][]string{nil}
	for name, tt := range map[string]advised{
		"search_path of the server": {alter: away, grant: inCRM, finding: hidden, ways: everything},
		"search_path of the role": {
			alter: away + `ALTER ROLE {role} SET search_path = public`, grant: inCRM, finding: hidden, ways: everything,
		},
		"search_path of the role in the database": {
			alter: away + `ALTER ROLE {role} IN DATABASE {database} SET search_path = public`, grant: inCRM, finding: hidden, ways: everything,
		},
		"search_path of the database": {
			alter: away + `ALTER DATABASE {database} SET search_path = public`, grant: inCRM, finding: hidden, ways: everything,
		},
		"search_path of the URL":            {alter: away, grant: inCRM, settings: []string{"search_path", "public"}, finding: hidden, ways: everything},
		"search_path in options of the URL": {alter: away, grant: inCRM, settings: []string{"options", "-c search_path=public"}, finding: hidden, ways: everything},
		"search_path of a role with SET role": {
			alter: away + `GRANT {group} TO {role}; ALTER ROLE {role} SET role = {group}`, grant: strings.ReplaceAll(inCRM, "{role}", "{group}"),
			finding: hidden, ways: everything,
		},
		"tables in two schemas": {
			alter: away + `CREATE SCHEMA "Sales"; GRANT USAGE ON SCHEMA "Sales" TO PUBLIC; ALTER TABLE crm.leads SET SCHEMA "Sales"`,
			grant: strings.ReplaceAll(inCRM, "crm.leads", `"Sales".leads`), finding: hidden, ways: everything,
		},
		"one table in another schema": {
			alter: `CREATE SCHEMA crm; GRANT USAGE ON SCHEMA crm TO PUBLIC; ALTER TABLE leads SET SCHEMA crm`,
			grant: `GRANT SELECT ON contacts TO {role}; GRANT SELECT, INSERT, UPDATE ON crm.leads TO {role}`, settings: []string{"search_path", "public"},
			finding: "error tables: the table leads is not visible", ways: everything,
		},
		"a schema that the role may not use": {
			alter: away + `REVOKE ALL ON SCHEMA crm FROM PUBLIC`, grant: inCRM, finding: hidden, ways: everything,
		},
		"a schema that a role may use whose privileges are not inherited": {
			alter: away + member + `REVOKE ALL ON SCHEMA crm FROM PUBLIC; GRANT USAGE ON SCHEMA crm TO {group}; ALTER ROLE {role} SET search_path = crm`,
			grant: inCRM + `; ` + strings.ReplaceAll(inCRM, "{role}", "{group}"), finding: "error tables: as the role is a member of",
			ways: [][]string{{"GRANT "}, {" INHERIT"}, {"SET role = "}},
		},
		"another table with the name": {
			alter:    `CREATE SCHEMA crm; GRANT USAGE ON SCHEMA crm TO PUBLIC; CREATE TABLE crm.leads AS TABLE leads`,
			settings: []string{"search_path", "crm,public"}, finding: "warning search-path: verity-sync uses leads in the schema crm", ways: everything,
		},

		"no privileges": {grant: `SELECT`, finding: "error privileges: the role", ways: everything},
		"no privileges on a table that another schema has too": {
			alter: away + `CREATE TABLE public.leads (); CREATE TABLE public.contacts (); ALTER ROLE {role} SET search_path = crm`, grant: `SELECT`,
			finding: `error privileges: GRANT SELECT ON "crm"."contacts" TO`, ways: everything,
		},
		"the privileges of a role that are not inherited": {
			alter: member, grant: strings.ReplaceAll(granted, "{role}", "{group}"), finding: "error privileges: as the role is a member of",
			ways: [][]string{{"GRANT "}, {" INHERIT"}, {"SET role = "}},
		},
		"a sequence of a role that is not inherited": {
			alter: member + `CREATE SEQUENCE lead_numbers; ALTER TABLE leads ADD number int NOT NULL DEFAULT nextval('lead_numbers');
				GRANT USAGE ON SEQUENCE lead_numbers TO {group}`,
			grant: granted + `; ` + strings.ReplaceAll(granted, "{role}", "{group}"), finding: "error sequences: as the role is a member of",
			ways: [][]string{{"GRANT "}, {" INHERIT"}, {"SET role = "}},
		},
		"a session that is read-only": {
			alter: `ALTER ROLE {role} SET default_transaction_read_only = on`, finding: "error read-only: set for the role", ways: everything,
		},
		"a session that is read-only by its URL": {
			settings: []string{"default_transaction_read_only", "on"}, finding: "error read-only: set by the URL", ways: everything,
		},

		"row security without a policy": {
			alter: secured, finding: "error row-security: row security restricts", ways: [][]string{{"BYPASSRLS"}, {"CREATE POLICY"}},
		},
		"row security with a restrictive policy": {
			alter: secured + shown + writable + less, finding: `error row-security: ALTER POLICY "less" ON "public"."leads"`,
			ways: [][]string{{"BYPASSRLS"}, {"ALTER POLICY"}},
		},
		"row security behind a view": {
			alter: `ALTER TABLE leads ENABLE ROW LEVEL SECURITY; ` + original, finding: `error row-security: ON "public"."lead_rows"`,
			ways: [][]string{{"BYPASSRLS"}, {"CREATE POLICY"}},
		},
		"row security with a restrictive policy behind a view": {
			alter: `ALTER TABLE leads ENABLE ROW LEVEL SECURITY; ` + writable + less + original, finding: `error row-security: ALTER POLICY "less" ON "public"."lead_rows"`,
			ways: [][]string{{"BYPASSRLS"}, {"ALTER POLICY"}},
		},
		"row security that is off for the role": {
			alter:   secured + shown + writable + `ALTER ROLE {role} SET row_security = off`,
			finding: "error row-security: row_security is off, set for the role", ways: [][]string{{"RESET"}, {"BYPASSRLS"}},
		},
		"row security that is off in the URL": {
			alter: secured + shown + writable, settings: []string{"row_security", "off"},
			finding: "error row-security: remove row_security from the URL", ways: [][]string{{"nothing"}, {"BYPASSRLS"}},
		},
		"row security that is off, behind a view": {
			alter:   `ALTER TABLE leads ENABLE ROW LEVEL SECURITY; ` + writable + original + `ALTER ROLE {role} SET row_security = off`,
			finding: "error row-security: public.lead_rows (through the view leads)", ways: [][]string{{"RESET"}, {"BYPASSRLS"}},
		},

		"no index of a table": {alter: `DROP INDEX contacts_lower_email_idx`, finding: "warning indexes: lower(email)", ways: everything},
		"an index in another collation": {
			alter:   `DROP INDEX contacts_lower_email_idx; CREATE INDEX ON contacts (lower(email) COLLATE "POSIX")`,
			finding: "warning indexes: lower(email)", ways: everything,
		},
		"no index of a child":               {alter: child, finding: "warning indexes: no index of old_leads is on contact_id", ways: everything},
		"no index of a partitioned table":   {schema: split, finding: "warning indexes: partitions leads_new and leads_old", ways: [][]string{{`ON "public"."leads"`}}},
		"an index of one of the partitions": {schema: split, alter: `CREATE INDEX ON leads_old (contact_id)`, finding: "warning indexes: partitions leads_new:", ways: [][]string{{`ON "public"."leads"`}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, way := range tt.ways {
				tt.follow(t, way)
			}
		})
	}
}

// split is a schema of Verity whose leads have two partitions and no index on the contact.
const split = veritysim.Schema + `DROP TABLE leads; CREATE TABLE leads (id uuid DEFAULT gen_random_uuid(), contact_id uuid NOT NULL,
	ghl_appointment_id text, created_at timestamptz, last_activity_at timestamptz) PARTITION BY RANGE (created_at);
	CREATE TABLE leads_old PARTITION OF leads FOR VALUES FROM (MINVALUE) TO ('2025-01-01'); CREATE TABLE leads_new PARTITION OF leads DEFAULT; `

// child is a table that inherits from leads.
const child = `CREATE TABLE old_leads () INHERITS (leads); `

func (tt advised) follow(t *testing.T, way []string) {
	t.Helper()
	schema := tt.schema
	if schema == "" {
		schema = veritysim.Schema
	}
	db, _ := newOwnDatabase(t, nil, schema)
	group, _ := db.login("right")
	role, address := db.login("right")
	replace := strings.NewReplacer("{role}", role, "{group}", group, "{database}", db.query(`SELECT current_database()`)).Replace
	db.exec(replace(tt.alter))
	if tt.grant == "" {
		tt.grant = granted
	}
	db.exec(replace(tt.grant))
	address = withSettings(t, address, tt.settings...)

	kind, part, _ := strings.Cut(tt.finding, ": ")
	found := func(f preflight.Finding) bool {
		return string(f.Severity)+" "+f.Check == kind && strings.Contains(f.String(), part)
	}
	first := inspectAs(t, address)
	require.True(t, slices.ContainsFunc(first, found), "%v", first)
	for _, f := range first {
		if string(f.Severity)+" "+f.Check != kind {
			continue
		}
		for _, statement := range advice.Statements(f.Action) {
			if way == nil || slices.ContainsFunc(way, func(part string) bool { return strings.Contains(statement, part) }) {
				db.exec(strings.ReplaceAll(statement, `other roles than "`+role+`"`, "pg_monitor"))
			}
		}
		address = advice.URL(address, f.Action)
	}
	for _, f := range inspectAs(t, address) {
		assert.False(t, string(f.Severity)+" "+f.Check == kind && f.Check != verity.CheckSearchPath || f.Severity == preflight.Error, "by %v: %v", way, f)
		assert.False(t, found(f), "by %v: %v", way, f)
	}
}

func inspectAs(t *testing.T, address string) []preflight.Finding {
	t.Helper()
	leads := openLeads(t, verity.LeadsConfig{URL: address})
	defer leads.Close()
	findings, err := leads.Inspect(t.Context())
	require.NoError(t, err)
	return findings
}
