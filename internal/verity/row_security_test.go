package verity_test

import (
	"cmp"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// as returns Leads for a new role with the required privileges, and the role.
func (db *database) as() (leads *verity.Leads, role string) {
	db.t.Helper()
	role, databaseURL := db.login("right")
	db.exec(strings.ReplaceAll(granted, "{role}", role))
	return openLeads(db.t, verity.LeadsConfig{URL: databaseURL}), role
}

const (
	mayBeHidden = "leads may be hidden, an INSERT could create a second lead, and appointment events wait"
)

func TestRowSecurityThatIsEnabledWhileTheProcessRuns(t *testing.T) {
	t.Parallel()
	const (
		on       = `ALTER TABLE leads ENABLE ROW LEVEL SECURITY`
		addition = `CREATE POLICY added ON leads FOR INSERT WITH CHECK (true); `
	)
	tests := map[string]struct {
		before, alter string
		desired       verity.Desired
		// advice is the alternative to BYPASSRLS, CREATE POLICY by default.
		advice string
	}{
		"only INSERT is allowed": {alter: addition + on, desired: verity.Desired{AppointmentID: "apt_2"}},
		"only INSERT is allowed, and nothing new has happened": {
			alter: addition + on, desired: verity.Desired{AppointmentID: "apt_2", Scope: verity.OtherLeads},
		},
		"only INSERT is allowed, and leads are spared": {
			alter: addition + on, desired: verity.Desired{AppointmentID: "apt_2", Spare: &verity.Spare{}},
		},
		"a lead that should be cleared is hidden": {alter: addition + on, desired: verity.Desired{Ended: []string{"apt_1"}}},
		"leads of a tenant are visible": {
			alter:   `ALTER TABLE leads ADD tenant text DEFAULT current_user; CREATE POLICY tenant ON leads USING (tenant = current_user); ` + on,
			desired: verity.Desired{AppointmentID: "apt_2"},
		},
		"a policy that showed everything is dropped": {
			before: `CREATE POLICY shown ON leads FOR ALL USING (true); ` + on, alter: addition + `DROP POLICY shown ON leads`,
			desired: verity.Desired{AppointmentID: "apt_2"},
		},
		"a restrictive policy is added": {
			before: `CREATE POLICY shown ON leads FOR ALL USING (true); ` + on,
			alter:  `CREATE POLICY less ON leads AS RESTRICTIVE FOR SELECT USING (status <> 'new')`, desired: verity.Desired{AppointmentID: "apt_2"},
			advice: `ALTER POLICY "less" ON `,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, schemas["uuid"])
			contact := db.contact()
			db.lead(contact, "apt_1")
			leads, role := db.as()
			db.exec(tt.before)
			_, err := leads.SyncLead(t.Context(), contact, desire(""))
			require.NoError(t, err, "the definition of the table is cached now")
			db.exec(tt.alter)

			desired := func(context.Context) (verity.Desired, error) { return tt.desired, nil }
			for range 2 {
				_, err = leads.SyncLead(t.Context(), contact, desired)
				require.Error(t, err)
				assert.Equal(t, destination.Unavailable, destination.ClassOf(err))
				assert.Contains(t, err.Error(), "row security restricts ")
				assert.Contains(t, err.Error(), " on leads for the role "+role+"; "+mayBeHidden+`: ALTER ROLE "`+role+`" BYPASSRLS, or `+cmp.Or(tt.advice, "CREATE POLICY"))
				assert.Equal(t, []string{"apt_1"}, db.appointments(contact), "no second lead")
			}
			db.exec(`INSERT INTO contacts (phone_e164) VALUES ('+12055550142')`)
			_, _, err = leads.FindContact(t.Context(), []string{"+12055550142"}, "")
			require.Error(t, err, "an event fails before it writes, which opens the breaker")
			assert.Contains(t, err.Error(), mayBeHidden)

			db.exec(`CREATE POLICY verity_sync ON leads TO ` + role + ` USING (true) WITH CHECK (true); DROP POLICY IF EXISTS less ON leads`)
			_, found, err := leads.FindContact(t.Context(), []string{"+12055550142"}, "")
			require.NoError(t, err, "the policy of the advice")
			assert.True(t, found)
			_, err = leads.SyncLead(t.Context(), contact, desired)
			require.NoError(t, err)
			assert.Len(t, db.appointments(contact), 1)
		})
	}
}

