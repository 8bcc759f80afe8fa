package verity_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
	"github.com/dfmiddleware/verity-sync/internal/verity"
	veritysim "github.com/dfmiddleware/verity-sync/test/sim/verity"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// inspected is a database of Verity as a role sees it, what Inspect reports, and the result of a booking.
type inspected struct {
	// schema, alter and grant are executed in this order. The default of schema is veritysim.Schema; grant has the role's privileges. {role}
	// and {schema} are replaced.
	schema, alter, grant string
	// alone uses a database without other schemas. Only then findings about other schemas are checked: tests share a database.
	alone bool
	// settings are added to the URL.
	settings []string
	// findings are those that are not OK, as "severity check: a part of the message".
	findings []string
	// booking is the result of a booking of a contact without a lead: an outcome, or the class of the error. If it is "", there is none.
	booking string
}

func TestInspect(t *testing.T) {
	t.Parallel()
	for _, tests := range []map[string]inspected{inspectedTables, inspectedColumns, inspectedAccess, inspectedRowSecurity, inspectedWrites} {
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				tt.test(t)
			})
		}
	}
}

func (tt inspected) test(t *testing.T) {
	t.Helper()
	schema := tt.schema
	if schema == "" {
		schema = veritysim.Schema
	}
	var db *database
	if tt.alone {
		db, _ = newOwnDatabase(t, nil, schema)
	} else {
		db = newDatabase(t, schema)
	}
	contact := ""
	if tt.booking != "" {
		contact = db.contact()
	}
	role, databaseURL := db.login("right")
	replace := strings.NewReplacer("{role}", role, "{schema}", db.query(`SELECT current_schema`)).Replace
	t.Cleanup(func() {
		_, err := db.pool.Exec(context.Background(), replace(`DO $$DECLARE other text; BEGIN
			FOR other IN SELECT rolname FROM pg_roles WHERE rolname LIKE '{role}\_%' LOOP
				EXECUTE format('DROP OWNED BY %1$I CASCADE; DROP ROLE %1$I', other);
			END LOOP; END$$`))
		assert.NoError(t, err)
	})
	db.exec(replace(tt.alter))
	grant := tt.grant
	if grant == "" {
		grant = granted
	}
	db.exec(replace(grant))
	leads := openLeads(t, verity.LeadsConfig{URL: withSettings(t, databaseURL, tt.settings...)})

	findings, err := leads.Inspect(t.Context())
	require.NoError(t, err)
	var got []preflight.Finding
	var lines []string
	for _, f := range findings {
		assert.Equal(t, preflight.Verity, f.Database)
		assert.Contains(t, verity.Checks(), f.Check)
		assert.NotEmpty(t, f.Message)
		if f.Severity != preflight.OK && (tt.alone || f.Check != verity.CheckSearchPath) {
			assert.NotEmpty(t, f.Action, "advice for: %s", f)
			got = append(got, f)
		}
		lines = append(lines, string(f.Severity)+" "+f.String())
	}
	require.Len(t, got, len(tt.findings), "%s", strings.Join(lines, "\n"))
	for n, want := range tt.findings {
		kind, message, _ := strings.Cut(want, ": ")
		assert.Equal(t, kind, string(got[n].Severity)+" "+got[n].Check)
		assert.Contains(t, got[n].String(), replace(message))
	}

	if tt.booking == "" {
		return
	}
	result, err := leads.SyncLead(t.Context(), contact, desire("0007BWpSzSwfiuSl0tR2"))
	outcome := string(result.Outcome)
	if err != nil {
		outcome = destination.ClassOf(err).String()
	}
	assert.Equal(t, tt.booking, outcome, "%v", err)
}

