package operation_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// step is an event, what it leads to, and the leads after it. Leads were last active years ago when it comes.
type step struct {
	event  body
	result string
	leads  []string
}

// TestLeadFollowsItsAppointments tells stories of the contact x and its appointments a and b.
func TestLeadFollowsItsAppointments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	byDefault, clearAll, keepAll := store.EndPolicy{Deletion: true}, store.EndPolicy{Deletion: true, Cancellation: true}, store.EndPolicy{}
	tests := map[string]struct {
		endings store.EndPolicy
		// leads are what the contact's leads point at before; "" is none.
		leads []string
		steps func(a, b, x string) []step
	}{
		"a booking makes a lead": {byDefault, nil, func(a, _, x string) []step {
			return []step{{booked(a, x, 1), "LeadInserted", []string{a + " active"}}}
		}},
		"a booking has all leads of the contact point at it": {byDefault, []string{"", "before"}, func(a, _, x string) []step {
			return []step{{booked(a, x, 1), "LeadUpdated", []string{a + " active", a + " active"}}}
		}},
		"a reschedule is activity": {byDefault, nil, func(a, _, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{booked(a, x, 2), "LeadUpdated", []string{a + " active"}},
			}
		}},
		"the later booking counts, whatever happens to the earlier one after it": {byDefault, nil, func(a, b, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{booked(b, x, 2), "LeadUpdated", []string{b + " active"}},
				{updated(a, x, 3, "showed"), "LeadUpdated", []string{b + " active"}},
			}
		}},
		"the later booking counts, also where it comes first": {byDefault, nil, func(a, b, x string) []step {
			return []step{
				{booked(b, x, 2), "LeadInserted", []string{b + " active"}},
				{booked(a, x, 1), "LeadUpdated", []string{b + " active"}},
			}
		}},
		"an older event changes nothing, and is no activity": {byDefault, nil, func(a, _, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{updated(a, x, 5, "showed"), "LeadUpdated", []string{a + " active"}},
				{updated(a, x, 3, "cancelled"), "Superseded", []string{a}},
				{updated(a, x, 0, "confirmed"), "Superseded", []string{a}},
			}
		}},
		"an older event by which the other one is the later booking": {byDefault, nil, func(a, b, x string) []step {
			return []step{
				{booked(b, x, 2), "LeadInserted", []string{b + " active"}},
				{booked(a, x, 3), "LeadUpdated", []string{a + " active"}},
				{booked(a, x, 1), "LeadUpdated", []string{b + " active"}},
				{booked(a, x, 1), "Superseded", []string{b}},
			}
		}},
		"a change of an appointment that is not known takes no lead from a booking": {byDefault, nil, func(a, b, x string) []step {
			return []step{
				{booked(b, x, 2), "LeadInserted", []string{b + " active"}},
				{updated(a, x, 3, "confirmed"), "LeadUpdated", []string{b + " active"}},
				{booked(a, x, 1), "Superseded", []string{b}},
			}
		}},
		"a cancelled one stays by default": {byDefault, nil, func(a, _, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{updated(a, x, 2, "cancelled"), "LeadUpdated", []string{a + " active"}},
			}
		}},
		"a cancelled one is cleared where that is wanted, until it is booked again": {clearAll, nil, func(a, _, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{updated(a, x, 2, "cancelled"), "LeadCleared", []string{"none active"}},
				{updated(a, x, 3, ""), "LeadUnchanged", []string{"none"}},
				{updated(a, x, 4, "confirmed"), "LeadUpdated", []string{a + " active"}},
			}
		}},
		"a cancellation that only an older event tells of": {clearAll, nil, func(a, _, x string) []step {
			return []step{
				{updated(a, x, 3, ""), "LeadInserted", []string{a + " active"}},
				{updated(a, x, 2, "cancelled"), "LeadCleared", []string{"none active"}},
				{updated(a, x, 1, "confirmed"), "Superseded", []string{"none"}},
			}
		}},
		"a deleted one gives way to the one before": {byDefault, nil, func(a, b, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{booked(b, x, 2), "LeadUpdated", []string{b + " active"}},
				{deleted(b, x, 3), "LeadUpdated", []string{a + " active"}},
				{deleted(a, x, 4), "LeadCleared", []string{"none active"}},
			}
		}},
		"a deleted one that no lead points at changes nothing": {byDefault, nil, func(a, b, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{booked(b, x, 2), "LeadUpdated", []string{b + " active"}},
				{deleted(a, x, 3), "LeadUnchanged", []string{b}},
			}
		}},
		"a deletion that comes first keeps the booking from being one": {byDefault, nil, func(a, _, x string) []step {
			return []step{
				{deleted(a, x, 3), "LeadUnchanged", []string{}},
				{booked(a, x, 1), "Superseded", []string{}},
			}
		}},
		"a deletion wins at the same instant": {byDefault, nil, func(a, _, x string) []step {
			return []step{
				{deleted(a, x, 1), "LeadUnchanged", []string{}},
				{booked(a, x, 1), "Superseded", []string{}},
			}
		}},
		"a deletion counts, though a workflow's post comes after it": {byDefault, nil, func(a, _, x string) []step {
			return []step{
				{workflow(a, body{"contact_id": x}), "LeadInserted", []string{a + " active"}},
				{deleted(a, x, 3), "LeadCleared", []string{"none active"}},
				{workflow(a, body{"contact_id": x}), "LeadUnchanged", []string{"none"}},
			}
		}},
		"a deletion of what was booked before verity-sync came": {byDefault, []string{"a", "somebody else's"}, func(_, _, x string) []step {
			return []step{{deleted("a", x, 3), "LeadCleared", []string{"none active", "somebody else's"}}}
		}},
		"a deleted one stays where that is wanted": {keepAll, nil, func(a, _, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{deleted(a, x, 2), "LeadUpdated", []string{a + " active"}},
			}
		}},
		"an end is no booking": {keepAll, []string{"before"}, func(a, b, x string) []step {
			return []step{
				{updated(a, x, 2, "cancelled"), "LeadUnchanged", []string{"before"}},
				{deleted(b, x, 2), "LeadUnchanged", []string{"before"}},
				{booked(a, x, 1), "LeadUpdated", []string{a + " active"}},
			}
		}},
		"events that do not say when count as of when they came": {byDefault, nil, func(a, b, x string) []step {
			return []step{
				{workflow(a, body{"contact_id": x}), "LeadInserted", []string{a + " active"}},
				{workflow(b, body{"contact_id": x}), "LeadUpdated", []string{b + " active"}},
				{workflow(a, body{"contact_id": x}), "LeadUpdated", []string{b + " active"}},
				{booked(b, x, 1), "LeadUpdated", []string{a + " active"}},
			}
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := w.contact()
			for _, appointment := range tt.leads {
				_, err := w.verity.AddLead(t.Context(), x.verity, appointment)
				require.NoError(t, err)
			}
			lead := w.lead()
			lead.EndPolicy = tt.endings
			for i, step := range tt.steps(w.appointment(), w.appointment(), x.ghl) {
				w.rest(x.verity)
				e := claimed(t, step.event)
				out := lead.Run(t.Context(), e)
				require.NoError(t, out.Err)
				assert.Equal(t, step.result, out.Result, "step %d", i)
				assert.Equal(t, step.leads, w.leadsOf(x.verity), "step %d", i)

				require.NoError(t, lead.Run(t.Context(), e).Err)
				assert.Equal(t, step.leads, w.leadsOf(x.verity), "step %d, repeated", i)
			}
		})
	}
}