func TestHiddenContactsAreNotReportedAsMissing(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, schemas["uuid"])
	db.exec(`INSERT INTO contacts (phone_e164) VALUES ('+12055550142')`)
	leads, role := db.as()
	_, found, err := leads.FindContact(t.Context(), []string{"+12055550100"}, "")
	require.NoError(t, err)
	require.False(t, found)
	for _, enable := range []string{
		`ALTER TABLE contacts ENABLE ROW LEVEL SECURITY`,
		`CREATE POLICY others ON contacts USING (phone_e164 <> '+12055550142')`,
	} {
		db.exec(enable)
		for _, number := range []string{"+12055550142", "+12055550100"} {
			_, found, err = leads.FindContact(t.Context(), []string{number}, "ada@example.com")
			assertFailure(t, err, destination.Unavailable, "row security restricts SELECT on contacts for the role "+role+
				"; contacts may be hidden, a contact that is not found may exist, and appointment events wait: ALTER ROLE "+
				`"`+role+`" BYPASSRLS, or CREATE POLICY verity_sync ON "`+db.query(`SELECT current_schema`)+`"."contacts" TO "`+role+`" USING (true) WITH CHECK (true)`)
			assert.False(t, found)
		}
	}
	db.exec(`ALTER ROLE ` + role + ` BYPASSRLS`)
	_, found, err = leads.FindContact(t.Context(), []string{"+12055550142"}, "")
	require.NoError(t, err)
	assert.True(t, found)
}

// TestARefusedWriteFailsTheLookupToo has reasons that affect all events: a lookup that succeeds in between would keep the breaker closed,
// and the events would use up their attempts.
func TestARefusedWriteFailsTheLookupToo(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ breaks, repairs string }{
		"no privilege": {`REVOKE UPDATE ON leads FROM {role}`, `GRANT UPDATE ON leads TO {role}`},
		"no sequence": {
			`CREATE SEQUENCE numbers; ALTER TABLE leads ADD number int DEFAULT nextval('numbers'); DELETE FROM leads`,
			`GRANT USAGE ON SEQUENCE numbers TO {role}`,
		},
		"no table":       {`ALTER TABLE leads RENAME TO lead`, `ALTER TABLE lead RENAME TO leads`},
		"no column":      {`ALTER TABLE leads RENAME last_activity_at TO l`, `ALTER TABLE leads RENAME l TO last_activity_at`},
		"no visible row": {`ALTER TABLE leads ENABLE ROW LEVEL SECURITY`, `ALTER TABLE leads DISABLE ROW LEVEL SECURITY`},
		"no time column": {`ALTER TABLE leads ALTER last_activity_at TYPE bigint USING 0`, `ALTER TABLE leads ALTER last_activity_at TYPE timestamptz USING NULL`},
		"a read-only role": {
			`ALTER ROLE {role} SET default_transaction_read_only = on; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'`,
			`ALTER ROLE {role} RESET default_transaction_read_only; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, schemas["uuid"])
			db.exec(`INSERT INTO contacts (phone_e164) VALUES ('+12055550142')`)
			contact := db.query(`SELECT id::text FROM contacts`)
			leads, role := db.as()
			exec := func(sql string) {
				t.Helper()
				db.exec(strings.ReplaceAll(sql, "{role}", role))
			}
			booking := func() error {
				found, ok, err := leads.FindContact(t.Context(), []string{"+12055550142"}, "")
				if err != nil {
					return err
				}
				require.True(t, ok)
				require.Equal(t, contact, found.ID)
				_, err = leads.SyncLead(t.Context(), contact, desire("apt_1"))
				return err
			}
			require.NoError(t, booking())
			exec(tt.breaks)
			require.Eventually(t, func() bool { return destination.ClassOf(booking()) == destination.Unavailable }, waitFor, tick)
			for range 3 {
				_, _, err := leads.FindContact(t.Context(), []string{"+12055550142"}, "")
				require.Error(t, err)
				assert.Equal(t, destination.Unavailable, destination.ClassOf(err), "%v", err)
			}
			exec(tt.repairs)
			require.Eventually(t, func() bool { return booking() == nil }, waitFor, tick)
		})
	}
}
