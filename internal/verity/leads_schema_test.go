package verity_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// uniques are definitions that allow only one lead for an appointment.
var uniques = map[string]string{
	"a unique index":                         `CREATE UNIQUE INDEX one ON leads (ghl_appointment_id)`,
	"a partial unique index":                 `CREATE UNIQUE INDEX one ON leads (ghl_appointment_id) WHERE ghl_appointment_id IS NOT NULL`,
	"a unique index of the contact's":        `CREATE UNIQUE INDEX one ON leads (contact_id, ghl_appointment_id)`,
	"a unique index on an expression":        `CREATE UNIQUE INDEX one ON leads (lower(ghl_appointment_id))`,
	"a unique constraint":                    `ALTER TABLE leads ADD CONSTRAINT one UNIQUE (ghl_appointment_id)`,
	"a deferrable unique constraint":         `ALTER TABLE leads ADD CONSTRAINT one UNIQUE (ghl_appointment_id) DEFERRABLE`,
	"a deferred unique constraint":           `ALTER TABLE leads ADD CONSTRAINT one UNIQUE (ghl_appointment_id) DEFERRABLE INITIALLY DEFERRED`,
	"an exclusion constraint":                `ALTER TABLE leads ADD CONSTRAINT one EXCLUDE (ghl_appointment_id WITH =)`,
	"a unique index with an id that is null": `ALTER TABLE leads DROP id, ADD id text; CREATE UNIQUE INDEX one ON leads (ghl_appointment_id)`,
	"a unique index without an id in leads":  `ALTER TABLE leads DROP id; CREATE UNIQUE INDEX one ON leads (ghl_appointment_id)`,
	"a unique index behind a view":           `CREATE UNIQUE INDEX one ON leads (ghl_appointment_id); ALTER TABLE leads RENAME TO rows; CREATE VIEW leads AS SELECT * FROM rows`,
	"a unique index with numbers as ids":     `ALTER TABLE leads DROP id, ADD id bigint GENERATED ALWAYS AS IDENTITY; CREATE UNIQUE INDEX one ON leads (ghl_appointment_id)`,
	"a unique index in a partitioned table": `DROP TABLE leads; CREATE TABLE leads (contact_id uuid, ghl_appointment_id text, created_at timestamptz, last_activity_at timestamptz)
		PARTITION BY LIST (ghl_appointment_id); CREATE TABLE new PARTITION OF leads FOR VALUES IN ('apt_2'); CREATE TABLE other PARTITION OF leads DEFAULT;
		CREATE UNIQUE INDEX one ON leads (ghl_appointment_id)`,
}

// given is an existing lead of a contact.
type given struct {
	appointment string
	// active is the year of its last activity, 0 for never.
	active int
}

