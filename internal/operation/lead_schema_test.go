package operation_test

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// alter executes SQL in Verity's database.
func (env *environment) alter(sql string) {
	env.t.Helper()
	_, err := env.pool.Exec(env.t.Context(), sql)
	require.NoError(env.t, err)
}

func TestUniqueIndexAllowsOneLeadOfAContactToFollow(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	c := env.contact()
	for range 3 {
		_, err := env.verity.AddLead(t.Context(), c.verity, "")
		require.NoError(t, err)
	}
	env.alter(`CREATE UNIQUE INDEX one_lead ON leads (ghl_appointment_id)`)
	out := env.lead().Run(t.Context(), attempt(t, booked("apt1", c.ghl, 9)))
	require.NoError(t, out.Err)
	assert.Equal(t, "LeadUpdated", out.Result)
	assert.Empty(t, out.Skipped)
	assert.Equal(t, "the unique index one_lead of Verity's leads allows only one lead of the contact to point at the appointment: "+
		"2 other leads are not changed", out.Note)
	assert.Equal(t, int64(1), out.Details["leads"])
	assert.Equal(t, int64(2), out.Details["left"])
	assert.Equal(t, "one_lead", out.Details["uniqueIndex"])
	assert.Equal(t, []string{"apt1 active", "none", "none"}, env.leadsOf(c.verity))

	out = env.lead().Run(t.Context(), attempt(t, booked("apt2", c.ghl, 10)))
	require.NoError(t, out.Err)
	assert.Equal(t, []string{"apt2 active", "none", "none"}, env.leadsOf(c.verity), "the lead that was active last follows")
}

func TestLeadThatCannotBeInsertedIsSkipped(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	c, withLead := env.contact(), env.contact()
	_, err := env.verity.AddLead(t.Context(), withLead.verity, "")
	require.NoError(t, err)
	env.alter(`ALTER TABLE leads ADD owner text NOT NULL DEFAULT 'x'; ALTER TABLE leads ALTER owner DROP DEFAULT`)

	booking := booked("apt1", c.ghl, 9)
	for range 2 {
		out := env.lead().Run(t.Context(), attempt(t, booking))
		require.NoError(t, out.Err)
		assert.Equal(t, "LeadNotInsertable", out.Result)
		assert.Equal(t, "the contact has no lead, and none can be inserted: column owner of leads must not be null and has no default", out.Skipped)
		assert.Empty(t, env.leadsOf(c.verity))
	}
	out := env.lead().Run(t.Context(), attempt(t, booked("apt2", withLead.ghl, 9)))
	require.NoError(t, out.Err)
	assert.Equal(t, "LeadUpdated", out.Result)

	env.alter(`ALTER TABLE leads ALTER owner SET DEFAULT 'x'`)
	env.leads = env.openLeads()
	out = env.lead().Run(t.Context(), attempt(t, updated("apt1", c.ghl, 8, "confirmed")))
	require.NoError(t, out.Err)
	assert.Equal(t, "LeadInserted", out.Result, "an older event of the appointment inserts the lead")
	assert.Equal(t, []string{"apt1 active"}, env.leadsOf(c.verity))
}

func TestLeadThatCannotBeClearedIsSkipped(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	c := env.contact()
	env.alter(`ALTER TABLE leads ALTER ghl_appointment_id SET NOT NULL`)
	require.NoError(t, env.lead().Run(t.Context(), attempt(t, booked("apt1", c.ghl, 9))).Err)
	out := env.lead().Run(t.Context(), attempt(t, deleted("apt1", c.ghl, 10)))
	require.NoError(t, out.Err)
	assert.Equal(t, "LeadUnchanged", out.Result)
	assert.Equal(t, "the contact's lead still points at an appointment that has ended: column ghl_appointment_id of leads must not be null",
		out.Skipped)
	assert.Equal(t, []string{"apt1 active"}, env.leadsOf(c.verity))

	other := env.contact()
	require.NoError(t, env.lead().Run(t.Context(), attempt(t, booked("apt2", c.ghl, 11))).Err)
	out = env.lead().Run(t.Context(), attempt(t, updated("apt2", other.ghl, 12, "confirmed")))
	require.NoError(t, out.Err)
	assert.Equal(t, "LeadInserted", out.Result)
	assert.Equal(t, c.verity, out.Details["notReleasedFrom"])
}

