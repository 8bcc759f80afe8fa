package verity_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/verity"
	veritysim "github.com/dfmiddleware/verity-sync/test/sim/verity"
)

func TestFindContact(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, schemas["bigint"])
	db.exec(`INSERT INTO contacts (id, phone_e164, email) VALUES
		(7, '+12055550100', 'ada@example.com'),
		(9, '+12055550142', 'Ada@Example.com'),
		(10, '+12055550142', NULL),
		(100, '+12055550142', 'both@example.com'),
		(11, NULL, 'BOB@EXAMPLE.COM'),
		(12, NULL, 'bob@Example.com'),
		(13, NULL, NULL),
		(14, '', '')`)
	leads := db.open()

	tests := map[string]struct {
		phones []string
		email  string
		want   verity.Contact
	}{
		"by phone, the lowest id, as a number": {[]string{"+12055550142"}, "", verity.Contact{ID: "9", MatchedBy: "phone"}},
		"the phone wins over the address":      {[]string{"+12055550142"}, "ada@example.com", verity.Contact{ID: "9", MatchedBy: "phone"}},
		"the first phone wins over the second": {[]string{"+12055550142", "+12055550100"}, "", verity.Contact{ID: "9", MatchedBy: "phone"}},
		"the second phone, if the first is unknown": {
			[]string{"+12055550199", "+12055550100"}, "both@example.com", verity.Contact{ID: "7", MatchedBy: "phone"},
		},
		"the address, if no phone is known": {
			[]string{"+12055550199"}, "both@example.com", verity.Contact{ID: "100", MatchedBy: "email"},
		},
		"the address as typed wins":               {nil, "Ada@Example.com", verity.Contact{ID: "9", MatchedBy: "email"}},
		"the address in lower case is next":       {nil, "ADA@EXAMPLE.COM", verity.Contact{ID: "7", MatchedBy: "email"}},
		"blanks around the address do not matter": {nil, " both@example.com ", verity.Contact{ID: "100", MatchedBy: "email"}},
		"the address in any case is last":         {nil, "bob@example.com", verity.Contact{ID: "11", MatchedBy: "email-ignoring-case"}},
		"no match":                                {[]string{"+12055550199"}, "eve@example.com", verity.Contact{}},
		"a part of an address matches nothing":    {nil, "%@example.com", verity.Contact{}},
		"without phone and address, no match":     {nil, "", verity.Contact{}},
		"empty values match no empty columns":     {[]string{""}, "  ", verity.Contact{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, found, err := leads.FindContact(t.Context(), tt.phones, tt.email)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.want != verity.Contact{}, found)
		})
	}
}

func TestFindContactUsesTheIndexes(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, veritysim.Schema)
	db.exec(`INSERT INTO contacts (phone_e164, email)
		SELECT '+1205555' || lpad(i::text, 4, '0'), 'Person' || i || '@example.com' FROM generate_series(1, 5000) i`)
	// Many contacts with the number of a switchboard: with their statistics, the planner may prefer a scan of the primary key until the
	// first match.
	db.exec(`INSERT INTO contacts (phone_e164) SELECT '+12055559999' FROM generate_series(1, 200)`)
	db.exec(`ANALYZE contacts`)
	values := map[string]string{"phone": "+12055559999", "email": "person1@example.com", "lower email": "person1@example.com"}
	indexes := map[string]string{
		"phone": "contacts_phone_e164_idx", "email": "contacts_email_idx", "lower email": "contacts_lower_email_idx",
	}

	for name, query := range verity.Lookups {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rows, err := db.pool.Query(t.Context(), "EXPLAIN "+query, pgx.QueryExecModeSimpleProtocol, values[name])
			require.NoError(t, err)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			plan := strings.Join(lines, "\n")
			assert.Contains(t, plan, indexes[name])
			assert.NotContains(t, plan, "Seq Scan on contacts")
			assert.NotContains(t, plan, "contacts_pkey")
		})
	}
}

