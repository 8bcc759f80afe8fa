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

// step is an event, its result, and the leads after it. Before it, the leads' last activity is set to years ago.
type step struct {
	event  body
	result string
	leads  []string
}

// TestLeadFollowsItsAppointments runs events of the contact x and its appointments a and b.
func TestLeadFollowsItsAppointments(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	byDefault, clearAll, keepAll := store.EndPolicy{Deletion: true}, store.EndPolicy{Deletion: true, Cancellation: true}, store.EndPolicy{}
	tests := map[string]struct {
		policy store.EndPolicy
		// leads are the appointments that the contact's leads point at before; "" is none.
		leads []string
		steps func(a, b, x string) []step
	}{
		"a booking inserts a lead": {byDefault, nil, func(a, _, x string) []step {
			return []step{{booked(a, x, 1), "LeadInserted", []string{a + " active"}}}
		}},
		"all leads of the contact follow a booking": {byDefault, []string{"", "before"}, func(a, _, x string) []step {
			return []step{{booked(a, x, 1), "LeadUpdated", []string{a + " active", a + " active"}}}
		}},
		"a reschedule is activity": {byDefault, nil, func(a, _, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{booked(a, x, 2), "LeadUpdated", []string{a + " active"}},
			}
		}},
		"the later booking counts, even after an update of the earlier one": {byDefault, nil, func(a, b, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{booked(b, x, 2), "LeadUpdated", []string{b + " active"}},
				{updated(a, x, 3, "showed"), "LeadUpdated", []string{b + " active"}},
			}
		}},
		"the later booking counts, even if it arrives first": {byDefault, nil, func(a, b, x string) []step {
			return []step{
				{booked(b, x, 2), "LeadInserted", []string{b + " active"}},
				{booked(a, x, 1), "LeadUpdated", []string{b + " active"}},
			}
		}},
		"an older event changes nothing and is no activity": {byDefault, nil, func(a, _, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{updated(a, x, 5, "showed"), "LeadUpdated", []string{a + " active"}},
				{updated(a, x, 3, "cancelled"), "Superseded", []string{a}},
				{updated(a, x, 0, "confirmed"), "Superseded", []string{a}},
			}
		}},
		"an older event makes the other appointment the later booking": {byDefault, nil, func(a, b, x string) []step {
			return []step{
				{booked(b, x, 2), "LeadInserted", []string{b + " active"}},
				{booked(a, x, 3), "LeadUpdated", []string{a + " active"}},
				{booked(a, x, 1), "LeadUpdated", []string{b + " active"}},
				{booked(a, x, 1), "Superseded", []string{b}},
			}
		}},
		"an update of an unknown appointment takes no lead from a booking": {byDefault, nil, func(a, b, x string) []step {
			return []step{
				{booked(b, x, 2), "LeadInserted", []string{b + " active"}},
				{updated(a, x, 3, "confirmed"), "LeadUpdated", []string{b + " active"}},
				{booked(a, x, 1), "Superseded", []string{b}},
			}
		}},
		"a cancelled appointment keeps its lead by default": {byDefault, nil, func(a, _, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{updated(a, x, 2, "cancelled"), "LeadUpdated", []string{a + " active"}},
			}
		}},
		"with clear, a cancelled appointment loses its lead until it is confirmed again": {clearAll, nil, func(a, _, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{updated(a, x, 2, "cancelled"), "LeadCleared", []string{"none active"}},
				{updated(a, x, 3, ""), "LeadUnchanged", []string{"none"}},
				{updated(a, x, 4, "confirmed"), "LeadUpdated", []string{a + " active"}},
			}
		}},
		"an older event reports the cancellation": {clearAll, nil, func(a, _, x string) []step {
			return []step{
				{updated(a, x, 3, ""), "LeadInserted", []string{a + " active"}},
				{updated(a, x, 2, "cancelled"), "LeadCleared", []string{"none active"}},
				{updated(a, x, 1, "confirmed"), "Superseded", []string{"none"}},
			}
		}},
		"the lead of a deleted appointment follows the previous one": {byDefault, nil, func(a, b, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{booked(b, x, 2), "LeadUpdated", []string{b + " active"}},
				{deleted(b, x, 3), "LeadUpdated", []string{a + " active"}},
				{deleted(a, x, 4), "LeadCleared", []string{"none active"}},
			}
		}},
		"a deletion of an appointment without a lead changes nothing": {byDefault, nil, func(a, b, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{booked(b, x, 2), "LeadUpdated", []string{b + " active"}},
				{deleted(a, x, 3), "LeadUnchanged", []string{b}},
			}
		}},
		"a deletion that arrives before the booking supersedes it": {byDefault, nil, func(a, _, x string) []step {
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
		"a deletion counts, even if a workflow's webhook arrives after it": {byDefault, nil, func(a, _, x string) []step {
			return []step{
				{workflow(a, body{"contact_id": x}), "LeadInserted", []string{a + " active"}},
				{deleted(a, x, 3), "LeadCleared", []string{"none active"}},
				{workflow(a, body{"contact_id": x}), "LeadUnchanged", []string{"none"}},
			}
		}},
		"a deletion of an appointment that is not stored": {byDefault, []string{"a", "another"}, func(_, _, x string) []step {
			return []step{{deleted("a", x, 3), "LeadCleared", []string{"another", "none active"}}}
		}},
		"with keep, a deleted appointment keeps its lead": {keepAll, nil, func(a, _, x string) []step {
			return []step{
				{booked(a, x, 1), "LeadInserted", []string{a + " active"}},
				{deleted(a, x, 2), "LeadUpdated", []string{a + " active"}},
			}
		}},
		"a deletion or cancellation is no booking": {keepAll, []string{"before"}, func(a, b, x string) []step {
			return []step{
				{updated(a, x, 2, "cancelled"), "LeadUnchanged", []string{"before"}},
				{deleted(b, x, 2), "LeadUnchanged", []string{"before"}},
				{booked(a, x, 1), "LeadUpdated", []string{a + " active"}},
			}
		}},
		"an event without a time counts as of its receipt": {byDefault, nil, func(a, b, x string) []step {
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
			x := env.contact()
			for _, appointment := range tt.leads {
				_, err := env.verity.AddLead(t.Context(), x.verity, appointment)
				require.NoError(t, err)
			}
			lead := env.lead()
			lead.EndPolicy = tt.policy
			for i, step := range tt.steps(env.appointment(), env.appointment(), x.ghl) {
				env.ageLeads(x.verity)
				e := attempt(t, step.event)
				out := lead.Run(t.Context(), e)
				require.NoError(t, out.Err)
				assert.Equal(t, step.result, out.Result, "step %d", i)
				assert.Equal(t, step.leads, env.leadsOf(x.verity), "step %d", i)

				require.NoError(t, lead.Run(t.Context(), e).Err)
				assert.Equal(t, step.leads, env.leadsOf(x.verity), "step %d, repeated", i)
			}
		})
	}
}

