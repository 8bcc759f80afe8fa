package verity_test

import "slices"

var inspectedAccess = map[string]inspected{
	"no privileges": {
		grant: `SELECT`,
		findings: []string{
			"error privileges: the role {role} has no SELECT privilege on contacts (id, phone_e164 and email): appointment events wait: " +
				`GRANT SELECT ON "{schema}"."contacts" TO "{role}"`,
			"error privileges: no SELECT privilege on leads", "error privileges: no INSERT privilege on leads",
			"error privileges: no UPDATE privilege on leads",
		},
		booking: "unavailable",
	},
	"privileges on the required columns only": {
		grant: `GRANT SELECT (id, phone_e164, email) ON contacts TO {role};
			GRANT SELECT (contact_id, ghl_appointment_id, last_activity_at) ON leads TO {role};
			GRANT INSERT (contact_id, ghl_appointment_id, created_at, last_activity_at) ON leads TO {role};
			GRANT UPDATE (ghl_appointment_id, last_activity_at) ON leads TO {role}`,
		booking: "inserted",
	},
	"privileges on some of the columns": {
		grant: `GRANT SELECT (id, phone_e164) ON contacts TO {role}; GRANT SELECT ON leads TO {role};
			GRANT INSERT (contact_id, ghl_appointment_id, last_activity_at) ON leads TO {role}; GRANT UPDATE (ghl_appointment_id) ON leads TO {role}`,
		findings: []string{
			"error privileges: no SELECT privilege on contacts (email)", "error privileges: no INSERT privilege on leads (created_at)",
			"error privileges: no UPDATE privilege on leads (last_activity_at)",
		},
		booking: "unavailable",
	},
	"no privilege on a column that must be supplied": {
		alter: `ALTER TABLE leads ALTER id DROP DEFAULT`,
		grant: `GRANT SELECT ON contacts, leads TO {role}; GRANT UPDATE ON leads TO {role};
			GRANT INSERT (contact_id, ghl_appointment_id, created_at, last_activity_at) ON leads TO {role}`,
		findings: []string{"error privileges: no INSERT privilege on leads (id)"}, booking: "unavailable",
	},
	"privileges of a role that it is a member of": {
		alter:   `CREATE ROLE {role}_app; GRANT {role}_app TO {role}; GRANT ALL ON contacts, leads TO {role}_app; GRANT {role}_app TO {role} WITH ADMIN OPTION`,
		grant:   `SELECT`,
		booking: "inserted",
	},
	"a sequence that the role may not use": {
		alter:    `CREATE SEQUENCE lead_numbers; ALTER TABLE leads ADD number int NOT NULL DEFAULT nextval('lead_numbers')`,
		findings: []string{"error sequences: the role {role} has no USAGE on the sequence lead_numbers"}, booking: "unavailable",
	},
	"a sequence that the role may use": {
		alter:   `CREATE SEQUENCE lead_numbers; ALTER TABLE leads ADD number int NOT NULL DEFAULT nextval('lead_numbers')`,
		grant:   granted + `; GRANT USAGE ON SEQUENCE lead_numbers TO {role}`,
		booking: "inserted",
	},
	"a view whose owner may not read the table": {
		alter: `CREATE ROLE {role}_owner; GRANT {role}_owner TO {role} WITH ADMIN OPTION; ALTER TABLE leads RENAME TO lead_rows;
			CREATE VIEW leads AS SELECT * FROM lead_rows; ALTER VIEW leads OWNER TO {role}_owner`,
		findings: slices.Concat([]string{"warning table-kind: leads is a view"}, behindView, []string{
			"error statements: permission denied for table lead_rows",
		}),
		booking: "unavailable",
	},
}

const (
	secured  = `ALTER TABLE contacts ENABLE ROW LEVEL SECURITY; ALTER TABLE leads ENABLE ROW LEVEL SECURITY; `
	shown    = `CREATE POLICY shown ON contacts FOR SELECT USING (true); `
	writable = `CREATE POLICY writable ON leads USING (true); `
)