func TestInspectWritesNothing(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, veritysim.Schema)
	contact := db.contact()
	db.lead(contact, "apt_1")
	db.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'fired'; END$$;
		CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON leads EXECUTE FUNCTION refuse()`)
	findings, err := db.open().Inspect(t.Context())
	require.NoError(t, err)
	require.NoError(t, preflight.Failure(findings))
	assert.Equal(t, []string{"apt_1"}, db.appointments(contact))
}

func TestInspectReportsEveryCheckAsOK(t *testing.T) {
	t.Parallel()
	db, _ := newOwnDatabase(t, nil, veritysim.Schema)
	findings, err := db.open().Inspect(t.Context())
	require.NoError(t, err)
	var names []string
	for _, f := range findings {
		assert.Equal(t, preflight.OK, f.Severity, "%s", f)
		names = append(names, f.Check)
	}
	assert.Equal(t, verity.Checks(), names)
}

func TestInspectFailsIfTheDatabaseIsUnreachable(t *testing.T) {
	t.Parallel()
	findings, err := openLeads(t, verity.LeadsConfig{URL: "postgres://ada:s3cret@127.0.0.1:1/verity"}).Inspect(t.Context())
	require.EqualError(t, err, "inspect the tables of Verity's database: verity-db: cannot connect: connection refused")
	assert.Equal(t, destination.Unavailable, destination.ClassOf(err))
	assert.Empty(t, findings)
}

func TestEveryCheckIsDocumented(t *testing.T) {
	t.Parallel()
	path, err := repo.Path("docs", "databases.md")
	require.NoError(t, err)
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n### Verity's tables\n")
	require.True(t, found)
	for _, name := range verity.Checks() {
		assert.Contains(t, section, "\n| `"+name+"` | ")
	}
}

// behindView are the findings of the checks that do not see the table behind a view.
var behindView = []string{
	"warning sequences: not checked behind the view leads", "warning insert-columns: not checked behind the view leads",
	"warning clear-appointment: not checked behind the view leads", "warning unique-indexes: not checked behind the view leads",
	"warning constraints: not checked behind the view leads", "warning foreign-keys: not checked behind the view leads",
	"warning triggers: not checked behind the view leads", "warning indexes: not checked behind the view leads",
}

var inspectedTables = map[string]inspected{
	"ordinary tables have no findings":                        {alone: true, booking: "inserted"},
	"a database that has other schemas, too, has no findings": {booking: "inserted"},
	"no tables": {
		alone:  true,
		schema: `SELECT`, grant: `SELECT`,
		findings: []string{"error tables: there is no table contacts", "error tables: there is no table leads"},
	},
	"tables in a schema that search_path does not have": {
		alone: true,
		alter: `CREATE SCHEMA crm; ALTER TABLE contacts SET SCHEMA crm; ALTER TABLE leads SET SCHEMA crm;
			GRANT USAGE ON SCHEMA crm TO {role}`,
		grant: `SELECT`,
		findings: []string{
			"error tables: the table contacts is not visible: it is in the schema crm, search_path is \"$user\", public;",
			`error tables: appointment events wait: run ALTER ROLE "{role}" SET search_path = "crm"`,
		},
	},
	"a schema that the role may not use": {
		alone: true,
		grant: granted + `; REVOKE USAGE ON SCHEMA {schema} FROM {role}, PUBLIC`,
		findings: []string{
			"error tables: search_path is \"$user\", public and the role {role} has no USAGE on the schema {schema}", "error tables: leads is not visible",
		},
	},
	"another schema with a table of the same name": {
		alone:    true,
		alter:    `CREATE SCHEMA crm; CREATE TABLE crm.leads ()`,
		findings: []string{"warning search-path: verity-sync uses leads in the schema {schema} (search_path is \"$user\", public); there is another one in crm"},
		booking:  "inserted",
	},
	"a read-only session": {
		settings: []string{"default_transaction_read_only", "on"},
		findings: []string{"error read-only: the session is read-only"}, booking: "unavailable",
	},
	"a simple view in place of leads": {
		alter:    `ALTER TABLE leads RENAME TO lead_rows; CREATE VIEW leads AS SELECT * FROM lead_rows`,
		findings: slices.Concat([]string{"warning table-kind: leads is a view"}, behindView), booking: "inserted",
	},
	"a view of two tables in place of leads": {
		alter: `ALTER TABLE leads RENAME TO lead_rows;
			CREATE VIEW leads AS SELECT l.* FROM lead_rows l JOIN contacts c ON c.id = l.contact_id`,
		findings: slices.Concat([]string{"error table-kind: leads is a view that cannot be updated"}, behindView),
		booking:  "unavailable",
	},
	"a view that shows an expression as the appointment": {
		alter: `ALTER TABLE leads RENAME TO lead_rows; CREATE VIEW leads AS
			SELECT id, contact_id, ghl_appointment_id || '' AS ghl_appointment_id, created_at, last_activity_at FROM lead_rows`,
		findings: slices.Concat([]string{
			"warning table-kind: leads is a view", "error column-types: leads.ghl_appointment_id cannot be written",
		}, behindView),
		booking: "unavailable",
	},
	"a view with INSTEAD OF triggers in place of leads": {
		alter: `ALTER TABLE leads RENAME TO lead_rows;
			CREATE VIEW leads AS SELECT l.* FROM lead_rows l JOIN contacts c ON c.id = l.contact_id;
			CREATE FUNCTION write_lead() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$BEGIN
				IF TG_OP = 'INSERT' THEN INSERT INTO lead_rows (contact_id, ghl_appointment_id, created_at, last_activity_at)
					VALUES (NEW.contact_id, NEW.ghl_appointment_id, NEW.created_at, NEW.last_activity_at);
				ELSE UPDATE lead_rows SET ghl_appointment_id = NEW.ghl_appointment_id, last_activity_at = NEW.last_activity_at WHERE id = OLD.id;
				END IF; RETURN NEW; END$$;
			CREATE TRIGGER write_lead INSTEAD OF INSERT OR UPDATE ON leads FOR EACH ROW EXECUTE FUNCTION write_lead()`,
		findings: slices.Concat([]string{"warning table-kind: leads is a view"}, behindView[:6], []string{
			"warning triggers: write_lead (INSTEAD OF INSERT OR UPDATE)", "warning indexes: not checked behind the view leads",
		}),
		booking: "inserted",
	},
	"a view in place of contacts": {
		alter: `ALTER TABLE contacts RENAME TO people; CREATE VIEW contacts AS SELECT * FROM people`,
		findings: []string{
			"warning table-kind: contacts is a view", "warning indexes: not checked behind the view contacts",
		},
		booking: "inserted",
	},
	"materialized views": {
		alter: `ALTER TABLE contacts RENAME TO people; CREATE MATERIALIZED VIEW contacts AS SELECT * FROM people;
			ALTER TABLE leads RENAME TO lead_rows; CREATE MATERIALIZED VIEW leads AS SELECT * FROM lead_rows`,
		findings: []string{
			"warning table-kind: contacts is a materialized view", "error table-kind: leads is a materialized view",
		},
		booking: "unavailable",
	},
	"a sequence called leads": {
		alone:    true,
		alter:    `DROP TABLE leads; CREATE SEQUENCE leads`,
		findings: []string{"error tables: there is no table leads"}, booking: "unavailable",
	},
	"a partitioned table without a default partition": {
		schema: veritysim.Schema + `DROP TABLE leads; CREATE TABLE leads (id uuid DEFAULT gen_random_uuid(), contact_id uuid NOT NULL,
			ghl_appointment_id text, created_at timestamptz, last_activity_at timestamptz) PARTITION BY RANGE (created_at);
			CREATE TABLE leads_old PARTITION OF leads FOR VALUES FROM ('2020-01-01') TO ('2021-01-01'); CREATE INDEX ON leads (contact_id)`,
		findings: []string{"warning table-kind: leads is partitioned by RANGE (created_at) and has no default partition"},
		booking:  "permanent",
	},
	"a partitioned table with a default partition": {
		schema: veritysim.Schema + `DROP TABLE leads; CREATE TABLE leads (id uuid DEFAULT gen_random_uuid(), contact_id uuid NOT NULL,
			ghl_appointment_id text, created_at timestamptz, last_activity_at timestamptz) PARTITION BY RANGE (created_at);
			CREATE TABLE leads_other PARTITION OF leads DEFAULT; CREATE INDEX ON leads (contact_id)`,
		booking: "inserted",
	},
	"a partition that is a foreign table": {
		alone: true, schema: partitioned,
		alter: `CREATE EXTENSION postgres_fdw; CREATE SERVER archive FOREIGN DATA WRAPPER postgres_fdw;
			CREATE FOREIGN TABLE leads_far PARTITION OF leads FOR VALUES FROM ('2090-01-01') TO ('2091-01-01') SERVER archive`,
		findings: []string{"warning table-kind: leads has partitions that are foreign tables (leads_far)"},
	},
	"partitions with their own indexes": {
		schema: split, alter: `CREATE INDEX ON leads_old (contact_id); CREATE INDEX ON leads_new USING hash (contact_id)`, booking: "inserted",
	},
	"a partitioned table by hash": {
		schema: veritysim.Schema + `DROP TABLE leads; CREATE TABLE leads (contact_id uuid NOT NULL, ghl_appointment_id text, created_at timestamptz,
			last_activity_at timestamptz) PARTITION BY HASH (contact_id);
			CREATE TABLE leads_all PARTITION OF leads FOR VALUES WITH (MODULUS 1, REMAINDER 0); CREATE INDEX ON leads (contact_id)`,
		booking: "inserted",
	},
	"a rule that writes another table": {
		alter:    `CREATE TABLE audit (at timestamptz); CREATE RULE audit AS ON INSERT TO leads DO ALSO INSERT INTO audit VALUES (now())`,
		findings: []string{"warning rules: leads has rules for INSERT or UPDATE (audit)"}, booking: "inserted",
	},
	"no indexes": {
		alter: `DROP INDEX contacts_phone_e164_idx, contacts_email_idx, contacts_lower_email_idx, leads_contact_id_idx`,
		findings: []string{
			"warning indexes: no index of contacts is on phone_e164", "warning indexes: no index of contacts is on email",
			"warning indexes: no index of contacts is on lower(email)", "warning indexes: no index of leads is on contact_id",
		},
		booking: "inserted",
	},
	"other indexes that Postgres can use": {
		alter: `DROP INDEX contacts_phone_e164_idx, contacts_email_idx, contacts_lower_email_idx, leads_contact_id_idx;
			ALTER TABLE contacts ALTER email TYPE varchar(254);
			CREATE INDEX ON contacts USING hash (phone_e164); CREATE UNIQUE INDEX ON contacts (email, id) WHERE email IS NOT NULL;
			CREATE INDEX ON contacts (lower(email)); CREATE UNIQUE INDEX ON leads (contact_id) INCLUDE (status)`,
		booking: "inserted",
	},
	"indexes where identifiers are always quoted": {
		settings: []string{"quote_all_identifiers", "on"},
		alter:    `DROP INDEX contacts_email_idx; CREATE INDEX ON contacts (email) WHERE email IS NOT NULL`, booking: "inserted",
	},
	"indexes in the collation of the column": {
		alter: `DROP INDEX contacts_email_idx, contacts_lower_email_idx; ALTER TABLE contacts ALTER email TYPE text COLLATE "POSIX";
			CREATE INDEX ON contacts (email); CREATE INDEX ON contacts (lower(email))`,
		booking: "inserted",
	},
	"indexes in another collation": {
		alter: `DROP INDEX contacts_phone_e164_idx, contacts_lower_email_idx;
			CREATE INDEX ON contacts USING hash (phone_e164 COLLATE "C"); CREATE INDEX ON contacts (lower(email) COLLATE "POSIX")`,
		findings: []string{
			"warning indexes: no index of contacts is on phone_e164", "warning indexes: no index of contacts is on lower(email)",
		},
		booking: "inserted",
	},
	"a partitioned table without an index": {
		schema: veritysim.Schema + `DROP TABLE leads; CREATE TABLE leads (id uuid DEFAULT gen_random_uuid(), contact_id uuid NOT NULL,
			ghl_appointment_id text, created_at timestamptz, last_activity_at timestamptz) PARTITION BY RANGE (created_at);
			CREATE TABLE leads_other PARTITION OF leads DEFAULT`,
		findings: []string{`warning indexes: CREATE INDEX ON "{schema}"."leads" (contact_id), during which writes wait`}, booking: "inserted",
	},
	"indexes that Postgres cannot use": {
		alter: `DROP INDEX contacts_phone_e164_idx, contacts_email_idx, leads_contact_id_idx;
			CREATE INDEX ON contacts (full_name, phone_e164); CREATE INDEX ON contacts (email) WHERE full_name IS NULL;
			CREATE INDEX ON leads (status, contact_id)`,
		findings: []string{
			"warning indexes: phone_e164", "warning indexes: on email", "warning indexes: CREATE INDEX CONCURRENTLY ON \"{schema}\".\"leads\" (contact_id)",
		},
	},
}