func TestLeadRejectsAnEventWithoutAnAppointment(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	out := env.lead().Run(t.Context(), attempt(t, body{"type": "AppointmentCreate", "contactId": "x"}))
	assert.Equal(t, "InvalidPayload", out.Reason)
	assert.Equal(t, destination.Permanent, destination.ClassOf(out.Err))
	assert.Equal(t, "payload: it names no appointment", out.Err.Error())
}

func TestAppointmentMovesToAnotherContact(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	run := func(t *testing.T, b body) string {
		t.Helper()
		out := env.lead().Run(t.Context(), attempt(t, b))
		require.NoError(t, out.Err)
		return out.Result
	}

	t.Run("the leads of both contacts follow", func(t *testing.T) {
		t.Parallel()
		x, y, a, b := env.contact(), env.contact(), env.appointment(), env.appointment()
		run(t, booked(b, x.ghl, 1))
		run(t, booked(a, x.ghl, 2))
		assert.Equal(t, "LeadInserted", run(t, updated(a, y.ghl, 3, "confirmed")))
		assert.Equal(t, []string{b + " active"}, env.leadsOf(x.verity))
		assert.Equal(t, []string{a + " active"}, env.leadsOf(y.verity))

		assert.Equal(t, "LeadUpdated", run(t, updated(b, y.ghl, 4, "confirmed")))
		assert.Equal(t, []string{"none active"}, env.leadsOf(x.verity))
		assert.Equal(t, []string{a + " active"}, env.leadsOf(y.verity))
	})
	t.Run("the former contact's event arrives last", func(t *testing.T) {
		t.Parallel()
		x, y, a := env.contact(), env.contact(), env.appointment()
		run(t, updated(a, y.ghl, 3, "confirmed"))
		env.ageLeads(y.verity)
		assert.Equal(t, "Superseded", run(t, booked(a, x.ghl, 1)))
		assert.Empty(t, env.leadsOf(x.verity))
		assert.Equal(t, []string{a}, env.leadsOf(y.verity))
	})
	t.Run("the former contact's lead does not wait until the new contact is found", func(t *testing.T) {
		t.Parallel()
		x, y, a := env.contact(), env.newContact(), env.appointment()
		run(t, booked(a, x.ghl, 1))
		out := env.lead().Run(t.Context(), attempt(t, updated(a, y.ghl, 2, "confirmed")))
		assert.Equal(t, "ContactNotFound", out.Reason)
		assert.Equal(t, []string{"none active"}, env.leadsOf(x.verity))
	})
	t.Run("all appointments of a contact follow it to another contact of Verity", func(t *testing.T) {
		t.Parallel()
		x, a, b := env.newContact(), env.appointment(), env.appointment()
		relative := env.addToVerity("", x.email)
		env.remember(x.ghl, x.phone, x.email)
		run(t, booked(a, x.ghl, 1))
		assert.Equal(t, []string{a + " active"}, env.leadsOf(relative))

		own := env.addToVerity(x.phone, "")
		run(t, booked(b, x.ghl, 2))
		assert.Equal(t, []string{"none active"}, env.leadsOf(relative))
		assert.Equal(t, []string{b + " active"}, env.leadsOf(own))
		run(t, deleted(b, x.ghl, 3))
		assert.Equal(t, []string{a + " active"}, env.leadsOf(own))
	})
	t.Run("appointments of another contact of GoHighLevel with the same contact of Verity stay", func(t *testing.T) {
		t.Parallel()
		x, y, twin, a, b := env.contact(), env.contact(), env.newContact(), env.appointment(), env.appointment()
		env.remember(twin.ghl, x.phone, "")
		run(t, booked(a, x.ghl, 1))
		run(t, booked(b, twin.ghl, 2))
		assert.Equal(t, []string{b + " active"}, env.leadsOf(x.verity))
		run(t, updated(b, y.ghl, 3, "confirmed"))
		assert.Equal(t, []string{a + " active"}, env.leadsOf(x.verity))
		assert.Equal(t, []string{b + " active"}, env.leadsOf(y.verity))
	})
	t.Run("a deletion applies to the contact whose lead was written, without a lookup", func(t *testing.T) {
		t.Parallel()
		x, a := env.contact(), env.appointment()
		run(t, booked(a, x.ghl, 1))
		_, err := env.pool.Exec(t.Context(), `UPDATE contacts SET phone_e164 = NULL, email = NULL WHERE id = $1`, x.verity)
		require.NoError(t, err)
		assert.Equal(t, "LeadCleared", run(t, deleted(a, x.ghl, 2)))
		assert.Equal(t, []string{"none active"}, env.leadsOf(x.verity))
	})
	t.Run("a contact that was deleted in Verity blocks no event", func(t *testing.T) {
		t.Parallel()
		x, twin, a, b := env.contact(), env.newContact(), env.appointment(), env.appointment()
		env.remember(twin.ghl, x.phone, "")
		run(t, booked(a, x.ghl, 1))
		run(t, booked(b, twin.ghl, 2))
		_, err := env.pool.Exec(t.Context(), `DELETE FROM contacts WHERE id = $1`, x.verity)
		require.NoError(t, err)
		merged := env.addToVerity(x.phone, "")
		assert.Equal(t, "LeadInserted", run(t, booked(a, x.ghl, 3)))
		assert.Equal(t, []string{a + " active"}, env.leadsOf(merged))
		assert.Equal(t, "LeadUpdated", run(t, booked(b, twin.ghl, 4)))
		assert.Equal(t, []string{b + " active"}, env.leadsOf(merged))
	})
}