var inspectedRowSecurity = map[string]inspected{
	"row security without a policy": {
		alter: secured,
		findings: []string{
			"error row-security: row security restricts UPDATE, SELECT, INSERT on leads for the role {role}, and its policies may not allow every row",
			`error row-security: ALTER ROLE "{role}" BYPASSRLS, or CREATE POLICY verity_sync ON "{schema}"."contacts" TO "{role}" USING (true) WITH CHECK (true)`,
		},
		booking: "unavailable",
	},
	"row security that allows INSERT only": {
		alter:    secured + shown + `CREATE POLICY added ON leads FOR INSERT WITH CHECK (true)`,
		findings: []string{"error row-security: row security restricts UPDATE, SELECT on leads"}, booking: "unavailable",
	},
	"row security that hides contacts": {
		alter:    secured + writable,
		findings: []string{"error row-security: row security restricts SELECT on contacts"}, booking: "unavailable",
	},
	"row security that shows everything": {alter: secured + shown + writable, booking: "inserted"},
	"row security that shows everything, with a policy for each command": {
		alter: secured + shown + `CREATE POLICY r ON leads FOR SELECT USING (true); CREATE POLICY w ON leads FOR UPDATE USING (true);
			CREATE POLICY a ON leads FOR INSERT WITH CHECK (true)`,
		booking: "inserted",
	},
	"row security that checks what an UPDATE writes": {
		alter: secured + shown + `CREATE POLICY r ON leads FOR SELECT USING (true);
			CREATE POLICY w ON leads FOR UPDATE USING (true) WITH CHECK (score > 0); CREATE POLICY a ON leads FOR INSERT WITH CHECK (true)`,
		findings: []string{"error row-security: row security restricts UPDATE on leads"}, booking: "unavailable",
	},
	"row security that shows a tenant": {
		alter:    secured + shown + `CREATE POLICY tenant ON leads USING (source IS NULL)`,
		findings: []string{"error row-security: UPDATE, SELECT, INSERT on leads"}, booking: "unavailable",
	},
	"row security with a restrictive policy": {
		alter: secured + shown + writable + `CREATE POLICY own ON leads AS RESTRICTIVE FOR SELECT USING (source IS NULL)`,
		findings: []string{`error row-security: row security restricts SELECT on leads for the role {role}, and its policies may not allow ` +
			`every row; leads may be hidden, an INSERT could create a second lead, and appointment events ` +
			`wait: ALTER ROLE "{role}" BYPASSRLS, or ALTER POLICY "own" ON "{schema}"."leads" TO other roles than "{role}", since it is restrictive`},
		booking: "unavailable",
	},
	"row security with a restrictive policy for other roles": {
		alter: secured + shown + writable + `CREATE POLICY own ON leads AS RESTRICTIVE FOR SELECT USING (source IS NULL);
			ALTER POLICY own ON leads TO pg_monitor`,
		booking: "inserted",
	},
	"row security with restrictive policies only": {
		alter: secured + shown + `CREATE POLICY one ON leads AS RESTRICTIVE USING (source IS NULL);
			CREATE POLICY "Two" ON leads AS RESTRICTIVE FOR INSERT WITH CHECK (source IS NULL)`,
		findings: []string{`error row-security: ALTER POLICY "Two" ON "{schema}"."leads" TO other roles than "{role}", since it is restrictive, ` +
			`ALTER POLICY "one" ON "{schema}"."leads" TO other roles than "{role}", since it is restrictive and CREATE POLICY verity_sync ON "{schema}"."leads" TO`},
		booking: "unavailable",
	},
	"row security with a policy for the role": {
		alter:   secured + shown + `CREATE POLICY verity_sync ON leads TO {role} USING (true) WITH CHECK (true)`,
		booking: "inserted",
	},
	"row security with a policy for another role": {
		alter:    secured + shown + `CREATE POLICY app ON leads TO pg_monitor USING (true) WITH CHECK (true)`,
		findings: []string{"error row-security: UPDATE, SELECT, INSERT on leads"}, booking: "unavailable",
	},
	"row security with a policy for a role that it is a member of": {
		alter:   secured + shown + `GRANT pg_monitor TO {role}; CREATE POLICY app ON leads TO pg_monitor USING (true)`,
		booking: "inserted",
	},
	"row security for an owner": {
		alter:   secured + `ALTER TABLE contacts OWNER TO {role}; ALTER TABLE leads OWNER TO {role}`,
		booking: "inserted",
	},
	"row security that is forced for the owner": {
		alter:    secured + `ALTER TABLE contacts OWNER TO {role}; ALTER TABLE leads OWNER TO {role}, FORCE ROW LEVEL SECURITY`,
		findings: []string{"error row-security: UPDATE, SELECT, INSERT on leads"}, booking: "unavailable",
	},
	"row security for a role with BYPASSRLS": {
		alter: secured + `ALTER ROLE {role} BYPASSRLS`, booking: "inserted",
	},
	"policies without row security": {
		alter: `CREATE POLICY tenant ON leads USING (false)`, booking: "inserted",
	},
	"row security behind a view of the role that owns the table": {
		alter:    `ALTER TABLE leads ENABLE ROW LEVEL SECURITY; ALTER TABLE leads RENAME TO lead_rows; CREATE VIEW leads AS SELECT * FROM lead_rows`,
		findings: slices.Concat([]string{"warning table-kind"}, behindView), booking: "inserted",
	},
	"row security behind a view with the privileges of the session": {
		alter: `ALTER TABLE leads ENABLE ROW LEVEL SECURITY; ALTER TABLE leads RENAME TO lead_rows;
			CREATE VIEW leads WITH (security_invoker) AS SELECT * FROM lead_rows; GRANT ALL ON lead_rows TO {role};
			CREATE POLICY added ON lead_rows FOR INSERT WITH CHECK (true)`,
		findings: slices.Concat([]string{
			"warning table-kind",
		}, behindView[:1], []string{"error row-security: row security restricts UPDATE, SELECT on {schema}.lead_rows (through the view leads) for the role {role}"}, behindView[1:]),
		booking: "unavailable",
	},
	"row security behind a view of a table with the same name": {
		alone: true,
		alter: `CREATE SCHEMA app; ALTER TABLE leads ENABLE ROW LEVEL SECURITY; ALTER TABLE leads SET SCHEMA app; GRANT USAGE ON SCHEMA app TO {role};
			CREATE VIEW leads WITH (security_invoker) AS SELECT * FROM app.leads; GRANT ALL ON app.leads TO {role}`,
		findings: slices.Concat([]string{
			"warning search-path", "warning table-kind",
		}, behindView[:1], []string{"error row-security: row security restricts UPDATE, SELECT, INSERT on app.leads (through the view leads) for the role {role}"}, behindView[1:]),
		booking: "unavailable",
	},
	"row security behind a view of a view of another role": {
		alter: `CREATE ROLE {role}_owner; GRANT {role}_owner TO {role} WITH ADMIN OPTION; ALTER TABLE contacts ENABLE ROW LEVEL SECURITY;
			ALTER TABLE contacts RENAME TO people; GRANT SELECT ON people TO {role}_owner;
			CREATE VIEW persons AS SELECT * FROM people; ALTER VIEW persons OWNER TO {role}_owner;
			CREATE VIEW contacts AS SELECT * FROM persons`,
		findings: []string{
			"warning table-kind", "error row-security: row security restricts SELECT on {schema}.people (through the view contacts) for the role {role}_owner",
			"warning indexes: not checked behind the view contacts",
		},
		booking: "unavailable",
	},
}
