package operation_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	ghlsim "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

// block changes the appointment block of a body.
func (b body) block(change func(map[string]any)) body {
	block := maps.Clone(b["appointment"].(map[string]any))
	change(block)
	return b.with(body{"appointment": block})
}

// TestAppointmentWithoutAContactIsSkipped runs the body a01 of the reports, blocked or busy time, and variants of it.
func TestAppointmentWithoutAContactIsSkipped(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	const (
		byGHL     = "GoHighLevel says that the appointment has no contact: it is blocked or busy time"
		byPayload = "the webhook has the whole appointment and no contact: it is blocked or busy time"
		ended     = "the appointment has ended, and Verity has no contact whose lead could point at it"
	)
	// inGHL adds the appointment without a contact to GoHighLevel.
	inGHL := func(g *ghlServer, a string) { g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location}) }
	notInGHL := func(*ghlServer, string) {}
	unchanged := func(b body) body { return b }
	contactID := func(value any) func(body) body {
		return func(b body) body { return b.block(func(block map[string]any) { block["contactId"] = value }) }
	}
	tests := map[string]struct {
		// api is nil if GoHighLevel's API is not configured.
		api     func(g *ghlServer, a string)
		change  func(body) body
		policy  store.EndPolicy
		result  string
		skipped string
	}{
		"as reported, and GoHighLevel confirms it":   {inGHL, unchanged, store.EndPolicy{}, "LeadSkipped", byGHL},
		"with an empty contact":                      {inGHL, contactID(""), store.EndPolicy{}, "LeadSkipped", byGHL},
		"with a contact that is null":                {inGHL, contactID(nil), store.EndPolicy{}, "LeadSkipped", byGHL},
		"with a blank contact":                       {inGHL, contactID("  "), store.EndPolicy{}, "LeadSkipped", byGHL},
		"an update":                                  {inGHL, func(b body) body { return b.with(body{"type": "AppointmentUpdate"}) }, store.EndPolicy{}, "LeadSkipped", byGHL},
		"a cut payload, and GoHighLevel confirms it": {inGHL, func(b body) body { return b.with(body{"payloadTooLarge": true}) }, store.EndPolicy{}, "LeadSkipped", byGHL},
		"a recurring appointment": {
			inGHL, func(b body) body { return b.block(func(block map[string]any) { block["isRecurring"] = true }) }, store.EndPolicy{}, "LeadSkipped", byGHL,
		},
		"a workflow's webhook, and GoHighLevel confirms it": {
			inGHL, func(b body) body {
				return workflow(b["appointment"].(map[string]any)["id"].(string), body{"locationId": location})
			}, store.EndPolicy{}, "LeadSkipped", byGHL,
		},
		"an appointment that GoHighLevel no longer has": {notInGHL, unchanged, store.EndPolicy{}, "LeadSkipped", byPayload},
		"in a location without a token":                 {notInGHL, func(b body) body { return b.with(body{"locationId": "loc2"}) }, store.EndPolicy{}, "LeadSkipped", byPayload},
		"without GoHighLevel's API":                     {nil, unchanged, store.EndPolicy{}, "LeadSkipped", byPayload},
		"a deletion":                                    {inGHL, func(b body) body { return b.with(body{"type": "AppointmentDelete"}) }, store.EndPolicy{Deletion: true}, "LeadUnchanged", ended},
		"a deletion that ends no appointment":           {inGHL, func(b body) body { return b.with(body{"type": "AppointmentDelete"}) }, store.EndPolicy{}, "LeadUnchanged", ended},
		"a deletion without GoHighLevel's API":          {nil, func(b body) body { return b.with(body{"type": "AppointmentDelete"}) }, store.EndPolicy{Deletion: true}, "LeadUnchanged", ended},
		"a cancellation that ends no appointment": {inGHL, func(b body) body {
			return b.block(func(block map[string]any) { block["appointmentStatus"] = "cancelled" })
		}, store.EndPolicy{}, "LeadUnchanged", ended},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, a := newGHL(t), env.appointment()
			lead := env.lead()
			lead.EndPolicy = tt.policy
			if tt.api != nil {
				lead.GHL = g.api
				tt.api(g, a)
			}
			b := report(t, "a01-appointment-without-contact").with(body{"locationId": location})
			b = tt.change(b.block(func(block map[string]any) { block["id"] = a }))
			e := attempt(t, b)
			for range 2 {
				out := lead.Run(t.Context(), e)
				require.NoError(t, out.Err)
				assert.Equal(t, tt.result, out.Result)
				assert.Equal(t, tt.skipped, out.Skipped)
				assert.Empty(t, out.VerityContactID)
			}
		})
	}
}

