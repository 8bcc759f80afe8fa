package verity_test

import veritysim "github.com/dfmiddleware/verity-sync/test/sim/verity"

var inspectedWrites = map[string]inspected{
	"a unique index on the appointment": {
		alter:    `CREATE UNIQUE INDEX one ON leads (ghl_appointment_id)`,
		findings: []string{"warning unique-indexes: the unique index one allows only one lead for an appointment"}, booking: "inserted",
	},
	"a partial unique index on the appointment": {
		alter:    `CREATE UNIQUE INDEX one ON leads (ghl_appointment_id) WHERE ghl_appointment_id <> ''`,
		findings: []string{"warning unique-indexes: the unique index one"}, booking: "inserted",
	},
	"a unique constraint on the contact and the appointment that is deferred": {
		alter:    `ALTER TABLE leads ADD CONSTRAINT one UNIQUE (contact_id, ghl_appointment_id) DEFERRABLE INITIALLY DEFERRED`,
		findings: []string{"warning unique-indexes: the unique index one"}, booking: "inserted",
	},
	"a unique index on an expression of the appointment": {
		alter:    `CREATE UNIQUE INDEX one ON leads (lower(ghl_appointment_id))`,
		findings: []string{"warning unique-indexes: leads has the unique index one over an expression"}, booking: "inserted",
	},
	"a unique index on the contact": {alter: `CREATE UNIQUE INDEX one ON leads (contact_id)`, booking: "inserted"},
	"a unique index on the contact and something else": {
		alter: `CREATE UNIQUE INDEX one ON leads (contact_id, status)`, booking: "inserted",
	},
	"a unique index on a default": {
		alter:    `CREATE UNIQUE INDEX one ON leads (status, score)`,
		findings: []string{"warning unique-indexes: the unique index one is over columns that are the same in all leads that verity-sync inserts (status and score)"},
		booking:  "inserted",
	},
	"a unique index on a column that stays null": {alter: `CREATE UNIQUE INDEX one ON leads (source)`, booking: "inserted"},
	"a unique index in which null is a value": {
		alter:    `CREATE UNIQUE INDEX one ON leads (source) NULLS NOT DISTINCT`,
		findings: []string{"warning unique-indexes: the unique index one"}, booking: "inserted",
	},
	"a unique index on a time": {
		alter:   `ALTER TABLE leads ADD seen timestamptz DEFAULT CURRENT_TIMESTAMP UNIQUE, ADD day timestamp DEFAULT LOCALTIMESTAMP UNIQUE`,
		booking: "inserted",
	},
	"a unique index on a column that is generated": {
		alter:   `ALTER TABLE leads ADD number bigint GENERATED ALWAYS AS IDENTITY UNIQUE, ADD token text NOT NULL DEFAULT md5(random()::text) UNIQUE`,
		booking: "inserted",
	},
	"a check of the appointment": {
		alter:    `ALTER TABLE leads ADD CONSTRAINT numeric CHECK (ghl_appointment_id ~ '^[0-9]+$')`,
		findings: []string{"warning constraints: numeric CHECK ((ghl_appointment_id ~ '^[0-9]+$'::text))"}, booking: "permanent",
	},
	"a check of a domain": {
		alter: `CREATE DOMAIN appointment AS text CONSTRAINT numeric CHECK (VALUE ~ '^[0-9]+$');
			ALTER TABLE leads ALTER ghl_appointment_id TYPE appointment`,
		findings: []string{"warning constraints: numeric CHECK"}, booking: "permanent",
	},
	"an exclusion of leads with one appointment": {
		alter:    `ALTER TABLE leads ADD CONSTRAINT alone EXCLUDE (ghl_appointment_id WITH =)`,
		findings: []string{"warning constraints: alone EXCLUDE USING btree (ghl_appointment_id WITH =)"}, booking: "inserted",
	},
	"a check of another column": {
		alter: `ALTER TABLE leads ADD CHECK (status IN ('new', 'won'))`, booking: "inserted",
	},
	"an appointment that refers to another table": {
		alter: `CREATE TABLE appointments (id text PRIMARY KEY);
			ALTER TABLE leads ADD CONSTRAINT known FOREIGN KEY (ghl_appointment_id) REFERENCES appointments`,
		findings: []string{"warning foreign-keys: the foreign key known requires every appointment in appointments"}, booking: "transient",
	},
	"a contact that refers to another table": {
		alter: `CREATE TABLE people (id uuid PRIMARY KEY); ALTER TABLE leads DROP CONSTRAINT leads_contact_id_fkey,
			ADD CONSTRAINT known FOREIGN KEY (contact_id) REFERENCES people`,
		findings: []string{"warning foreign-keys: the foreign key known refers to the contacts of leads in people"}, booking: "transient",
	},
	"triggers that fire": {
		alter: pass + `CREATE TRIGGER a BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION pass();
			CREATE TRIGGER b AFTER UPDATE OF ghl_appointment_id ON leads FOR EACH ROW EXECUTE FUNCTION pass();
			CREATE TRIGGER c AFTER INSERT OR UPDATE ON leads EXECUTE FUNCTION pass()`,
		findings: []string{"warning triggers: a (BEFORE INSERT), b (AFTER UPDATE) and c (AFTER INSERT OR UPDATE)"}, booking: "inserted",
	},
	"triggers that do not fire": {
		alter: pass + `CREATE TRIGGER a BEFORE DELETE ON leads FOR EACH ROW EXECUTE FUNCTION pass();
			CREATE TRIGGER b AFTER UPDATE OF status ON leads FOR EACH ROW EXECUTE FUNCTION pass();
			CREATE TRIGGER c BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION pass(); ALTER TABLE leads DISABLE TRIGGER c;
			CREATE TRIGGER d BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION pass(); ALTER TABLE leads ENABLE REPLICA TRIGGER d`,
		booking: "inserted",
	},
	"a trigger that sets a required column": {
		alter: `ALTER TABLE leads ADD owner text NOT NULL;
			CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.owner := 'ada'; RETURN NEW; END$$;
			CREATE TRIGGER own BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION own()`,
		findings: []string{"warning insert-columns: owner (text)", "warning triggers: own (BEFORE INSERT)"}, booking: "inserted",
	},
	"definitions that only a partition has": {
		schema: partitioned,
		alter: pass + `CREATE TABLE appointments (id text PRIMARY KEY);
			ALTER TABLE leads_other ALTER source SET NOT NULL, ALTER source SET DEFAULT 'web', ALTER ghl_appointment_id SET NOT NULL,
				ADD CONSTRAINT numeric CHECK (ghl_appointment_id ~ '^[0-9]+$'),
				ADD CONSTRAINT known FOREIGN KEY (ghl_appointment_id) REFERENCES appointments;
			CREATE UNIQUE INDEX one ON leads_other (ghl_appointment_id);
			CREATE TRIGGER a BEFORE INSERT ON leads_other FOR EACH ROW EXECUTE FUNCTION pass();
			CREATE TRIGGER b BEFORE INSERT ON leads_other EXECUTE FUNCTION pass()`,
		findings: []string{
			"warning insert-columns: source (text, in the partition leads_other)",
			"warning clear-appointment: ghl_appointment_id must not be null in the partition leads_other",
			"warning unique-indexes: the unique index one of the partition leads_other",
			"warning constraints: numeric of the partition leads_other CHECK",
			"warning foreign-keys: the foreign key known of the partition leads_other",
			"warning triggers: a of the partition leads_other (BEFORE INSERT); they",
		},
		booking: "not insertable",
	},
	"definitions that only a child has": {
		alter: pass + child + `CREATE TABLE appointments (id text PRIMARY KEY);
			ALTER TABLE old_leads ALTER source SET NOT NULL, ALTER ghl_appointment_id SET NOT NULL,
				ADD CONSTRAINT numeric CHECK (ghl_appointment_id ~ '^[0-9]+$'),
				ADD CONSTRAINT known FOREIGN KEY (ghl_appointment_id) REFERENCES appointments;
			CREATE INDEX ON old_leads (contact_id); CREATE UNIQUE INDEX one ON old_leads (ghl_appointment_id);
			CREATE TRIGGER a BEFORE INSERT ON old_leads FOR EACH ROW EXECUTE FUNCTION pass();
			CREATE TRIGGER b BEFORE UPDATE ON old_leads FOR EACH ROW EXECUTE FUNCTION pass()`,
		findings: []string{
			"warning clear-appointment: ghl_appointment_id must not be null in the child old_leads of leads",
			"warning unique-indexes: the unique index one of the child old_leads",
			"warning constraints: numeric of the child old_leads CHECK",
			"warning foreign-keys: the foreign key known of the child old_leads",
			"warning triggers: b of the child old_leads (BEFORE UPDATE); they",
		},
		booking: "inserted",
	},
	"definitions that a child inherits": {
		alter:    `ALTER TABLE leads ADD CONSTRAINT texts CHECK (ghl_appointment_id <> ''); ` + child + `CREATE INDEX ON old_leads (contact_id)`,
		findings: []string{"warning constraints: constraints apply to columns that verity-sync writes: texts CHECK ((ghl_appointment_id <> ''::text)); if one"},
		booking:  "inserted",
	},
	"partitions of partitions": {
		schema: partitioned,
		alter: `CREATE TABLE leads_2030 PARTITION OF leads FOR VALUES FROM ('2030-01-01') TO ('2031-01-01') PARTITION BY RANGE (created_at);
			CREATE TABLE leads_may PARTITION OF leads_2030 FOR VALUES FROM ('2030-05-01') TO ('2030-06-01');
			ALTER TABLE leads_may ADD CONSTRAINT numeric CHECK (ghl_appointment_id ~ '^[0-9]+$')`,
		findings: []string{"warning constraints: numeric of the partition leads_may CHECK"}, booking: "inserted",
	},
	"definitions that a partition inherits": {
		schema: partitioned,
		alter: pass + `ALTER TABLE leads ALTER source SET DEFAULT 'web', ALTER source SET NOT NULL,
				ADD CONSTRAINT texts CHECK (ghl_appointment_id <> ''), ADD CONSTRAINT one UNIQUE (created_at, ghl_appointment_id, source);
			CREATE TRIGGER a AFTER INSERT ON leads FOR EACH ROW EXECUTE FUNCTION pass()`,
		findings: []string{
			"warning constraints: constraints apply to columns that verity-sync writes: texts CHECK ((ghl_appointment_id <> ''::text)); if one",
			"warning triggers: triggers fire when verity-sync writes leads: a (AFTER INSERT); they",
		},
		booking: "inserted",
	},
}

// partitioned is a schema of Verity whose leads have a partition.
const partitioned = veritysim.Schema + `DROP TABLE leads; CREATE TABLE leads (id uuid DEFAULT gen_random_uuid(), contact_id uuid NOT NULL,
	ghl_appointment_id text, created_at timestamptz, last_activity_at timestamptz, source text) PARTITION BY RANGE (created_at);
	CREATE TABLE leads_other PARTITION OF leads DEFAULT; CREATE INDEX ON leads (contact_id);`

const pass = `CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$; `
