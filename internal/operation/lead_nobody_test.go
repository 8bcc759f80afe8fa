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

// TestAnAppointmentOfNobody is about the report a01, blocked or busy time, and about what looks like it.
func TestAnAppointmentOfNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const (
		byGHL     = "GoHighLevel says that the appointment has no contact: it is blocked or busy time"
		byPayload = "the webhook has the whole appointment and no contact: it is blocked or busy time"
		ended     = "the appointment has ended, and Verity has no contact whose lead could point at it"
	)
	// known has GoHighLevel say that there is no contact; forgotten has it not know the appointment.
	known := func(g *ghlServer, a string) { g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location}) }
	forgotten := func(*ghlServer, string) {}
	same := func(b body) body { return b }
	contactID := func(value any) func(body) body {
		return func(b body) body { return b.block(func(block map[string]any) { block["contactId"] = value }) }
	}
	tests := map[string]struct {
		// api is nil where GoHighLevel's API is not configured.
		api     func(g *ghlServer, a string)
		change  func(body) body
		endings store.EndPolicy
		result  string
		skipped string
	}{
		"as reported, and GoHighLevel confirms it":     {known, same, store.EndPolicy{}, "LeadSkipped", byGHL},
		"with an empty contact":                        {known, contactID(""), store.EndPolicy{}, "LeadSkipped", byGHL},
		"with a contact that is null":                  {known, contactID(nil), store.EndPolicy{}, "LeadSkipped", byGHL},
		"with a blank contact":                         {known, contactID("  "), store.EndPolicy{}, "LeadSkipped", byGHL},
		"that is changed":                              {known, func(b body) body { return b.with(body{"type": "AppointmentUpdate"}) }, store.EndPolicy{}, "LeadSkipped", byGHL},
		"whose body was cut, and GoHighLevel confirms": {known, func(b body) body { return b.with(body{"payloadTooLarge": true}) }, store.EndPolicy{}, "LeadSkipped", byGHL},
		"that recurs": {
			known, func(b body) body { return b.block(func(block map[string]any) { block["isRecurring"] = true }) }, store.EndPolicy{}, "LeadSkipped", byGHL,
		},
		"that a workflow reports, and GoHighLevel confirms it": {
			known, func(b body) body {
				return workflow(b["appointment"].(map[string]any)["id"].(string), body{"locationId": location})
			}, store.EndPolicy{}, "LeadSkipped", byGHL,
		},
		"that GoHighLevel does not know any more":      {forgotten, same, store.EndPolicy{}, "LeadSkipped", byPayload},
		"in a location without a token":                {forgotten, func(b body) body { return b.with(body{"locationId": "loc2"}) }, store.EndPolicy{}, "LeadSkipped", byPayload},
		"where GoHighLevel's API is not configured":    {nil, same, store.EndPolicy{}, "LeadSkipped", byPayload},
		"that is deleted":                              {known, func(b body) body { return b.with(body{"type": "AppointmentDelete"}) }, store.EndPolicy{Deletion: true}, "LeadUnchanged", ended},
		"that is deleted, where deletions end nothing": {known, func(b body) body { return b.with(body{"type": "AppointmentDelete"}) }, store.EndPolicy{}, "LeadUnchanged", ended},
		"that is deleted, with no API to ask":          {nil, func(b body) body { return b.with(body{"type": "AppointmentDelete"}) }, store.EndPolicy{Deletion: true}, "LeadUnchanged", ended},
		"that is called off, where cancellations are not": {known, func(b body) body {
			return b.block(func(block map[string]any) { block["appointmentStatus"] = "cancelled" })
		}, store.EndPolicy{}, "LeadUnchanged", ended},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, a := newGHL(t), w.appointment()
			lead := w.lead()
			lead.EndPolicy = tt.endings
			if tt.api != nil {
				lead.GHL = g.api
				tt.api(g, a)
			}
			b := report(t, "a01-appointment-without-contact").with(body{"locationId": location})
			b = tt.change(b.block(func(block map[string]any) { block["id"] = a }))
			e := claimed(t, b)
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

func TestWhatLooksLikeAnAppointmentOfNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nobodys := func(t *testing.T, a string) body {
		t.Helper()
		return report(t, "a01-appointment-without-contact").with(body{"locationId": location}).
			block(func(block map[string]any) { block["id"] = a })
	}

	t.Run("one whose contact only GoHighLevel knows", func(t *testing.T) {
		t.Parallel()
		g, x, a := newGHL(t), w.contact(), w.appointment()
		g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location, ContactID: x.ghl})
		lead := w.lead()
		lead.GHL = g.api
		require.NoError(t, lead.Run(t.Context(), claimed(t, nobodys(t, a))).Err)
		assert.Equal(t, []string{a + " active"}, w.leadsOf(x.verity))
	})
	t.Run("one whose contact an earlier event has said", func(t *testing.T) {
		t.Parallel()
		g, x, a := newGHL(t), w.contact(), w.appointment()
		g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location})
		lead := w.lead()
		lead.GHL = g.api
		require.NoError(t, lead.Run(t.Context(), claimed(t, booked(a, x.ghl, 1))).Err)
		out := lead.Run(t.Context(), claimed(t, nobodys(t, a)))
		require.NoError(t, out.Err)
		assert.Equal(t, "LeadUpdated", out.Result)
		assert.Equal(t, "appointments", out.Details["contactIdFrom"])
		assert.Equal(t, []string{a + " active"}, w.leadsOf(x.verity))
		assert.Empty(t, g.asked())
	})
	t.Run("one whose contact a later event says", func(t *testing.T) {
		t.Parallel()
		x, a := w.contact(), w.appointment()
		assert.Equal(t, "LeadSkipped", w.lead().Run(t.Context(), claimed(t, nobodys(t, a))).Result)
		require.NoError(t, w.lead().Run(t.Context(), claimed(t, booked(a, x.ghl, 1))).Err)
		assert.Equal(t, []string{a + " active"}, w.leadsOf(x.verity))
	})
	t.Run("one that comes with a phone number", func(t *testing.T) {
		t.Parallel()
		g, x, a := newGHL(t), w.stranger(), w.appointment()
		x.verity = w.inVerity(x.phone, "")
		g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location})
		lead := w.lead()
		lead.GHL = g.api
		require.NoError(t, lead.Run(t.Context(), claimed(t, nobodys(t, a).with(body{"phone": x.phone}))).Err)
		assert.Equal(t, []string{a + " active"}, w.leadsOf(x.verity))
	})
	t.Run("one that GoHighLevel cannot be asked for now", func(t *testing.T) {
		t.Parallel()
		g, a := newGHL(t), w.appointment()
		_ = g.Faults.Add(fault.Status(503))
		lead := w.lead()
		lead.GHL = g.api
		out := lead.Run(t.Context(), claimed(t, nobodys(t, a)))
		assert.Equal(t, destination.Transient, destination.ClassOf(out.Err))
		assert.Empty(t, out.Result)
	})
	t.Run("one of which a cut body shows a part", func(t *testing.T) {
		t.Parallel()
		g, a := newGHL(t), w.appointment()
		lead := w.lead()
		lead.GHL = g.api
		out := lead.Run(t.Context(), claimed(t, nobodys(t, a).with(body{"payloadTooLarge": true})))
		assert.Equal(t, "ContactNotFound", out.Reason, "GoHighLevel may not show yet what was just made")
		assert.Equal(t, destination.Transient, destination.ClassOf(out.Err))
	})
	t.Run("one that is deleted, where deletions end nothing", func(t *testing.T) {
		t.Parallel()
		g, a := newGHL(t), w.appointment()
		lead := w.lead()
		lead.EndPolicy = store.EndPolicy{}
		assert.Equal(t, "LeadSkipped", lead.Run(t.Context(), claimed(t, nobodys(t, a))).Result)
		lead.GHL = g.api
		out := lead.Run(t.Context(), claimed(t, body{"type": "AppointmentDelete", "appointmentId": a, "locationId": location}))
		require.NoError(t, out.Err)
		assert.Equal(t, "LeadSkipped", out.Result)
		assert.Equal(t, "the appointment is deleted, and no webhook has named its contact", out.Skipped)
	})
	t.Run("one that names nobody, where nobody can be asked", func(t *testing.T) {
		t.Parallel()
		out := w.lead().Run(t.Context(), claimed(t, workflow(w.appointment(), body{"locationId": location})))
		assert.Equal(t, "InvalidPayload", out.Reason)
		assert.Equal(t, destination.Permanent, destination.ClassOf(out.Err), "it stays so: another attempt is of no use")
		assert.Equal(t, "payload: it names no contact, phone number or e-mail address, and GoHighLevel's API is not configured", out.Err.Error())
	})
}

// report reads a body of the reports.
func report(t *testing.T, name string) body {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "ghl", "testdata", "reports", name+".json"))
	require.NoError(t, err)
	var b body
	require.NoError(t, json.Unmarshal(text, &b))
	return b
}