// brokenLeads fails to write leads while fail is set.
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

func TestLeadThatWasNotWrittenIsWrittenByTheNextEvent(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	died := errors.New("the process died")
	for name, hour := range map[string]int{"an older event": 1, "the same event": 2, "a newer event": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, a := env.contact(), env.appointment()
			leads := &brokenLeads{env.leads, died}
			lead := env.lead()
			lead.Leads = leads
			e := attempt(t, booked(a, x.ghl, 2))
			require.ErrorIs(t, lead.Run(t.Context(), e).Err, died)
			leads.fail = nil
			if hour != 2 {
				e = attempt(t, booked(a, x.ghl, hour))
			}
			out := lead.Run(t.Context(), e)
			require.NoError(t, out.Err)
			assert.Equal(t, "LeadInserted", out.Result)
			assert.Equal(t, []string{a + " active"}, env.leadsOf(x.verity))
		})
	}

	t.Run("an older event whose process dies before the write writes the leads when it runs again", func(t *testing.T) {
		t.Parallel()
		x, a, b := env.contact(), env.appointment(), env.appointment()
		leads := &brokenLeads{Leads: env.leads}
		lead := env.lead()
		lead.Leads = leads
		require.NoError(t, lead.Run(t.Context(), attempt(t, booked(b, x.ghl, 2))).Err)
		require.NoError(t, lead.Run(t.Context(), attempt(t, booked(a, x.ghl, 3))).Err)
		assert.Equal(t, []string{a + " active"}, env.leadsOf(x.verity))

		leads.fail = died
		older := attempt(t, booked(a, x.ghl, 1))
		require.ErrorIs(t, lead.Run(t.Context(), older).Err, died)
		leads.fail = nil
		assert.Equal(t, "LeadUpdated", lead.Run(t.Context(), older).Result)
		assert.Equal(t, []string{b + " active"}, env.leadsOf(x.verity))
		env.ageLeads(x.verity)
		assert.Equal(t, "Superseded", lead.Run(t.Context(), older).Result)
		assert.Equal(t, []string{b}, env.leadsOf(x.verity))
	})
}