func TestAppointmentWithoutAContactInTheWebhook(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	webhook := func(t *testing.T, a string) body {
		t.Helper()
		return report(t, "a01-appointment-without-contact").with(body{"locationId": location}).
			block(func(block map[string]any) { block["id"] = a })
	}

	t.Run("only GoHighLevel has the contact", func(t *testing.T) {
		t.Parallel()
		g, x, a := newGHL(t), env.contact(), env.appointment()
		g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location, ContactID: x.ghl})
		lead := env.lead()
		lead.GHL = g.api
		require.NoError(t, lead.Run(t.Context(), attempt(t, webhook(t, a))).Err)
		assert.Equal(t, []string{a + " active"}, env.leadsOf(x.verity))
	})
	t.Run("an earlier event named the contact", func(t *testing.T) {
		t.Parallel()
		g, x, a := newGHL(t), env.contact(), env.appointment()
		g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location})
		lead := env.lead()
		lead.GHL = g.api
		require.NoError(t, lead.Run(t.Context(), attempt(t, booked(a, x.ghl, 1))).Err)
		out := lead.Run(t.Context(), attempt(t, webhook(t, a)))
		require.NoError(t, out.Err)
		assert.Equal(t, "LeadUpdated", out.Result)
		assert.Equal(t, "appointments", out.Details["contactIdFrom"])
		assert.Equal(t, []string{a + " active"}, env.leadsOf(x.verity))
		assert.Empty(t, g.requested())
	})
	t.Run("a later event names the contact", func(t *testing.T) {
		t.Parallel()
		x, a := env.contact(), env.appointment()
		assert.Equal(t, "LeadSkipped", env.lead().Run(t.Context(), attempt(t, webhook(t, a))).Result)
		require.NoError(t, env.lead().Run(t.Context(), attempt(t, booked(a, x.ghl, 1))).Err)
		assert.Equal(t, []string{a + " active"}, env.leadsOf(x.verity))
	})
	t.Run("the webhook has a phone number", func(t *testing.T) {
		t.Parallel()
		g, x, a := newGHL(t), env.newContact(), env.appointment()
		x.verity = env.addToVerity(x.phone, "")
		g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location})
		lead := env.lead()
		lead.GHL = g.api
		require.NoError(t, lead.Run(t.Context(), attempt(t, webhook(t, a).with(body{"phone": x.phone}))).Err)
		assert.Equal(t, []string{a + " active"}, env.leadsOf(x.verity))
	})
	t.Run("GoHighLevel is unavailable", func(t *testing.T) {
		t.Parallel()
		g, a := newGHL(t), env.appointment()
		_ = g.Faults.Add(fault.Status(503))
		lead := env.lead()
		lead.GHL = g.api
		out := lead.Run(t.Context(), attempt(t, webhook(t, a)))
		assert.Equal(t, destination.Transient, destination.ClassOf(out.Err))
		assert.Empty(t, out.Result)
	})
	t.Run("the payload was cut, and GoHighLevel does not have the appointment", func(t *testing.T) {
		t.Parallel()
		g, a := newGHL(t), env.appointment()
		lead := env.lead()
		lead.GHL = g.api
		out := lead.Run(t.Context(), attempt(t, webhook(t, a).with(body{"payloadTooLarge": true})))
		assert.Equal(t, "ContactNotFound", out.Reason, "GoHighLevel may not return a new appointment yet")
		assert.Equal(t, destination.Transient, destination.ClassOf(out.Err))
	})
	t.Run("the appointment is deleted, and deletions end no appointment", func(t *testing.T) {
		t.Parallel()
		g, a := newGHL(t), env.appointment()
		lead := env.lead()
		lead.EndPolicy = store.EndPolicy{}
		assert.Equal(t, "LeadSkipped", lead.Run(t.Context(), attempt(t, webhook(t, a))).Result)
		lead.GHL = g.api
		out := lead.Run(t.Context(), attempt(t, body{"type": "AppointmentDelete", "appointmentId": a, "locationId": location}))
		require.NoError(t, out.Err)
		assert.Equal(t, "LeadSkipped", out.Result)
		assert.Equal(t, "the appointment is deleted, and no webhook has named its contact", out.Skipped)
	})
	t.Run("a workflow's webhook names no contact, and GoHighLevel's API is not configured", func(t *testing.T) {
		t.Parallel()
		out := env.lead().Run(t.Context(), attempt(t, workflow(env.appointment(), body{"locationId": location})))
		assert.Equal(t, "InvalidPayload", out.Reason)
		assert.Equal(t, destination.Permanent, destination.ClassOf(out.Err), "another attempt would fail as well")
		assert.Equal(t, "payload: it names no contact, phone number or e-mail address, and GoHighLevel's API is not configured", out.Err.Error())
	})
}

// report reads a body of testdata/reports.
func report(t *testing.T, name string) body {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "ghl", "testdata", "reports", name+".json"))
	require.NoError(t, err)
	var b body
	require.NoError(t, json.Unmarshal(text, &b))
	return b
}