func TestSyncLead(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		leads   []string
		desired func(context.Context) (verity.Desired, error)
		result  verity.Result
		want    []string
	}{
		"a contact without a lead gets one": {
			nil, desire("apt_2"), verity.Result{Outcome: verity.LeadInserted, Leads: 1}, []string{"apt_2 active"},
		},
		"a lead without an appointment points at it": {
			[]string{""}, desire("apt_2"), verity.Result{Outcome: verity.LeadUpdated, Leads: 1}, []string{"apt_2 active"},
		},
		"a lead that points at another appointment points at it": {
			[]string{"apt_1"}, desire("apt_2"), verity.Result{Outcome: verity.LeadUpdated, Leads: 1}, []string{"apt_2 active"},
		},
		"a lead that points at it already is active again": {
			[]string{"apt_2"}, desire("apt_2"), verity.Result{Outcome: verity.LeadUpdated, Leads: 1}, []string{"apt_2 active"},
		},
		"all leads of the contact point at it": {
			[]string{"", "apt_1", "apt_9"}, desire("apt_2", "apt_1"), verity.Result{Outcome: verity.LeadUpdated, Leads: 3},
			[]string{"apt_2 active", "apt_2 active", "apt_2 active"},
		},
		"a lead that points at an ended appointment is cleared": {
			[]string{"apt_1"}, desire("", "apt_0", "apt_1"), verity.Result{Outcome: verity.LeadCleared, Leads: 1}, []string{"none active"},
		},
		"a lead that points at an unknown appointment is not cleared": {
			[]string{"apt_1", "apt_9"}, desire("", "apt_1"), verity.Result{Outcome: verity.LeadCleared, Leads: 1},
			[]string{"apt_9", "none active"},
		},
		"an ended appointment that no lead points at changes nothing": {
			[]string{"apt_9", ""}, desire("", "apt_1"), verity.Result{Outcome: verity.LeadUnchanged}, []string{"apt_9", "none"},
		},
		"an ended appointment inserts no lead": {
			nil, desire("", "apt_1"), verity.Result{Outcome: verity.LeadUnchanged}, []string{},
		},
		"nothing known changes nothing": {
			[]string{"apt_1"}, desire(""), verity.Result{Outcome: verity.LeadUnchanged}, []string{"apt_1"},
		},
	}
	for schemaName, schema := range schemas {
		shared := newDatabase(t, schema)
		leads := shared.open()
		for name, tt := range tests {
			t.Run(schemaName+": "+name, func(t *testing.T) {
				t.Parallel()
				db := shared.in(t)
				contact, bystander := db.contact(), db.contact()
				db.lead(bystander, "apt_1")
				for _, appointment := range tt.leads {
					db.lead(contact, appointment)
				}

				result, err := leads.SyncLead(t.Context(), contact, tt.desired)
				require.NoError(t, err)
				assert.Equal(t, tt.result, result)
				assert.Equal(t, tt.want, db.appointments(contact))
				assert.Equal(t, []string{"apt_1"}, db.appointments(bystander), "other contacts' leads do not change")

				_, err = leads.SyncLead(t.Context(), contact, tt.desired)
				require.NoError(t, err)
				assert.Equal(t, tt.want, db.appointments(contact), "a repetition has the same result")
			})
		}
	}
}

func date(year int, month time.Month) time.Time {
	return time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
}

func TestSyncLeadWithinAScope(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		leads   []string
		desired verity.Desired
		result  verity.Result
		want    []string
	}{
		"other leads: those that point at it do not change": {
			[]string{"apt_2", "apt_1", ""}, verity.Desired{AppointmentID: "apt_2", Scope: verity.OtherLeads},
			verity.Result{Outcome: verity.LeadUpdated, Leads: 2}, []string{"apt_2", "apt_2 active", "apt_2 active"},
		},
		"other leads: there are none": {
			[]string{"apt_2"}, verity.Desired{AppointmentID: "apt_2", Ended: []string{"apt_1"}, Scope: verity.OtherLeads},
			verity.Result{Outcome: verity.LeadUnchanged}, []string{"apt_2"},
		},
		"other leads: a contact without a lead gets one": {
			nil, verity.Desired{AppointmentID: "apt_2", Scope: verity.OtherLeads},
			verity.Result{Outcome: verity.LeadInserted, Leads: 1}, []string{"apt_2 active"},
		},
		"other leads: no appointment is desired": {
			[]string{"apt_1", "apt_9"}, verity.Desired{Ended: []string{"apt_1"}, Scope: verity.OtherLeads},
			verity.Result{Outcome: verity.LeadCleared, Leads: 1}, []string{"apt_9", "none active"},
		},
		"ended leads: they point at the live appointment, and others do not change": {
			[]string{"apt_1", "apt_2", "apt_9", ""},
			verity.Desired{AppointmentID: "apt_2", Ended: []string{"apt_0", "apt_1"}, Scope: verity.EndedLeads},
			verity.Result{Outcome: verity.LeadUpdated, Leads: 1}, []string{"apt_2", "apt_2 active", "apt_9", "none"},
		},
		"ended leads: they are cleared if there is no live appointment": {
			[]string{"apt_1"}, verity.Desired{Ended: []string{"apt_1"}, Scope: verity.EndedLeads},
			verity.Result{Outcome: verity.LeadCleared, Leads: 1}, []string{"none active"},
		},
		"spared: leads that point at an unknown appointment": {
			[]string{"apt_1", "apt_2", "apt_9", ""}, verity.Desired{AppointmentID: "apt_2", Spare: &verity.Spare{Known: []string{"apt_1"}}},
			verity.Result{Outcome: verity.LeadUpdated, Leads: 3, Spared: 1}, []string{"apt_2 active", "apt_2 active", "apt_2 active", "apt_9"},
		},
		"spared: all of them": {
			[]string{"apt_8", "apt_9"}, verity.Desired{AppointmentID: "apt_2", Spare: &verity.Spare{}},
			verity.Result{Outcome: verity.LeadUnchanged, Spared: 2}, []string{"apt_8", "apt_9"},
		},
		"spared: those that were active after the booking": {
			[]string{"apt_9"}, verity.Desired{AppointmentID: "apt_2", Spare: &verity.Spare{BookedAt: date(2019, time.December)}},
			verity.Result{Outcome: verity.LeadUnchanged, Spared: 1}, []string{"apt_9"},
		},
		"spared: not those that were active before the booking only": {
			[]string{"apt_9"}, verity.Desired{AppointmentID: "apt_2", Spare: &verity.Spare{BookedAt: date(2020, time.February)}},
			verity.Result{Outcome: verity.LeadUpdated, Leads: 1}, []string{"apt_2 active"},
		},
		"spared: among other leads": {
			[]string{"apt_2", "apt_1", "apt_9"},
			verity.Desired{AppointmentID: "apt_2", Scope: verity.OtherLeads, Spare: &verity.Spare{Known: []string{"apt_1"}}},
			verity.Result{Outcome: verity.LeadUpdated, Leads: 1, Spared: 1}, []string{"apt_2", "apt_2 active", "apt_9"},
		},
		"spared: a contact without a lead gets one": {
			nil, verity.Desired{AppointmentID: "apt_2", Spare: &verity.Spare{}},
			verity.Result{Outcome: verity.LeadInserted, Leads: 1}, []string{"apt_2 active"},
		},
		"ended leads: none is inserted": {
			nil, verity.Desired{AppointmentID: "apt_2", Ended: []string{"apt_1"}, Scope: verity.EndedLeads},
			verity.Result{Outcome: verity.LeadUnchanged}, []string{},
		},
	}
	for schemaName, schema := range schemas {
		shared := newDatabase(t, schema)
		leads := shared.open()
		for name, tt := range tests {
			t.Run(schemaName+": "+name, func(t *testing.T) {
				t.Parallel()
				db := shared.in(t)
				contact := db.contact()
				for _, appointment := range tt.leads {
					db.lead(contact, appointment)
				}
				result, err := leads.SyncLead(t.Context(), contact, func(context.Context) (verity.Desired, error) { return tt.desired, nil })
				require.NoError(t, err)
				assert.Equal(t, tt.result, result)
				assert.Equal(t, tt.want, db.appointments(contact))
			})
		}
	}
}

