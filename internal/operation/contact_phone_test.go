package operation_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

// TestAContactWithANewPhoneNumber has the phone number of a contact change. Aloware gives the contacts of each test the ids 70001, 70002, …
func TestAContactWithANewPhoneNumber(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const (
		second = "the phone number changed: Aloware has contact 70002 for the new number, and keeps contact 70001 for the former number"
		back   = "the phone number changed: Aloware has contact 70001 for the new number, and keeps contact 70002 for the former number"
		keeps  = "the phone number changed; with ALOWARE_ON_PHONE_CHANGE=keep, Aloware's contact is not changed"
	)
	type step struct {
		phone                      string
		hour                       int
		result, id, note, previous string
	}
	for name, test := range map[string]struct {
		keep  bool
		steps func(old, fresh string) []step
		// id, phone and former are what is kept in the end, at Aloware how many contacts it has.
		id, skipped string
		phone       func(old, fresh string) string
		former      []string
		atAloware   int
	}{
		"has another contact at Aloware, which is reported, and both are known": {
			steps: func(old, fresh string) []step {
				return []step{{old, 1, "ContactSynced", "70001", "", ""}, {fresh, 2, "ContactSynced", "70002", second, "70001"}}
			},
			id: "70002", phone: func(_, fresh string) string { return fresh }, former: []string{"70001"}, atAloware: 2,
		},
		"is reported once": {
			steps: func(old, fresh string) []step {
				return []step{
					{old, 1, "ContactSynced", "70001", "", ""}, {fresh, 2, "ContactSynced", "70002", second, "70001"},
					{fresh, 3, "ContactSynced", "70002", "", ""},
				}
			},
			id: "70002", phone: func(_, fresh string) string { return fresh }, former: []string{"70001"}, atAloware: 2,
		},
		"that changes back has its first contact again": {
			steps: func(old, fresh string) []step {
				return []step{
					{old, 1, "ContactSynced", "70001", "", ""}, {fresh, 2, "ContactSynced", "70002", second, "70001"},
					{old, 3, "ContactSynced", "70001", back, "70002"},
				}
			},
			id: "70001", phone: func(old, _ string) string { return old }, former: []string{"70002"}, atAloware: 2,
		},
		"that is the same in another form has none": {
			steps: func(old, _ string) []step {
				return []step{
					{old, 1, "ContactSynced", "70001", "", ""}, {"(" + old[2:5] + ") " + old[5:8] + "-" + old[8:], 2, "ContactSynced", "70001", "", ""},
				}
			},
			id: "70001", phone: func(old, _ string) string { return old }, atAloware: 1,
		},
		"that is taken away leaves Aloware's contact": {
			steps: func(old, _ string) []step {
				return []step{{old, 1, "ContactSynced", "70001", "", ""}, {"", 2, "ContactSkipped", "", "", ""}}
			},
			skipped: "the contact has no phone number, and Aloware identifies contacts by phone number",
			id:      "70001", phone: func(old, _ string) string { return old }, atAloware: 1,
		},
		"in an older event that comes late changes nothing": {
			steps: func(old, fresh string) []step {
				return []step{{old, 2, "ContactSynced", "70001", "", ""}, {fresh, 1, "Superseded", "", "", ""}}
			},
			id: "70001", phone: func(old, _ string) string { return old }, atAloware: 1,
		},
		"leaves Aloware alone where the configuration says so": {
			keep: true,
			steps: func(old, fresh string) []step {
				return []step{
					{old, 1, "ContactSynced", "70001", "", ""}, {fresh, 2, "ContactSkipped", "", "", ""}, {fresh, 3, "ContactSkipped", "", "", ""},
				}
			},
			skipped: keeps,
			id:      "70001", phone: func(old, _ string) string { return old }, atAloware: 1,
		},
		"is synced again where it changes back, also where the configuration says to keep": {
			keep: true,
			steps: func(old, fresh string) []step {
				return []step{
					{old, 1, "ContactSynced", "70001", "", ""}, {fresh, 2, "ContactSkipped", "", "", ""}, {old, 3, "ContactSynced", "70001", "", ""},
				}
			},
			skipped: keeps,
			id:      "70001", phone: func(old, _ string) string { return old }, atAloware: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, client := newAloware(t)
			x, y := w.stranger(), w.stranger()
			c := &operation.Contact{Store: w.store, Aloware: client, Breaker: patient("aloware"), Regions: inUS, KeepOnPhoneChange: test.keep}
			for i, s := range test.steps(x.phone, y.phone) {
				e := claimed(t, changed("ContactUpdate", x.ghl, s.hour, body{"phone": s.phone}))
				for range 2 { // Again, as after a crash that nobody recorded.
					out := c.Run(t.Context(), e)
					require.NoError(t, out.Err)
					assert.Equal(t, s.result, out.Result, "step %d", i)
					assert.Equal(t, s.id, out.TargetID, "step %d", i)
					assert.Equal(t, s.note, out.Note, "step %d", i)
					if s.result == "ContactSkipped" {
						assert.Equal(t, test.skipped, out.Skipped)
					}
					if s.previous == "" {
						assert.NotContains(t, out.Details, "previousAlowareContactID", "step %d", i)
					} else {
						assert.Equal(t, s.previous, out.Details["previousAlowareContactID"], "step %d", i)
						assert.Equal(t, s.note, out.Details["because"], "step %d", i)
					}
				}
			}
			m, err := w.store.Mapping(t.Context(), x.ghl)
			require.NoError(t, err)
			assert.Equal(t, test.id, m.AlowareContactID)
			assert.Equal(t, test.phone(x.phone, y.phone), m.AlowarePhone)
			assert.Equal(t, test.former, m.FormerAlowareContactIDs)
			assert.Len(t, sim.Contacts(), test.atAloware)
		})
	}

	t.Run("is reported though Aloware would not say the id at first", func(t *testing.T) {
		t.Parallel()
		sim, client := newAloware(t)
		x, y := w.stranger(), w.stranger()
		c := &operation.Contact{Store: w.store, Aloware: client, Breaker: patient("aloware"), Regions: inUS}
		require.NoError(t, c.Run(t.Context(), claimed(t, changed("ContactCreate", x.ghl, 1, body{"phone": x.phone}))).Err)
		require.NoError(t, sim.Faults.Add(fault.Fault{Kind: fault.Answer, Method: "GET", Status: 503}))
		e := claimed(t, changed("ContactUpdate", x.ghl, 2, body{"phone": y.phone}))
		require.Error(t, c.Run(t.Context(), e).Err)
		out := c.Run(t.Context(), e)
		require.NoError(t, out.Err)
		assert.Equal(t, second, out.Note)
	})
	t.Run("that was another contact's is reported for both", func(t *testing.T) {
		t.Parallel()
		sim, client := newAloware(t)
		x, y := w.stranger(), w.stranger()
		c := &operation.Contact{Store: w.store, Aloware: client, Breaker: patient("aloware"), Regions: inUS}
		for i, said := range []struct{ id, phone, note string }{
			{x.ghl, x.phone, ""}, {y.ghl, y.phone, ""}, {x.ghl, y.phone, second}, {y.ghl, x.phone, back},
		} {
			out := c.Run(t.Context(), claimed(t, changed("ContactUpdate", said.id, i+1, body{"phone": said.phone})))
			require.NoError(t, out.Err)
			assert.Equal(t, said.note, out.Note, i)
		}
		assert.Len(t, sim.Contacts(), 2)
	})
	t.Run("is not what happened where Aloware has another contact for the same number", func(t *testing.T) {
		t.Parallel()
		sim, client := newAloware(t)
		x, y := w.stranger(), w.stranger()
		c := &operation.Contact{Store: w.store, Aloware: client, Breaker: patient("aloware"), Regions: inUS, KeepOnPhoneChange: true}
		require.NoError(t, c.Run(t.Context(), claimed(t, changed("ContactCreate", x.ghl, 1, body{"phone": x.phone}))).Err)
		sim.DeleteContacts()
		require.NoError(t, c.Run(t.Context(), claimed(t, changed("ContactCreate", y.ghl, 2, body{"phone": y.phone}))).Err)
		out := c.Run(t.Context(), claimed(t, changed("ContactUpdate", x.ghl, 3, body{"phone": x.phone})))
		require.NoError(t, out.Err)
		assert.Equal(t, "Aloware now has contact 70002 for the phone number, in place of contact 70001", out.Note)
		assert.Equal(t, "70001", out.Details["previousAlowareContactID"])
	})
	t.Run("is noticed though an appointment told it first", func(t *testing.T) {
		t.Parallel()
		_, client := newAloware(t)
		x, y := w.stranger(), w.stranger()
		c := &operation.Contact{Store: w.store, Aloware: client, Breaker: patient("aloware"), Regions: inUS}
		require.NoError(t, c.Run(t.Context(), claimed(t, changed("ContactCreate", x.ghl, 1, body{"phone": x.phone}))).Err)
		require.NoError(t, w.store.RememberContact(t.Context(), store.Mapping{GHLContactID: x.ghl, Phone: y.phone}, at(2)))
		out := c.Run(t.Context(), claimed(t, changed("ContactUpdate", x.ghl, 3, body{"phone": y.phone})))
		require.NoError(t, out.Err)
		assert.Equal(t, second, out.Note)
	})
	t.Run("is noticed for what an earlier release or the legacy middleware synced, as it was typed", func(t *testing.T) {
		t.Parallel()
		_, client := newAloware(t)
		x, y := w.stranger(), w.stranger()
		c := &operation.Contact{Store: w.store, Aloware: client, Breaker: patient("aloware"), Regions: inUS, KeepOnPhoneChange: true}
		_, err := w.store.Pool().Exec(t.Context(), `INSERT INTO contact_mappings (ghl_contact_id, phone_number, aloware_contact_id) VALUES ($1, $2, '4711')`,
			x.ghl, x.phone[2:])
		require.NoError(t, err)
		out := c.Run(t.Context(), claimed(t, changed("ContactUpdate", x.ghl, 1, body{"phone": y.phone})))
		require.NoError(t, out.Err)
		assert.Equal(t, keeps, out.Skipped)
		assert.Equal(t, "4711", out.Details["alowareContactID"])
		out = c.Run(t.Context(), claimed(t, changed("ContactUpdate", x.ghl, 2, body{"phone": x.phone})))
		require.NoError(t, out.Err)
		assert.Equal(t, "ContactSynced", out.Result)
	})
}
