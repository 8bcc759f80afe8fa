package operation_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

// The notes of changes of a contact's phone number.
const (
	noteNewNumber    = "the phone number changed: Aloware has contact 70002 for the new number, and keeps contact 70001 for the former number"
	noteFormerNumber = "the phone number changed: Aloware has contact 70001 for the new number, and keeps contact 70002 for the former number"
	noteNumberKept   = "the phone number changed; with ALOWARE_ON_PHONE_CHANGE=keep, Aloware's contact is not changed"
)

// TestPhoneNumberOfAContactChanges runs events of a contact with different phone numbers. Aloware assigns the ids 70001, 70002, … in
// each test.
func TestPhoneNumberOfAContactChanges(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	type step struct {
		phone                      string
		hour                       int
		result, id, note, previous string
	}
	for name, test := range map[string]struct {
		keep  bool
		steps func(old, fresh string) []step
		// id, phone and former are stored at the end; atAloware is the number of contacts there.
		id, skipped string
		phone       func(old, fresh string) string
		former      []string
		atAloware   int
	}{
		"a new number creates another contact, and both ids are stored": {
			steps: func(old, fresh string) []step {
				return []step{{old, 1, "ContactSynced", "70001", "", ""}, {fresh, 2, "ContactSynced", "70002", noteNewNumber, "70001"}}
			},
			id: "70002", phone: func(_, fresh string) string { return fresh }, former: []string{"70001"}, atAloware: 2,
		},
		"a new number is reported once": {
			steps: func(old, fresh string) []step {
				return []step{
					{old, 1, "ContactSynced", "70001", "", ""}, {fresh, 2, "ContactSynced", "70002", noteNewNumber, "70001"},
					{fresh, 3, "ContactSynced", "70002", "", ""},
				}
			},
			id: "70002", phone: func(_, fresh string) string { return fresh }, former: []string{"70001"}, atAloware: 2,
		},
		"the former number restores the former contact": {
			steps: func(old, fresh string) []step {
				return []step{
					{old, 1, "ContactSynced", "70001", "", ""}, {fresh, 2, "ContactSynced", "70002", noteNewNumber, "70001"},
					{old, 3, "ContactSynced", "70001", noteFormerNumber, "70002"},
				}
			},
			id: "70001", phone: func(old, _ string) string { return old }, former: []string{"70002"}, atAloware: 2,
		},
		"the same number in another form is no change": {
			steps: func(old, _ string) []step {
				return []step{
					{old, 1, "ContactSynced", "70001", "", ""}, {"(" + old[2:5] + ") " + old[5:8] + "-" + old[8:], 2, "ContactSynced", "70001", "", ""},
				}
			},
			id: "70001", phone: func(old, _ string) string { return old }, atAloware: 1,
		},
		"a removed number does not change Aloware's contact": {
			steps: func(old, _ string) []step {
				return []step{{old, 1, "ContactSynced", "70001", "", ""}, {"", 2, "ContactSkipped", "", "", ""}}
			},
			skipped: "the contact has no phone number, and Aloware identifies contacts by phone number",
			id:      "70001", phone: func(old, _ string) string { return old }, atAloware: 1,
		},
		"an older event does not change the number": {
			steps: func(old, fresh string) []step {
				return []step{{old, 2, "ContactSynced", "70001", "", ""}, {fresh, 1, "Superseded", "", "", ""}}
			},
			id: "70001", phone: func(old, _ string) string { return old }, atAloware: 1,
		},
		"with keep, a new number does not change Aloware's contact": {
			keep: true,
			steps: func(old, fresh string) []step {
				return []step{
					{old, 1, "ContactSynced", "70001", "", ""}, {fresh, 2, "ContactSkipped", "", "", ""}, {fresh, 3, "ContactSkipped", "", "", ""},
				}
			},
			skipped: noteNumberKept,
			id:      "70001", phone: func(old, _ string) string { return old }, atAloware: 1,
		},
		"with keep, the former number is synced again": {
			keep: true,
			steps: func(old, fresh string) []step {
				return []step{
					{old, 1, "ContactSynced", "70001", "", ""}, {fresh, 2, "ContactSkipped", "", "", ""}, {old, 3, "ContactSynced", "70001", "", ""},
				}
			},
			skipped: noteNumberKept,
			id:      "70001", phone: func(old, _ string) string { return old }, atAloware: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, client := newAloware(t)
			x, y := env.newContact(), env.newContact()
			c := &operation.Contact{Store: env.store, Aloware: client, Breaker: closedBreaker("aloware"), Regions: inUS, KeepOnPhoneChange: test.keep}
			for i, s := range test.steps(x.phone, y.phone) {
				e := attempt(t, changed("ContactUpdate", x.ghl, s.hour, body{"phone": s.phone}))
				for range 2 { // The second run follows a crash before the outcome was recorded.
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
			m, err := env.store.Mapping(t.Context(), x.ghl)
			require.NoError(t, err)
			assert.Equal(t, test.id, m.AlowareContactID)
			assert.Equal(t, test.phone(x.phone, y.phone), m.AlowarePhone)
			assert.Equal(t, test.former, m.FormerAlowareContactIDs)
			assert.Len(t, sim.Contacts(), test.atAloware)
		})
	}
}

func TestAChangeOfAPhoneNumberIsDetectedDespiteOtherChanges(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	t.Run("a new number is reported although the first lookup of the id fails", func(t *testing.T) {
		t.Parallel()
		sim, client := newAloware(t)
		x, y := env.newContact(), env.newContact()
		c := &operation.Contact{Store: env.store, Aloware: client, Breaker: closedBreaker("aloware"), Regions: inUS}
		require.NoError(t, c.Run(t.Context(), attempt(t, changed("ContactCreate", x.ghl, 1, body{"phone": x.phone}))).Err)
		require.NoError(t, sim.Faults.Add(fault.Fault{Kind: fault.Answer, Method: "GET", Status: 503}))
		e := attempt(t, changed("ContactUpdate", x.ghl, 2, body{"phone": y.phone}))
		require.Error(t, c.Run(t.Context(), e).Err)
		out := c.Run(t.Context(), e)
		require.NoError(t, out.Err)
		assert.Equal(t, noteNewNumber, out.Note)
	})
	t.Run("two contacts exchange their numbers, and both changes are reported", func(t *testing.T) {
		t.Parallel()
		sim, client := newAloware(t)
		x, y := env.newContact(), env.newContact()
		c := &operation.Contact{Store: env.store, Aloware: client, Breaker: closedBreaker("aloware"), Regions: inUS}
		for i, event := range []struct{ id, phone, note string }{
			{x.ghl, x.phone, ""}, {y.ghl, y.phone, ""}, {x.ghl, y.phone, noteNewNumber}, {y.ghl, x.phone, noteFormerNumber},
		} {
			out := c.Run(t.Context(), attempt(t, changed("ContactUpdate", event.id, i+1, body{"phone": event.phone})))
			require.NoError(t, out.Err)
			assert.Equal(t, event.note, out.Note, i)
		}
		assert.Len(t, sim.Contacts(), 2)
	})
	t.Run("another contact for the same number is not reported as a new number", func(t *testing.T) {
		t.Parallel()
		sim, client := newAloware(t)
		x, y := env.newContact(), env.newContact()
		c := &operation.Contact{Store: env.store, Aloware: client, Breaker: closedBreaker("aloware"), Regions: inUS, KeepOnPhoneChange: true}
		require.NoError(t, c.Run(t.Context(), attempt(t, changed("ContactCreate", x.ghl, 1, body{"phone": x.phone}))).Err)
		sim.DeleteContacts()
		require.NoError(t, c.Run(t.Context(), attempt(t, changed("ContactCreate", y.ghl, 2, body{"phone": y.phone}))).Err)
		out := c.Run(t.Context(), attempt(t, changed("ContactUpdate", x.ghl, 3, body{"phone": x.phone})))
		require.NoError(t, out.Err)
		assert.Equal(t, "Aloware now has contact 70002 for the phone number, in place of contact 70001", out.Note)
		assert.Equal(t, "70001", out.Details["previousAlowareContactID"])
	})
	t.Run("a new number is detected although an appointment reported it first", func(t *testing.T) {
		t.Parallel()
		_, client := newAloware(t)
		x, y := env.newContact(), env.newContact()
		c := &operation.Contact{Store: env.store, Aloware: client, Breaker: closedBreaker("aloware"), Regions: inUS}
		require.NoError(t, c.Run(t.Context(), attempt(t, changed("ContactCreate", x.ghl, 1, body{"phone": x.phone}))).Err)
		require.NoError(t, env.store.RememberContact(t.Context(), store.Mapping{GHLContactID: x.ghl, Phone: y.phone}, at(2)))
		out := c.Run(t.Context(), attempt(t, changed("ContactUpdate", x.ghl, 3, body{"phone": y.phone})))
		require.NoError(t, out.Err)
		assert.Equal(t, noteNewNumber, out.Note)
	})
	t.Run("a new number is detected if an earlier release or the legacy middleware stored the former one as typed", func(t *testing.T) {
		t.Parallel()
		_, client := newAloware(t)
		x, y := env.newContact(), env.newContact()
		c := &operation.Contact{Store: env.store, Aloware: client, Breaker: closedBreaker("aloware"), Regions: inUS, KeepOnPhoneChange: true}
		_, err := env.store.Pool().Exec(t.Context(), `INSERT INTO contact_mappings (ghl_contact_id, phone_number, aloware_contact_id) VALUES ($1, $2, '4711')`,
			x.ghl, x.phone[2:])
		require.NoError(t, err)
		out := c.Run(t.Context(), attempt(t, changed("ContactUpdate", x.ghl, 1, body{"phone": y.phone})))
		require.NoError(t, out.Err)
		assert.Equal(t, noteNumberKept, out.Skipped)
		assert.Equal(t, "4711", out.Details["alowareContactID"])
		out = c.Run(t.Context(), attempt(t, changed("ContactUpdate", x.ghl, 2, body{"phone": x.phone})))
		require.NoError(t, out.Err)
		assert.Equal(t, "ContactSynced", out.Result)
	})
}