func TestAUniqueIndexAllowsOneLeadToFollow(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		leads   []given
		desired verity.Desired
		result  verity.Result
		want    []string
	}{
		"the one that was active last": {
			[]given{{"", 2019}, {"apt_1", 2022}, {"", 2021}, {"apt_9", 0}}, verity.Desired{AppointmentID: "apt_2"},
			verity.Result{Outcome: verity.LeadUpdated, Leads: 1, Left: 3}, []string{"apt_2 active", "apt_9", "none", "none"},
		},
		"the one that points at it already": {
			[]given{{"apt_2", 2019}, {"apt_1", 2022}}, verity.Desired{AppointmentID: "apt_2"},
			verity.Result{Outcome: verity.LeadUpdated, Leads: 1, Left: 1}, []string{"apt_1", "apt_2 active"},
		},
		"none, if one points at it and nothing new has happened": {
			[]given{{"apt_2", 2019}, {"apt_1", 2022}}, verity.Desired{AppointmentID: "apt_2", Scope: verity.OtherLeads},
			verity.Result{Outcome: verity.LeadUnchanged, Left: 1}, []string{"apt_1", "apt_2"},
		},
		"none of those that are spared": {
			[]given{{"", 2019}, {"apt_0", 2020}, {"apt_9", 2022}}, verity.Desired{AppointmentID: "apt_2", Spare: &verity.Spare{Known: []string{"apt_0"}}},
			verity.Result{Outcome: verity.LeadUpdated, Leads: 1, Left: 1, Spared: 1}, []string{"apt_2 active", "apt_9", "none"},
		},
		"the only one": {
			[]given{{"apt_1", 2019}}, verity.Desired{AppointmentID: "apt_2"},
			verity.Result{Outcome: verity.LeadUpdated, Leads: 1}, []string{"apt_2 active"},
		},
		"a new one": {
			nil, verity.Desired{AppointmentID: "apt_2"}, verity.Result{Outcome: verity.LeadInserted, Leads: 1}, []string{"apt_2 active"},
		},
		"one of those that have ended, and the others point at none": {
			[]given{{"apt_0", 2019}, {"apt_1", 2022}, {"apt_9", 2023}},
			verity.Desired{AppointmentID: "apt_2", Ended: []string{"apt_0", "apt_1"}, Scope: verity.EndedLeads},
			verity.Result{Outcome: verity.LeadUpdated, Leads: 2}, []string{"apt_2 active", "apt_9", "none active"},
		},
		"none of those that have ended, if one points at it": {
			[]given{{"apt_0", 2019}, {"apt_2", 2020}}, verity.Desired{AppointmentID: "apt_2", Ended: []string{"apt_0"}, Scope: verity.EndedLeads},
			verity.Result{Outcome: verity.LeadCleared, Leads: 1}, []string{"apt_2", "none active"},
		},
	}
	for index, alter := range uniques {
		shared := newDatabase(t, schemas["uuid"])
		shared.exec(alter)
		leads := shared.open()
		for name, tt := range tests {
			t.Run(index+": "+name, func(t *testing.T) {
				// Not parallel: appointments are unique in the table.
				db := shared.in(t)
				db.exec(`DELETE FROM leads`)
				contact := db.contact()
				for _, lead := range tt.leads {
					db.exec(`INSERT INTO leads (contact_id, ghl_appointment_id, created_at, last_activity_at)
						VALUES ($1, nullif($2, ''), '2019-01-01', make_date(nullif($3, 0), 1, 1))`, contact, lead.appointment, lead.active)
				}
				desired := func(context.Context) (verity.Desired, error) { return tt.desired, nil }
				result, err := leads.SyncLead(t.Context(), contact, desired)
				require.NoError(t, err)
				if result.Left > 0 {
					// Postgres generates the name of a partition's index.
					assert.Contains(t, []string{"one", "new_ghl_appointment_id_idx"}, result.Constraint)
				}
				result.Constraint = ""
				assert.Equal(t, tt.result, result)
				assert.Equal(t, tt.want, db.appointments(contact))

				_, err = leads.SyncLead(t.Context(), contact, desired)
				require.NoError(t, err)
				assert.Equal(t, tt.want, db.appointments(contact), "a repetition has the same result")
			})
		}
	}
}

func TestAnotherContactsLeadThatHasTheAppointmentIsAnError(t *testing.T) {
	t.Parallel()
	for name, alter := range uniques {
		if name == "a unique index of the contact's" {
			continue // It allows the same appointment for two contacts.
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, schemas["uuid"])
			db.exec(alter)
			ada, bob := db.contact(), db.contact()
			db.lead(ada, "apt_2")
			for _, leads := range [][]string{nil, {"apt_0"}, {"apt_1", ""}} {
				for _, appointment := range leads {
					db.lead(bob, appointment)
				}
				_, err := db.open().SyncLead(t.Context(), bob, desire("apt_2"))
				assert.Equal(t, destination.Permanent, destination.ClassOf(err), "%v", err)
			}
		})
	}
}