func TestLeadFailures(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)

	t.Run("the outcome of an outage of Verity has a wait", func(t *testing.T) {
		t.Parallel()
		x := env.contact()
		lead := env.lead()
		lead.Breaker = destination.NewBreaker("verity-db", destination.BreakerOptions{Failures: 1})
		lead.Leads = &brokenLeads{env.leads, &destination.Error{Destination: "verity-db", Class: destination.Unavailable, Message: "down"}}
		out := lead.Run(t.Context(), attempt(t, booked(env.appointment(), x.ghl, 1)))
		assert.Equal(t, destination.Unavailable, destination.ClassOf(out.Err))
		assert.Positive(t, out.Wait)
		assert.False(t, out.NotYet)
		assert.Equal(t, map[string]any{"contactIdFrom": "payload", "detailsFrom": "mapping", "matchedBy": "phone"}, out.Details)
	})
	t.Run("an outage of the middleware database does not open Verity's breaker, and its message has no personal data", func(t *testing.T) {
		t.Parallel()
		x := env.contact()
		lead := env.lead()
		lead.Breaker = destination.NewBreaker("verity-db", destination.BreakerOptions{Failures: 1})
		lead.Store = unreadable{env.store}
		out := lead.Run(t.Context(), attempt(t, booked(env.appointment(), x.ghl, 1)))
		require.Error(t, out.Err)
		assert.Equal(t, "middleware database: it is not available", out.Err.Error())
		assert.Equal(t, destination.Transient, destination.ClassOf(out.Err))
		assert.Zero(t, out.Wait)
		assert.True(t, lead.Breaker.Up())
	})
}

// unreadable is a store that fails to return a contact's appointments.
type unreadable struct{ *store.Store }

func (unreadable) AppointmentsOfContact(context.Context, string, store.EndPolicy) (store.ContactAppointments, error) {
	return store.ContactAppointments{}, errors.New("no answer for ada@example.com")
}