func TestTheLeadOfAFoundContactIsSynced(t *testing.T) {
	t.Parallel()
	for name, schema := range schemas {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, schema)
			db.exec(`INSERT INTO contacts (phone_e164) VALUES ('+12055550142')`)
			leads := db.open()
			contact, found, err := leads.FindContact(t.Context(), []string{"+12055550142"}, "")
			require.NoError(t, err)
			require.True(t, found)
			_, err = leads.SyncLead(t.Context(), contact.ID, desire("apt_1"))
			require.NoError(t, err)
			assert.Equal(t, []string{"apt_1 active"}, db.appointments(contact.ID))
		})
	}
}

func TestSyncLeadWrapsTheErrorOfDesired(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, schemas["uuid"])
	contact := db.contact()
	db.lead(contact, "apt_1")
	leads := db.open()

	down := errors.New("the middleware database is down")
	_, err := leads.SyncLead(t.Context(), contact, func(context.Context) (verity.Desired, error) {
		return verity.Desired{AppointmentID: "apt_2"}, down
	})
	require.ErrorIs(t, err, down)
	_, classified := errors.AsType[*destination.Error](err)
	assert.False(t, classified, "it must not open the breaker of Verity's database")
	assert.Equal(t, []string{"apt_1"}, db.appointments(contact))
	assert.Zero(t, leads.Stat().AcquiredConns(), "the connection is returned to the pool")
}

func TestOpenLeads(t *testing.T) {
	t.Parallel()

	t.Run("does not repeat a URL that it cannot read", func(t *testing.T) {
		t.Parallel()
		for _, url := range []string{"postgres://ada:s3cret@host:port/db", "host=x password=s3cret port=s3cret", "s3cret"} {
			_, err := verity.OpenLeads(t.Context(), verity.LeadsConfig{URL: url})
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "s3cret")
		}
	})
	t.Run("sets timeouts for its sessions, which the URL overrides", func(t *testing.T) {
		t.Parallel()
		db := newDatabase(t, schemas["uuid"])
		const query = `SELECT concat_ws(' ', current_setting('application_name'), current_setting('statement_timeout'),
			current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'))`
		tests := map[string][]string{
			"verity-sync 8s 5s 15s": nil,
			"mine 1s 2s 3s": {
				"application_name", "mine", "statement_timeout", "1s", "lock_timeout", "2s", "idle_in_transaction_session_timeout", "3s",
			},
		}
		for want, settings := range tests {
			var got string
			require.NoError(t, db.open(settings...).Pool().QueryRow(t.Context(), query).Scan(&got))
			assert.Equal(t, want, got)
		}
	})
	t.Run("does not wait for a database that is down", func(t *testing.T) {
		t.Parallel()
		leads := openLeads(t, verity.LeadsConfig{URL: "postgres://ada:s3cret@127.0.0.1:1/verity"})
		_, _, err := leads.FindContact(t.Context(), nil, "ada@example.com")
		require.Error(t, err)
		assert.Equal(t, destination.Unavailable, destination.ClassOf(err))
		assert.Equal(t, "verity-db: cannot connect: connection refused", err.Error())
	})
}
