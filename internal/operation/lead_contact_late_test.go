package operation_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	ghlsim "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

func TestAContactThatVerityMakesLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, x, a := newGHL(t), w.stranger(), w.appointment()
	g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
	lead := w.lead()
	lead.GHL = g.api
	e := claimed(t, booked(a, x.ghl, 1).with(body{"email": x.email}))
	assert.Equal(t, "ContactNotFound", lead.Run(t.Context(), e).Reason)

	made := w.inVerity(x.phone, "")
	out := lead.Run(t.Context(), e)
	require.NoError(t, out.Err)
	assert.Equal(t, made, out.VerityContactID, "the address led to nobody, so GoHighLevel was asked for more")
	assert.Equal(t, []string{a + " active"}, w.leadsOf(made))
}

func TestADeletedAppointmentIsNotAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := newGHL(t)
	lead := w.lead()
	lead.GHL = g.api
	out := lead.Run(t.Context(), claimed(t, deleted(w.appointment(), "", 1).with(body{"payloadTooLarge": true})))
	require.NoError(t, out.Err)
	assert.NotEmpty(t, out.Skipped)
	assert.Empty(t, g.asked())
}

func TestWhatAnOlderEventSaysOfItsContactIsNotTheNewOnes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	x, y, a := w.stranger(), w.stranger(), w.appointment()
	x.verity = w.inVerity(x.phone, "")
	assert.Equal(t, "ContactNotFound", w.lead().Run(t.Context(), claimed(t, updated(a, y.ghl, 5, "confirmed"))).Reason)
	for name, older := range map[string]body{
		"of the contact that had it": booked(a, x.ghl, 1).with(body{"phone": x.phone}),
		"of nobody in particular":    booked(a, "", 2).with(body{"phone": x.phone}),
	} {
		out := w.lead().Run(t.Context(), claimed(t, older))
		assert.Equal(t, "ContactNotFound", out.Reason, name)
	}
	assert.Empty(t, w.leadsOf(x.verity))
}

func TestTheSingleTokenServesEventsWithoutALocation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := newGHLWith(t, ghlapi.StaticToken("token1"))
	x, a := w.stranger(), w.appointment()
	x.verity = w.inVerity(x.phone, "")
	g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location, ContactID: x.ghl})
	g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
	lead := w.lead()
	lead.GHL = g.api
	out := lead.Run(t.Context(), claimed(t, workflow(a, body{})))
	require.NoError(t, out.Err)
	assert.Equal(t, []string{a + " active"}, w.leadsOf(x.verity))
}