func TestColumnsThatMustNotBeNullAreSupplied(t *testing.T) {
	t.Parallel()
	const isUUID = `SELECT (id::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$')::text FROM leads WHERE contact_id = $1`
	const isNow = `SELECT (abs(extract(epoch FROM "updatedAt" - now() AT TIME ZONE 'UTC')) < 60)::text FROM leads WHERE contact_id = $1`
	trigger := func(body string) string {
		return `CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN ` + body + ` RETURN NEW; END$$;
			CREATE TRIGGER fill BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION fill()`
	}
	tests := map[string]struct {
		alter, query string
	}{
		"a uuid":                   {`ALTER TABLE leads ALTER id DROP DEFAULT`, isUUID},
		"a text":                   {`ALTER TABLE leads ALTER id DROP DEFAULT, ALTER id TYPE text`, isUUID},
		"a varchar(36)":            {`ALTER TABLE leads ALTER id DROP DEFAULT, ALTER id TYPE varchar(36)`, isUUID},
		"a char(36)":               {`ALTER TABLE leads ALTER id DROP DEFAULT, ALTER id TYPE char(36)`, isUUID},
		"a domain":                 {`CREATE DOMAIN key AS uuid NOT NULL; ALTER TABLE leads ALTER id DROP DEFAULT, ALTER id TYPE key`, isUUID},
		"a text that is no key":    {`ALTER TABLE leads DROP id, ADD id text NOT NULL`, isUUID},
		"the time of an update":    {`ALTER TABLE leads ADD "updatedAt" timestamp(3) NOT NULL`, isNow},
		"both of Prisma's":         {`ALTER TABLE leads ALTER id DROP DEFAULT, ALTER id TYPE text, ADD "updatedAt" timestamp(3) NOT NULL`, isNow},
		"behind a view":            {`ALTER TABLE leads ALTER id DROP DEFAULT; ALTER TABLE leads RENAME TO rows; CREATE VIEW leads AS SELECT * FROM rows`, isUUID},
		"both, behind a view":      {`ALTER TABLE leads ALTER id DROP DEFAULT, ADD "updatedAt" timestamp NOT NULL; ALTER TABLE leads RENAME TO rows; CREATE VIEW leads AS SELECT * FROM rows`, isNow},
		"beside a trigger":         {`ALTER TABLE leads ALTER id DROP DEFAULT; ` + trigger(`NEW.status := 'x';`), isUUID},
		"not, by a trigger":        {`ALTER TABLE leads ALTER id DROP DEFAULT, ALTER id TYPE text; ` + trigger(`NEW.id := coalesce(NEW.id, 'lead_' || random());`), `SELECT (id LIKE 'lead_%')::text FROM leads WHERE contact_id = $1`},
		"not, by a default":        {`ALTER TABLE leads ALTER id TYPE text, ALTER id SET DEFAULT 'lead_' || random()`, `SELECT (id LIKE 'lead_%')::text FROM leads WHERE contact_id = $1`},
		"not, if NULL is allowed":  {`ALTER TABLE leads DROP id, ADD id text, ADD updated_at timestamptz`, `SELECT (id IS NULL AND updated_at IS NULL)::text FROM leads WHERE contact_id = $1`},
		"not, if it has a default": {`ALTER TABLE leads ADD updated_at timestamptz NOT NULL DEFAULT '2020-01-01'`, `SELECT (updated_at = '2020-01-01')::text FROM leads WHERE contact_id = $1`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, schemas["uuid"])
			db.exec(tt.alter)
			leads := db.open()
			for range 2 {
				contact := db.contact()
				result, err := leads.SyncLead(t.Context(), contact, desire("apt_1"))
				require.NoError(t, err)
				assert.Equal(t, verity.Result{Outcome: verity.LeadInserted, Leads: 1}, result)
				assert.Equal(t, "true", db.query(tt.query, contact))
				result, err = leads.SyncLead(t.Context(), contact, desire("apt_2"))
				require.NoError(t, err)
				assert.Equal(t, verity.Result{Outcome: verity.LeadUpdated, Leads: 1}, result)
				assert.Equal(t, []string{"apt_2 active"}, db.appointments(contact))
			}
		})
	}
}

func TestTheTimeOfAnUpdateThatMustNotBeNullIsWritten(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, schemas["uuid"])
	contact := db.contact()
	db.lead(contact, "apt_1")
	db.exec(`ALTER TABLE leads ADD updated_at timestamptz NOT NULL DEFAULT '2020-01-01'; ALTER TABLE leads ALTER updated_at DROP DEFAULT`)
	const changed = `SELECT (updated_at > now() - interval '1 minute')::text FROM leads`
	account, databaseURL := db.login("right")
	db.exec(`GRANT SELECT ON contacts, leads TO ` + account + `; GRANT INSERT, UPDATE (ghl_appointment_id, last_activity_at) ON leads TO ` + account)
	restricted := openLeads(t, verity.LeadsConfig{URL: databaseURL})
	_, err := restricted.SyncLead(t.Context(), contact, desire("apt_2"))
	require.NoError(t, err, "a column that the role may not write does not change")
	assert.Equal(t, "false", db.query(changed))

	_, err = db.open().SyncLead(t.Context(), contact, desire("apt_3"))
	require.NoError(t, err)
	assert.Equal(t, "true", db.query(changed))
	db.exec(`UPDATE leads SET updated_at = '2020-01-01'`)
	_, err = db.open().SyncLead(t.Context(), contact, desire("", "apt_3"))
	require.NoError(t, err)
	assert.Equal(t, "true", db.query(changed))
}