func TestLeadRefusesAnEventThatNamesNoAppointment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out := w.lead().Run(t.Context(), claimed(t, body{"type": "AppointmentCreate", "contactId": "x"}))
	assert.Equal(t, "InvalidPayload", out.Reason)
	assert.Equal(t, destination.Permanent, destination.ClassOf(out.Err))
	assert.Equal(t, "payload: it names no appointment", out.Err.Error())
}

func TestAnAppointmentMovesFromOneContactToAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := func(t *testing.T, b body) string {
		t.Helper()
		out := w.lead().Run(t.Context(), claimed(t, b))
		require.NoError(t, out.Err)
		return out.Result
	}

	t.Run("both contacts' leads follow", func(t *testing.T) {
		t.Parallel()
		x, y, a, b := w.contact(), w.contact(), w.appointment(), w.appointment()
		run(t, booked(b, x.ghl, 1))
		run(t, booked(a, x.ghl, 2))
		assert.Equal(t, "LeadInserted", run(t, updated(a, y.ghl, 3, "confirmed")))
		assert.Equal(t, []string{b + " active"}, w.leadsOf(x.verity))
		assert.Equal(t, []string{a + " active"}, w.leadsOf(y.verity))

		assert.Equal(t, "LeadUpdated", run(t, updated(b, y.ghl, 4, "confirmed")))
		assert.Equal(t, []string{"none active"}, w.leadsOf(x.verity))
		assert.Equal(t, []string{a + " active"}, w.leadsOf(y.verity))
	})
	t.Run("also where the first contact's event comes last", func(t *testing.T) {
		t.Parallel()
		x, y, a := w.contact(), w.contact(), w.appointment()
		run(t, updated(a, y.ghl, 3, "confirmed"))
		w.rest(y.verity)
		assert.Equal(t, "Superseded", run(t, booked(a, x.ghl, 1)))
		assert.Empty(t, w.leadsOf(x.verity))
		assert.Equal(t, []string{a}, w.leadsOf(y.verity))
	})
	t.Run("the first contact's lead does not wait for the second contact to be found", func(t *testing.T) {
		t.Parallel()
		x, y, a := w.contact(), w.stranger(), w.appointment()
		run(t, booked(a, x.ghl, 1))
		out := w.lead().Run(t.Context(), claimed(t, updated(a, y.ghl, 2, "confirmed")))
		assert.Equal(t, "ContactNotFound", out.Reason)
		assert.Equal(t, []string{"none active"}, w.leadsOf(x.verity))
	})
	t.Run("a contact that turns out to be another one of Verity takes all its appointments along", func(t *testing.T) {
		t.Parallel()
		x, a, b := w.stranger(), w.appointment(), w.appointment()
		relative := w.inVerity("", x.email)
		w.remember(x.ghl, x.phone, x.email)
		run(t, booked(a, x.ghl, 1))
		assert.Equal(t, []string{a + " active"}, w.leadsOf(relative))

		own := w.inVerity(x.phone, "")
		run(t, booked(b, x.ghl, 2))
		assert.Equal(t, []string{"none active"}, w.leadsOf(relative))
		assert.Equal(t, []string{b + " active"}, w.leadsOf(own))
		run(t, deleted(b, x.ghl, 3))
		assert.Equal(t, []string{a + " active"}, w.leadsOf(own))
	})
	t.Run("what another contact of GoHighLevel has with the same contact of Verity stays", func(t *testing.T) {
		t.Parallel()
		x, y, twin, a, b := w.contact(), w.contact(), w.stranger(), w.appointment(), w.appointment()
		w.remember(twin.ghl, x.phone, "")
		run(t, booked(a, x.ghl, 1))
		run(t, booked(b, twin.ghl, 2))
		assert.Equal(t, []string{b + " active"}, w.leadsOf(x.verity))
		run(t, updated(b, y.ghl, 3, "confirmed"))
		assert.Equal(t, []string{a + " active"}, w.leadsOf(x.verity))
		assert.Equal(t, []string{b + " active"}, w.leadsOf(y.verity))
	})
	t.Run("an end is for the contact whose lead was written, whoever could be found now", func(t *testing.T) {
		t.Parallel()
		x, a := w.contact(), w.appointment()
		run(t, booked(a, x.ghl, 1))
		_, err := w.pool.Exec(t.Context(), `UPDATE contacts SET phone_e164 = NULL, email = NULL WHERE id = $1`, x.verity)
		require.NoError(t, err)
		assert.Equal(t, "LeadCleared", run(t, deleted(a, x.ghl, 2)))
		assert.Equal(t, []string{"none active"}, w.leadsOf(x.verity))
	})
	t.Run("a contact that Verity has deleted holds nobody up", func(t *testing.T) {
		t.Parallel()
		x, twin, a, b := w.contact(), w.stranger(), w.appointment(), w.appointment()
		w.remember(twin.ghl, x.phone, "")
		run(t, booked(a, x.ghl, 1))
		run(t, booked(b, twin.ghl, 2))
		_, err := w.pool.Exec(t.Context(), `DELETE FROM contacts WHERE id = $1`, x.verity)
		require.NoError(t, err)
		merged := w.inVerity(x.phone, "")
		assert.Equal(t, "LeadInserted", run(t, booked(a, x.ghl, 3)))
		assert.Equal(t, []string{a + " active"}, w.leadsOf(merged))
		assert.Equal(t, "LeadUpdated", run(t, booked(b, twin.ghl, 4)))
		assert.Equal(t, []string{b + " active"}, w.leadsOf(merged))
	})
}

