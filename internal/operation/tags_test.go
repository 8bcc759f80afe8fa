package operation_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	ghlsim "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

func (env *environment) tags(g *ghlServer) *operation.Tags {
	return &operation.Tags{Store: env.store, GHL: g.api, Tags: []string{"Booked", "verity"}, EndPolicy: store.EndPolicy{Deletion: true}}
}

// TestTags adds the tags Booked and verity to the contact x of an appointment a, after its lead was synced.
func TestTags(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	tests := map[string]struct {
		has     []string
		events  func(a, x string) []body
		details map[string]any
		want    []string
	}{
		"missing tags are added": {
			has: []string{"vip", "booked"}, details: map[string]any{"added": []string{"verity"}}, want: []string{"vip", "booked", "verity"},
		},
		"the contact has all tags": {
			has:     []string{"verity", "booked"},
			details: map[string]any{"added": []string{}, "because": "the contact already has the tags"}, want: []string{"verity", "booked"},
		},
		"the event does not name the contact, which is stored": {
			events:  func(a, x string) []body { return []body{booked(a, x, 1), booked(a, "", 2)} },
			details: map[string]any{"added": []string{"Booked", "verity"}}, want: []string{"booked", "verity"},
		},
		"a deleted appointment gets no tags": {
			events:  func(a, x string) []body { return []body{booked(a, x, 1), deleted(a, x, 2)} },
			details: map[string]any{"added": []string{}, "because": "the appointment has ended"}, want: []string{},
		},
		"an older event of a deleted appointment gets no tags": {
			events:  func(a, x string) []body { return []body{deleted(a, x, 2), booked(a, x, 1)} },
			details: map[string]any{"added": []string{}, "because": "the appointment has ended"}, want: []string{},
		},
		"the appointment's contact at GoHighLevel is unknown": {
			events: func(a, _ string) []body { return []body{deleted(a, "", 2)} },
			details: map[string]any{
				"added": []string{}, "because": "the appointment's contact at GoHighLevel is unknown",
			}, want: []string{},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, x, a := newGHL(t), env.contact(), env.appointment()
			g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Tags: tt.has})
			events := []body{booked(a, x.ghl, 1)}
			if tt.events != nil {
				events = tt.events(a, x.ghl)
			}
			e := attempt(t, events[0])
			for _, b := range events {
				e = attempt(t, b)
				require.NoError(t, env.lead().Run(t.Context(), e).Err)
			}
			out := env.tags(g).Run(t.Context(), e)
			require.NoError(t, out.Err)
			assert.Equal(t, tt.details, out.Details)
			assert.Empty(t, out.Skipped, "it would hide the result of the lead")
			require.NoError(t, env.tags(g).Run(t.Context(), e).Err)
			got, _ := g.Contact(x.ghl)
			assert.Equal(t, tt.want, got.Tags)
			assert.LessOrEqual(t, len(g.Requests.Requests("POST", "")), 1, "a second run adds nothing")
		})
	}
}

func TestTagsCauseNoLoop(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	g, x := newGHL(t), env.contact()
	g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
	webhooks := make(chan body, 10)
	g.OnTags = func(c ghlsim.Contact) {
		webhooks <- changed("ContactTagUpdate", c.ID, 2, body{"phone": c.Phone, "tags": c.Tags})
	}
	sim, client := newAloware(t)
	lead, tags := env.lead(), env.tags(g)
	lead.GHL, tags.Tags = g.api, []string{"booked"}
	operations := []operation.Operation{
		lead, tags, &operation.Contact{Store: env.store, Aloware: client, Breaker: closedBreaker("aloware"), GHL: g.api, Regions: inUS},
	}

	webhooks <- booked(env.appointment(), x.ghl, 1)
	handled := 0
	for ; len(webhooks) > 0; handled++ {
		require.Less(t, handled, 5, "the loop does not end")
		e := attempt(t, <-webhooks)
		for _, op := range operations {
			if op.Spec().Serves(e.Event.EntityType) {
				require.NoError(t, op.Run(t.Context(), e).Err)
			}
		}
	}
	assert.Equal(t, 2, handled, "the booking and its change of tags")
	assert.Len(t, g.Requests.Requests("POST", "/contacts/*/tags"), 1)
	assert.Empty(t, sim.Contacts())
}

func TestTagsFailures(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	tests := map[string]struct {
		setUp   func(g *ghlServer, b body) body
		reason  string
		class   destination.Class
		message string
		wait    bool
	}{
		"the location has no token": {
			setUp:  func(_ *ghlServer, b body) body { return b.with(body{"locationId": "loc2"}) },
			reason: "LocationUnknown", class: destination.Permanent, message: "ghl:loc2: there is no token for this location",
		},
		"GoHighLevel rejects the token": {
			setUp: func(g *ghlServer, b body) body {
				_ = g.Faults.Add(fault.Status(401))
				_ = g.Faults.Add(fault.Status(401))
				return b
			},
			class: destination.Unavailable, message: "ghl:loc1: the token was refused (401)",
		},
		"GoHighLevel rejects the tags": {
			setUp: func(g *ghlServer, b body) body {
				f := fault.Status(422)
				f.Method = "POST"
				_ = g.Faults.Add(f)
				return b
			},
			class: destination.Permanent, message: "ghl:loc1: the request was refused as invalid (422)",
		},
		"GoHighLevel requests a pause": {
			setUp: func(g *ghlServer, b body) body {
				f := fault.Status(429)
				f.Method = "POST"
				_ = g.Faults.Add(f)
				return b
			},
			class: destination.Limited, message: "ghl:loc1: the location's limit of requests is reached (429)", wait: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, x, a := newGHL(t), env.contact(), env.appointment()
			g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location})
			e := attempt(t, tt.setUp(g, booked(a, x.ghl, 1)))
			require.NoError(t, env.lead().Run(t.Context(), e).Err)
			out := env.tags(g).Run(t.Context(), e)
			require.Error(t, out.Err)
			assert.Equal(t, tt.message, out.Err.Error())
			assert.Equal(t, tt.reason, out.Reason)
			assert.Equal(t, tt.class, destination.ClassOf(out.Err))
			assert.Equal(t, tt.wait, out.Wait > 0)
		})
	}
}