// TestUnusableTablesOpenTheBreaker runs events that would otherwise find their contact, while the tables are unusable.
func TestUnusableTablesOpenTheBreaker(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ breaks, repairs, message string }{
		"row security hides leads": {
			`ALTER TABLE leads ENABLE ROW LEVEL SECURITY; CREATE POLICY added ON leads FOR INSERT WITH CHECK (true)`,
			`ALTER TABLE leads DISABLE ROW LEVEL SECURITY`, "verity-db: row security restricts UPDATE, SELECT on leads for the role ",
		},
		"row security hides contacts": {
			`ALTER TABLE contacts ENABLE ROW LEVEL SECURITY`,
			`ALTER TABLE contacts DISABLE ROW LEVEL SECURITY`, "verity-db: row security restricts SELECT on contacts for the role ",
		},
		"a privilege is missing": {
			`REVOKE UPDATE ON leads FROM {role}`, `GRANT UPDATE ON leads TO {role}`, "verity-db: permission denied for table leads (SQLSTATE 42501)",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			role, leads := env.restricted()
			env.leads = leads
			exec := func(sql string) { env.alter(strings.ReplaceAll(sql, "{role}", role)) }
			lead := env.lead()
			lead.Breaker = destination.NewBreaker("verity-db", destination.BreakerOptions{Failures: 5, Open: 1})
			c := env.contact()
			require.NoError(t, lead.Run(t.Context(), attempt(t, booked(env.appointment(), c.ghl, 9))).Err)
			exec(tt.breaks)
			counted := 0
			for hour := range 12 {
				out := lead.Run(t.Context(), attempt(t, booked(env.appointment(), env.contact().ghl, hour)))
				require.Error(t, out.Err)
				assert.Empty(t, out.Reason, "not ContactNotFound")
				assert.Equal(t, destination.Unavailable, destination.ClassOf(out.Err), "%v", out.Err)
				if out.Wait == 0 {
					counted++
					assert.Contains(t, out.Err.Error(), tt.message)
				}
			}
			assert.Less(t, counted, 5, "only attempts before the breaker opens count")
			assert.False(t, lead.Breaker.Up())
			exec(tt.repairs)
			require.NoError(t, lead.Run(t.Context(), attempt(t, booked(env.appointment(), c.ghl, 13))).Err)
			assert.Len(t, env.leadsOf(c.verity), 1)
		})
	}
}

// restricted returns Leads of a role with only the required privileges, and the role.
func (env *environment) restricted() (role string, leads *verity.Leads) {
	env.t.Helper()
	role = "test_" + strings.ToLower(rand.Text())
	env.alter(`CREATE ROLE ` + role + ` LOGIN PASSWORD 'right'`)
	env.t.Cleanup(func() {
		_, err := env.pool.Exec(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role)
		assert.NoError(env.t, err)
	})
	var schema string
	require.NoError(env.t, env.pool.QueryRow(env.t.Context(), `SELECT current_schema`).Scan(&schema))
	env.alter(`GRANT USAGE ON SCHEMA ` + schema + ` TO ` + role + `; GRANT SELECT ON contacts TO ` + role + `;
		GRANT SELECT, INSERT, UPDATE ON leads TO ` + role)
	u, err := url.Parse(env.verityURL)
	require.NoError(env.t, err)
	u.User = url.UserPassword(role, "right")
	leads, err = verity.OpenLeads(env.t.Context(), verity.LeadsConfig{URL: u.String()})
	require.NoError(env.t, err)
	env.t.Cleanup(leads.Close)
	return role, leads
}