// brokenLeads is a Verity in which no lead can be written while fail is set.
type brokenLeads struct {
	*verity.Leads
	fail error
}

func (b *brokenLeads) SyncLead(
	ctx context.Context, id string, desired func(context.Context) (verity.Desired, error),
) (verity.Result, error) {
	if b.fail != nil {
		return verity.Result{}, b.fail
	}
	return b.Leads.SyncLead(ctx, id, desired)
}

func TestALeadThatCouldNotBeWrittenIsWrittenByWhoeverComesNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	died := errors.New("the process died")
	for name, hour := range map[string]int{"an older event": 1, "the same event": 2, "a newer event": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, a := w.contact(), w.appointment()
			leads := &brokenLeads{w.leads, died}
			lead := w.lead()
			lead.Leads = leads
			e := claimed(t, booked(a, x.ghl, 2))
			require.ErrorIs(t, lead.Run(t.Context(), e).Err, died)
			leads.fail = nil
			if hour != 2 {
				e = claimed(t, booked(a, x.ghl, hour))
			}
			out := lead.Run(t.Context(), e)
			require.NoError(t, out.Err)
			assert.Equal(t, "LeadInserted", out.Result)
			assert.Equal(t, []string{a + " active"}, w.leadsOf(x.verity))
		})
	}

	t.Run("an older event that dies before it has written what it changes does so when it is run again", func(t *testing.T) {
		t.Parallel()
		x, a, b := w.contact(), w.appointment(), w.appointment()
		leads := &brokenLeads{Leads: w.leads}
		lead := w.lead()
		lead.Leads = leads
		require.NoError(t, lead.Run(t.Context(), claimed(t, booked(b, x.ghl, 2))).Err)
		require.NoError(t, lead.Run(t.Context(), claimed(t, booked(a, x.ghl, 3))).Err)
		assert.Equal(t, []string{a + " active"}, w.leadsOf(x.verity))

		leads.fail = died
		older := claimed(t, booked(a, x.ghl, 1))
		require.ErrorIs(t, lead.Run(t.Context(), older).Err, died)
		leads.fail = nil
		assert.Equal(t, "LeadUpdated", lead.Run(t.Context(), older).Result)
		assert.Equal(t, []string{b + " active"}, w.leadsOf(x.verity))
		w.rest(x.verity)
		assert.Equal(t, "Superseded", lead.Run(t.Context(), older).Result)
		assert.Equal(t, []string{b}, w.leadsOf(x.verity))
	})
}

