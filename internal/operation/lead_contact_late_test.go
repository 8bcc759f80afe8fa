package operation_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	ghlsim "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

func TestContactIsCreatedInVerityAfterTheFirstAttempt(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	g, x, a := newGHL(t), env.newContact(), env.appointment()
	g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
	lead := env.lead()
	lead.GHL = g.api
	e := attempt(t, booked(a, x.ghl, 1).with(body{"email": x.email}))
	assert.Equal(t, "ContactNotFound", lead.Run(t.Context(), e).Reason)

	created := env.addToVerity(x.phone, "")
	out := lead.Run(t.Context(), e)
	require.NoError(t, out.Err)
	assert.Equal(t, created, out.VerityContactID, "the e-mail address matches no contact, so GoHighLevel is asked for the phone number")
	assert.Equal(t, []string{a + " active"}, env.leadsOf(created))
}

func TestDeletedAppointmentIsNotRequested(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	g := newGHL(t)
	lead := env.lead()
	lead.GHL = g.api
	out := lead.Run(t.Context(), attempt(t, deleted(env.appointment(), "", 1).with(body{"payloadTooLarge": true})))
	require.NoError(t, out.Err)
	assert.NotEmpty(t, out.Skipped)
	assert.Empty(t, g.requested())
}

func TestOlderEventDoesNotProvideTheNewContactsPhoneNumber(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	x, y, a := env.newContact(), env.newContact(), env.appointment()
	x.verity = env.addToVerity(x.phone, "")
	assert.Equal(t, "ContactNotFound", env.lead().Run(t.Context(), attempt(t, updated(a, y.ghl, 5, "confirmed"))).Reason)
	for name, older := range map[string]body{
		"of the former contact": booked(a, x.ghl, 1).with(body{"phone": x.phone}),
		"without a contact":     booked(a, "", 2).with(body{"phone": x.phone}),
	} {
		out := env.lead().Run(t.Context(), attempt(t, older))
		assert.Equal(t, "ContactNotFound", out.Reason, name)
	}
	assert.Empty(t, env.leadsOf(x.verity))
}

func TestSharedTokenServesEventsWithoutALocation(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	g := newGHLWith(t, ghlapi.StaticToken("token1"))
	x, a := env.newContact(), env.appointment()
	x.verity = env.addToVerity(x.phone, "")
	g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location, ContactID: x.ghl})
	g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
	lead := env.lead()
	lead.GHL = g.api
	out := lead.Run(t.Context(), attempt(t, workflow(a, body{})))
	require.NoError(t, out.Err)
	assert.Equal(t, []string{a + " active"}, env.leadsOf(x.verity))
}
