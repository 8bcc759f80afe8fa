package verity_test

var inspectedWrites = map[string]inspected{
	"a unique index on the appointment": {
		alter:    `CREATE UNIQUE INDEX one ON leads (ghl_appointment_id)`,
		findings: []string{"warning unique-indexes: the unique index one lets only one lead point at an appointment"}, booking: "LeadInserted",
	},
	"a unique index on the appointment where there is one": {
		alter:    `CREATE UNIQUE INDEX one ON leads (ghl_appointment_id) WHERE ghl_appointment_id <> ''`,
		findings: []string{"warning unique-indexes: the unique index one"}, booking: "LeadInserted",
	},
	"a unique constraint on the contact and the appointment that is deferred": {
		alter:    `ALTER TABLE leads ADD CONSTRAINT one UNIQUE (contact_id, ghl_appointment_id) DEFERRABLE INITIALLY DEFERRED`,
		findings: []string{"warning unique-indexes: the unique index one"}, booking: "LeadInserted",
	},
	"a unique index on an expression of the appointment": {
		alter:    `CREATE UNIQUE INDEX one ON leads (lower(ghl_appointment_id))`,
		findings: []string{"warning unique-indexes: leads has the unique index one over an expression"}, booking: "LeadInserted",
	},
	"a unique index on the contact": {alter: `CREATE UNIQUE INDEX one ON leads (contact_id)`, booking: "LeadInserted"},
	"a unique index on the contact and something else": {
		alter: `CREATE UNIQUE INDEX one ON leads (contact_id, status)`, booking: "LeadInserted",
	},
	"a unique index on a default": {
		alter:    `CREATE UNIQUE INDEX one ON leads (status, score)`,
		findings: []string{"warning unique-indexes: the unique index one is over columns that are the same in all leads that verity-sync inserts (status and score)"},
		booking:  "LeadInserted",
	},
	"a unique index on a column that stays null": {alter: `CREATE UNIQUE INDEX one ON leads (source)`, booking: "LeadInserted"},
	"a unique index in which null is a value": {
		alter:    `CREATE UNIQUE INDEX one ON leads (source) NULLS NOT DISTINCT`,
		findings: []string{"warning unique-indexes: the unique index one"}, booking: "LeadInserted",
	},
	"a unique index on a time": {
		alter:   `ALTER TABLE leads ADD seen timestamptz DEFAULT CURRENT_TIMESTAMP UNIQUE, ADD day timestamp DEFAULT LOCALTIMESTAMP UNIQUE`,
		booking: "LeadInserted",
	},
	"a unique index on a column that is generated": {
		alter:   `ALTER TABLE leads ADD number bigint GENERATED ALWAYS AS IDENTITY UNIQUE, ADD token text NOT NULL DEFAULT md5(random()::text) UNIQUE`,
		booking: "LeadInserted",
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
		findings: []string{"warning constraints: alone EXCLUDE USING btree (ghl_appointment_id WITH =)"}, booking: "LeadInserted",
	},
	"a check of another column": {
		alter: `ALTER TABLE leads ADD CHECK (status IN ('new', 'won'))`, booking: "LeadInserted",
	},
	"an appointment that refers to another table": {
		alter: `CREATE TABLE appointments (id text PRIMARY KEY);
			ALTER TABLE leads ADD CONSTRAINT known FOREIGN KEY (ghl_appointment_id) REFERENCES appointments`,
		findings: []string{"warning foreign-keys: the foreign key known asks for every appointment in appointments"}, booking: "transient",
	},
	"a contact that refers to another table": {
		alter: `CREATE TABLE people (id uuid PRIMARY KEY); ALTER TABLE leads DROP CONSTRAINT leads_contact_id_fkey,
			ADD CONSTRAINT known FOREIGN KEY (contact_id) REFERENCES people`,
		findings: []string{"warning foreign-keys: the foreign key known has the contacts of leads in people"}, booking: "transient",
	},
	"triggers that fire": {
		alter: pass + `CREATE TRIGGER a BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION pass();
			CREATE TRIGGER b AFTER UPDATE OF ghl_appointment_id ON leads FOR EACH ROW EXECUTE FUNCTION pass();
			CREATE TRIGGER c AFTER INSERT OR UPDATE ON leads EXECUTE FUNCTION pass()`,
		findings: []string{"warning triggers: a (BEFORE INSERT), b (AFTER UPDATE) and c (AFTER INSERT OR UPDATE)"}, booking: "LeadInserted",
	},
	"triggers that do not": {
		alter: pass + `CREATE TRIGGER a BEFORE DELETE ON leads FOR EACH ROW EXECUTE FUNCTION pass();
			CREATE TRIGGER b AFTER UPDATE OF status ON leads FOR EACH ROW EXECUTE FUNCTION pass();
			CREATE TRIGGER c BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION pass(); ALTER TABLE leads DISABLE TRIGGER c;
			CREATE TRIGGER d BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION pass(); ALTER TABLE leads ENABLE REPLICA TRIGGER d`,
		booking: "LeadInserted",
	},
	"a trigger that fills in what is missing": {
		alter: `ALTER TABLE leads ADD owner text NOT NULL;
			CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.owner := 'ada'; RETURN NEW; END$$;
			CREATE TRIGGER own BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION own()`,
		findings: []string{"warning insert-columns: owner (text)", "warning triggers: own (BEFORE INSERT)"}, booking: "LeadInserted",
	},
}

const pass = `CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$; `