func TestFailuresOfLead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)

	t.Run("Verity is down: the event is told how long to wait", func(t *testing.T) {
		t.Parallel()
		x := w.contact()
		lead := w.lead()
		lead.Breaker = destination.NewBreaker("verity-db", destination.BreakerOptions{Failures: 1})
		lead.Leads = &brokenLeads{w.leads, &destination.Error{Destination: "verity-db", Class: destination.Unavailable, Message: "down"}}
		out := lead.Run(t.Context(), claimed(t, booked(w.appointment(), x.ghl, 1)))
		assert.Equal(t, destination.Unavailable, destination.ClassOf(out.Err))
		assert.Positive(t, out.Wait)
		assert.False(t, out.NotYet)
		assert.Equal(t, map[string]any{"contactIdFrom": "payload", "detailsFrom": "mapping", "matchedBy": "phone"}, out.Details)
	})
	t.Run("the middleware database is down: it says nothing about Verity, and nothing of what it was given", func(t *testing.T) {
		t.Parallel()
		x := w.contact()
		lead := w.lead()
		lead.Breaker = destination.NewBreaker("verity-db", destination.BreakerOptions{Failures: 1})
		lead.Store = unreadable{w.store}
		out := lead.Run(t.Context(), claimed(t, booked(w.appointment(), x.ghl, 1)))
		require.Error(t, out.Err)
		assert.Equal(t, "middleware database: it is not available", out.Err.Error())
		assert.Equal(t, destination.Transient, destination.ClassOf(out.Err))
		assert.Zero(t, out.Wait)
		assert.True(t, lead.Breaker.Up())
	})
}

// unreadable is a store that does not say what a lead follows from.
type unreadable struct{ *store.Store }

func (unreadable) AppointmentsOfContact(context.Context, string, store.EndPolicy) (store.ContactAppointments, error) {
	return store.ContactAppointments{}, errors.New("no answer for ada@example.com")
}