func TestALeadThatCannotBeInsertedIsNotAnError(t *testing.T) {
	t.Parallel()
	fill := `CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
		CREATE TRIGGER fill BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION fill(); `
	tests := map[string]struct{ alter, column string }{
		"a column without a default":          {`ALTER TABLE leads ADD owner text NOT NULL DEFAULT 'x'; ALTER TABLE leads ALTER owner DROP DEFAULT`, "owner"},
		"a numeric id":                        {`ALTER TABLE leads DROP id, ADD id bigint GENERATED ALWAYS AS IDENTITY; ALTER TABLE leads ALTER id DROP IDENTITY`, "id"},
		"an id that is too short for a UUID":  {`ALTER TABLE leads DROP id, ADD id varchar(32) NOT NULL DEFAULT 'x'; ALTER TABLE leads ALTER id DROP DEFAULT`, "id"},
		"a column that a trigger leaves null": {fill + `ALTER TABLE leads ADD owner text NOT NULL DEFAULT 'x'; ALTER TABLE leads ALTER owner DROP DEFAULT`, "owner"},
		"a default that is null":              {`ALTER TABLE leads ADD owner text DEFAULT 'x'; UPDATE leads SET owner = 'x'; ALTER TABLE leads ALTER owner SET NOT NULL, ALTER owner SET DEFAULT nullif(1, 1)::text`, "owner"},
		"a column behind a view":              {`ALTER TABLE leads ADD owner text NOT NULL DEFAULT 'x'; ALTER TABLE leads ALTER owner DROP DEFAULT; ALTER TABLE leads RENAME TO rows; CREATE VIEW leads AS SELECT * FROM rows`, "owner"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, schemas["uuid"])
			known, stranger := db.contact(), db.contact()
			db.lead(known, "apt_9")
			db.exec(tt.alter)
			leads := db.open()
			for range 2 {
				result, err := leads.SyncLead(t.Context(), stranger, desire("apt_1"))
				require.NoError(t, err)
				assert.Equal(t, verity.Result{
					Outcome: verity.LeadNotInsertable,
					Because: "the contact has no lead, and none can be inserted: column " + tt.column + " of leads must not be null and has no default",
				}, result)
				assert.Empty(t, db.appointments(stranger))
				result, err = leads.SyncLead(t.Context(), known, desire("apt_1"))
				require.NoError(t, err)
				assert.Equal(t, verity.Result{Outcome: verity.LeadUpdated, Leads: 1}, result, "existing leads are updated")
			}
			db.exec(`UPDATE leads SET ghl_appointment_id = 'apt_9'`)
			result, err := leads.SyncLead(t.Context(), known, func(context.Context) (verity.Desired, error) {
				return verity.Desired{AppointmentID: "apt_1", Spare: &verity.Spare{}}, nil
			})
			require.NoError(t, err)
			assert.Equal(t, verity.Result{Outcome: verity.LeadUnchanged, Spared: 1}, result, "a spared lead counts as a lead")
		})
	}
}

func TestAnAppointmentThatMustNotBeNullIsNotCleared(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, schemas["uuid"])
	contact := db.contact()
	db.lead(contact, "apt_1")
	db.exec(`ALTER TABLE leads ALTER ghl_appointment_id SET NOT NULL`)
	leads := db.open()
	result, err := leads.SyncLead(t.Context(), contact, desire("", "apt_1"))
	require.NoError(t, err)
	assert.Equal(t, verity.Result{
		Outcome: verity.LeadUnchanged,
		Because: "the contact's lead still points at an appointment that has ended: column ghl_appointment_id of leads must not be null",
	}, result)
	assert.Equal(t, []string{"apt_1"}, db.appointments(contact))
	_, err = leads.SyncLead(t.Context(), contact, func(context.Context) (verity.Desired, error) {
		return verity.Desired{AppointmentID: "apt_2", Ended: []string{"apt_1"}, Scope: verity.EndedLeads}, nil
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"apt_2 active"}, db.appointments(contact))
}

func TestATableThatChangesIsReadAgain(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, schemas["uuid"])
	leads := db.open()
	sync := func() verity.Outcome {
		t.Helper()
		result, err := leads.SyncLead(t.Context(), db.contact(), desire("apt_"+time.Now().String()))
		require.NoError(t, err)
		return result.Outcome
	}
	assert.Equal(t, verity.LeadInserted, sync())
	db.exec(`ALTER TABLE leads ALTER id DROP DEFAULT`)
	assert.Equal(t, verity.LeadInserted, sync(), "a column that must now be supplied")
	db.exec(`ALTER TABLE leads DROP id`)
	_, err := leads.SyncLead(t.Context(), db.contact(), desire("apt_1"))
	require.Error(t, err)
	assert.Equal(t, destination.Unavailable, destination.ClassOf(err))
	assert.Equal(t, verity.LeadInserted, sync(), "a column that no longer exists")
	db.exec(`ALTER TABLE leads ADD CONSTRAINT one UNIQUE (ghl_appointment_id) DEFERRABLE`)
	_, err = leads.SyncLead(t.Context(), db.contact(), desire("apt_2"))
	require.Error(t, err)
	assert.Equal(t, destination.Unavailable, destination.ClassOf(err))
	assert.Equal(t, verity.LeadInserted, sync(), "a constraint for which Postgres now refuses ON CONFLICT")
}
