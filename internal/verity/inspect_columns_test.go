package verity_test

var inspectedColumns = map[string]inspected{
	"columns with other names": {
		alter: `ALTER TABLE contacts RENAME phone_e164 TO phone; ALTER TABLE leads RENAME ghl_appointment_id TO "ghlAppointmentId"`,
		findings: []string{
			"error columns: contacts has no column phone_e164",
			`error columns: leads has a column "ghlAppointmentId": give verity-sync a view in which it is called ghl_appointment_id`,
		},
		booking: "unavailable",
	},
	"a uuid as the appointment": {
		alter:    `ALTER TABLE leads ALTER ghl_appointment_id TYPE uuid USING NULL`,
		findings: []string{"error column-types: leads.ghl_appointment_id is uuid, which cannot hold GoHighLevel's ids"}, booking: "permanent",
	},
	"a number as the appointment": {
		alter:    `ALTER TABLE leads ALTER ghl_appointment_id TYPE bigint USING NULL`,
		findings: []string{"error column-types: leads.ghl_appointment_id is bigint"}, booking: "permanent",
	},
	"an appointment column that is too short": {
		alter:    `ALTER TABLE leads ALTER ghl_appointment_id TYPE varchar(16)`,
		findings: []string{"error column-types: leads.ghl_appointment_id is character varying(16)"}, booking: "permanent",
	},
	"an appointment column that is long enough for most": {
		alter:    `ALTER TABLE leads ALTER ghl_appointment_id TYPE varchar(20)`,
		findings: []string{"warning column-types: leads.ghl_appointment_id is character varying(20)"}, booking: "inserted",
	},
	"an appointment column that is long enough": {
		alter: `ALTER TABLE leads ALTER ghl_appointment_id TYPE varchar(24)`, booking: "inserted",
	},
	"a domain counts as the type behind it": {
		alter: `CREATE DOMAIN short AS varchar(30); CREATE DOMAIN shorter AS short; CREATE DOMAIN instant AS timestamp;
			ALTER TABLE leads ALTER ghl_appointment_id TYPE shorter, ALTER created_at DROP DEFAULT, ALTER created_at TYPE instant`,
		booking: "inserted",
	},
	"a domain that is too short": {
		alter:    `CREATE DOMAIN short AS varchar(12); CREATE DOMAIN shorter AS short; ALTER TABLE leads ALTER ghl_appointment_id TYPE shorter`,
		findings: []string{"error column-types: leads.ghl_appointment_id is shorter"}, booking: "permanent",
	},
	"numbers as ids": {schema: numbered, booking: "inserted", grant: granted},
	"an int that refers to a bigint": {
		schema: numbered, alter: `ALTER TABLE leads ALTER contact_id TYPE int`, booking: "inserted",
	},
	"a uuid in a varchar": {
		alter:   `ALTER TABLE leads DROP CONSTRAINT leads_contact_id_fkey, ALTER contact_id TYPE varchar(36)`,
		booking: "inserted",
	},
	"a uuid in a varchar that is too short": {
		alter:    `ALTER TABLE leads DROP CONSTRAINT leads_contact_id_fkey, ALTER contact_id TYPE varchar(32)`,
		findings: []string{"error column-types: leads.contact_id is character varying(32) and contacts.id uuid, which has 36 characters"}, booking: "permanent",
	},
	"a uuid in a domain that is too short": {
		alter: `CREATE DOMAIN short AS varchar(20); ALTER TABLE leads DROP CONSTRAINT leads_contact_id_fkey;
			ALTER TABLE leads ALTER contact_id TYPE short`,
		findings: []string{"error column-types: leads.contact_id is short and contacts.id uuid"}, booking: "permanent",
	},
	"a number in a varchar that is too short for some": {
		schema:   numbered,
		alter:    `ALTER TABLE leads DROP CONSTRAINT leads_contact_id_fkey, ALTER contact_id TYPE varchar(18)`,
		findings: []string{"warning column-types: leads.contact_id is character varying(18) and contacts.id bigint"}, booking: "inserted",
	},
	"a number in a varchar": {
		schema: numbered, alter: `ALTER TABLE leads DROP CONSTRAINT leads_contact_id_fkey, ALTER contact_id TYPE varchar(19)`,
		booking: "inserted",
	},
	"a number that refers to a uuid": {
		alter:    `ALTER TABLE leads DROP CONSTRAINT leads_contact_id_fkey, ALTER contact_id TYPE bigint USING 1`,
		findings: []string{"error column-types: no lead can belong to a contact"}, booking: "permanent",
	},
	"a uuid that refers to a text": {
		alter:    `ALTER TABLE leads DROP CONSTRAINT leads_contact_id_fkey; ALTER TABLE contacts ALTER id TYPE text`,
		findings: []string{"warning column-types: contacts whose id is not a uuid get no lead"}, booking: "inserted",
	},
	"ids of a custom type": {
		alter:    `CREATE TYPE who AS ENUM ('a'); ALTER TABLE leads DROP CONSTRAINT leads_contact_id_fkey, ALTER contact_id TYPE who USING 'a'`,
		findings: []string{"warning column-types: leads.contact_id is who, a type with which verity-sync is not tested"}, booking: "permanent",
	},
	"phone numbers that are numbers": {
		alter:    `ALTER TABLE contacts ALTER phone_e164 TYPE bigint USING NULL`,
		findings: []string{"warning column-types: contacts.phone_e164 is bigint"}, booking: "inserted",
	},
	"phone numbers and addresses that are neither text nor number": {
		alter: `ALTER TABLE contacts ALTER phone_e164 TYPE inet USING NULL; DROP INDEX contacts_lower_email_idx;
			ALTER TABLE contacts ALTER email TYPE jsonb USING NULL`,
		findings: []string{
			"error column-types: contacts.phone_e164 is inet", "error column-types: contacts.email is jsonb",
			"warning indexes: lower(email)",
		},
	},
	"addresses that ignore case": {
		alter:   `CREATE EXTENSION IF NOT EXISTS citext SCHEMA public; ALTER TABLE contacts ALTER email TYPE public.citext`,
		booking: "inserted",
	},
	"times without a time zone, dates": {
		alter:   `ALTER TABLE leads ALTER created_at TYPE date, ALTER last_activity_at TYPE timestamp(3)`,
		booking: "inserted",
	},
	"times in a text": {
		alter:    `ALTER TABLE leads ALTER last_activity_at TYPE text`,
		findings: []string{"warning column-types: leads.last_activity_at is text"}, booking: "inserted",
	},
	"times in a short text": {
		alter:    `ALTER TABLE leads ALTER last_activity_at TYPE varchar(10)`,
		findings: []string{"error column-types: leads.last_activity_at is character varying(10)"}, booking: "permanent",
	},
	"times in a number": {
		alter:    `ALTER TABLE leads ALTER last_activity_at TYPE bigint USING 0`,
		findings: []string{"error column-types: leads.last_activity_at is bigint"}, booking: "unavailable",
	},
	"a generated appointment": {
		alter:    `ALTER TABLE leads DROP ghl_appointment_id, ADD ghl_appointment_id text GENERATED ALWAYS AS (status) STORED`,
		findings: []string{"error column-types: leads.ghl_appointment_id cannot be written"}, booking: "unavailable",
	},
	"an id that Postgres always generates": {
		alter: `ALTER TABLE leads DROP id, ADD id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY`, booking: "inserted",
	},
	"columns that must not be null and have no default": {
		alter:    `ALTER TABLE leads ADD owner text NOT NULL, ADD team int NOT NULL`,
		findings: []string{"warning insert-columns: leads has columns that must not be null and have no default: owner (text) and team (integer)"},
		booking:  "not insertable",
	},
	"a domain that must not be null": {
		alter:    `CREATE DOMAIN person AS text NOT NULL; ALTER TABLE leads ADD owner person`,
		findings: []string{"warning insert-columns: owner (person)"}, booking: "not insertable",
	},
	"a domain with a default": {
		alter: `CREATE DOMAIN person AS text NOT NULL DEFAULT 'ada'; ALTER TABLE leads ADD owner person`, booking: "inserted",
	},
	"a numeric id without a default": {
		alter:    `ALTER TABLE leads DROP id, ADD id bigint PRIMARY KEY`,
		findings: []string{"warning insert-columns: no default: id (bigint)"}, booking: "not insertable",
	},
	"an id that is too short for a UUID": {
		alter:    `ALTER TABLE leads ALTER id DROP DEFAULT, ALTER id TYPE varchar(30) USING left(id::text, 30)`,
		findings: []string{"warning insert-columns: no default: id (character varying(30))"}, booking: "not insertable",
	},
	"Prisma's id and updatedAt are supplied": {
		alter: `ALTER TABLE leads ALTER id DROP DEFAULT, ALTER id TYPE text, ADD "updatedAt" timestamp(3) NOT NULL`, booking: "inserted",
	},
	"an appointment that must not be null": {
		alter:    `ALTER TABLE leads ALTER ghl_appointment_id SET NOT NULL`,
		findings: []string{"warning clear-appointment: leads.ghl_appointment_id must not be null"}, booking: "inserted",
	},
}

// numbered is a schema of Verity whose ids are numbers of sequences.
const numbered = `
	CREATE TABLE contacts (id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, phone_e164 varchar(20), email varchar(254));
	CREATE INDEX ON contacts (phone_e164); CREATE INDEX ON contacts (email); CREATE INDEX ON contacts (lower(email));
	CREATE TABLE leads (
		id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, contact_id bigint NOT NULL REFERENCES contacts, ghl_appointment_id varchar(64),
		created_at timestamp NOT NULL, last_activity_at timestamp NOT NULL);
	CREATE INDEX ON leads (contact_id)`
