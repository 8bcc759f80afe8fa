package operation_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/aloware"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	alowaresim "github.com/dfmiddleware/verity-sync/test/sim/aloware"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	ghlsim "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

func newAloware(t *testing.T) (*alowaresim.Server, *aloware.Client) {
	t.Helper()
	sim := alowaresim.New("token")
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	client, err := aloware.New(aloware.Options{BaseURL: server.URL, Token: "token", HTTP: destination.NewClient("test")})
	require.NoError(t, err)
	return sim, client
}

// changed returns the body that a marketplace app gets for a contact.
func changed(kind, id string, hour int, person body) body {
	return body{"type": kind, "locationId": location, "id": id, "timestamp": at(hour).Format(time.RFC3339)}.with(person)
}

// TestContact runs the events of a contact x in the order of the steps.
func TestContact(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	type step struct {
		event           body
		result, skipped string
	}
	const noPhone = "the contact has no phone number, and Aloware identifies contacts by phone number"
	ada := func(x contact) body {
		return body{"phone": x.phone, "email": x.email, "firstName": "Ada", "lastName": "Example", "country": "US"}
	}
	synced := func(x contact) *alowaresim.Contact {
		return &alowaresim.Contact{
			ID: 70001, PhoneNumber: x.phone, FirstName: "Ada", LastName: "Example", Email: "p" + x.email[1:], Country: "US",
		}
	}
	tests := map[string]struct {
		steps func(x contact) []step
		// want is the contact at Aloware at the end, stored the mapping in the middleware database.
		want   func(x contact) *alowaresim.Contact
		stored func(x contact) store.Mapping
	}{
		"a new contact is created": {
			steps: func(x contact) []step {
				return []step{{changed("ContactCreate", x.ghl, 1, ada(x)), "ContactSynced", ""}}
			},
			want: synced,
			stored: func(x contact) store.Mapping {
				return store.Mapping{LocationID: location, AlowareContactID: "70001", Phone: x.phone, Email: "p" + x.email[1:]}
			},
		},
		"an existing contact is overwritten": {
			steps: func(x contact) []step {
				return []step{
					{changed("ContactCreate", x.ghl, 1, ada(x).with(body{"firstName": "Eva", "email": "old@example.com"})), "ContactSynced", ""},
					{changed("ContactUpdate", x.ghl, 2, ada(x)), "ContactSynced", ""},
				}
			},
			want: synced,
		},
		"an event older than a synced one is superseded": {
			steps: func(x contact) []step {
				return []step{
					{changed("ContactUpdate", x.ghl, 2, ada(x)), "ContactSynced", ""},
					{changed("ContactCreate", x.ghl, 1, ada(x).with(body{"firstName": "Eva", "email": "old@example.com"})), "Superseded", ""},
				}
			},
			want: synced,
			stored: func(x contact) store.Mapping {
				return store.Mapping{LocationID: location, AlowareContactID: "70001", Phone: x.phone, Email: "p" + x.email[1:]}
			},
		},
		"an event older than a skipped one is not superseded": {
			steps: func(x contact) []step {
				return []step{
					{changed("ContactTagUpdate", x.ghl, 2, body{}), "ContactSkipped", "tags are not synced to Aloware"},
					{changed("ContactCreate", x.ghl, 1, ada(x)), "ContactSynced", ""},
				}
			},
			want: synced,
		},
		"a contact without a phone number is skipped and stored": {
			steps: func(x contact) []step {
				return []step{{changed("ContactUpdate", x.ghl, 1, body{"email": x.email, "phone": ""}), "ContactSkipped", noPhone}}
			},
			stored: func(x contact) store.Mapping { return store.Mapping{LocationID: location, Email: "p" + x.email[1:]} },
		},
		"a contact with an unusable phone number is skipped": {
			steps: func(x contact) []step {
				return []step{{
					changed("ContactUpdate", x.ghl, 1, body{"phone": "call me"}), "ContactSkipped",
					"the contact's phone number is unusable, and Aloware identifies contacts by phone number: it holds no digits that could be a phone number",
				}}
			},
		},
		"a change of do-not-disturb settings is skipped, and the contact is stored": {
			steps: func(x contact) []step {
				return []step{{
					changed("ContactDndUpdate", x.ghl, 1, ada(x)), "ContactSkipped", "Aloware's API cannot store do-not-disturb settings",
				}}
			},
			stored: func(x contact) store.Mapping {
				return store.Mapping{LocationID: location, Phone: x.phone, Email: "p" + x.email[1:]}
			},
		},
		"a deletion is skipped even if the payload was cut": {
			steps: func(x contact) []step {
				return []step{{
					changed("ContactDelete", x.ghl, 1, body{"payloadTooLarge": true}), "ContactSkipped", "Aloware's API cannot delete a contact",
				}}
			},
		},
		"a workflow's webhook is synced": {
			steps: func(x contact) []step {
				person := body{"phone": x.phone, "email": x.email, "first_name": "Ada", "last_name": "Example", "country": "US"}
				return []step{{body{"contact_id": x.ghl, "workflow": body{"id": "w1"}}.with(person), "ContactSynced", ""}}
			},
			want: synced,
		},
		"a cut payload is replaced by the contact at GoHighLevel, as of its last change": {
			steps: func(x contact) []step {
				return []step{
					{changed("ContactUpdate", x.ghl, 1, body{"phone": "+12055550", "payloadTooLarge": true}), "ContactSynced", ""},
					{changed("ContactUpdate", x.ghl, 4, ada(x).with(body{"firstName": "Eva"})), "Superseded", ""},
				}
			},
			want: synced,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, client := newAloware(t)
			g, x := newGHL(t), env.newContact()
			g.PutContact(ghlsim.Contact{
				ID: x.ghl, LocationID: location, Phone: x.phone, Email: x.email, FirstName: "Ada", LastName: "Example", Country: "US", DateUpdated: at(5),
			})
			c := &operation.Contact{Store: env.store, Aloware: client, Breaker: closedBreaker("aloware"), GHL: g.api, Regions: inUS}
			for i, step := range tt.steps(x) {
				e := attempt(t, step.event)
				for range 2 {
					out := c.Run(t.Context(), e)
					require.NoError(t, out.Err)
					assert.Equal(t, step.result, out.Result, "step %d", i)
					assert.Equal(t, step.skipped, out.Skipped, "step %d", i)
					if step.result == "ContactSynced" {
						assert.Equal(t, "70001", out.TargetID)
					}
				}
			}
			if tt.want == nil {
				assert.Empty(t, sim.Requests.Requests("", ""))
			} else {
				assert.Equal(t, []alowaresim.Contact{*tt.want(x)}, sim.Contacts())
			}
			if tt.stored != nil {
				m, err := env.store.Mapping(t.Context(), x.ghl)
				require.NoError(t, err)
				want := tt.stored(x)
				want.GHLContactID, want.LastSyncedAt, want.SyncedOccurredAt = x.ghl, m.LastSyncedAt, m.SyncedOccurredAt
				if want.AlowareContactID != "" {
					want.AlowarePhone, want.AlowareSince = x.phone, m.AlowareSince
				}
				assert.Equal(t, want, m)
				assert.Equal(t, want.AlowareContactID != "", m.LastSyncedAt != nil)
			}
		})
	}
}

func TestContactWithoutAloware(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	x := env.newContact()
	c := &operation.Contact{Store: env.store, Regions: inUS}
	out := c.Run(t.Context(), attempt(t, changed("ContactUpdate", x.ghl, 1, body{"phone": x.phone, "payloadTooLarge": true})))
	require.NoError(t, out.Err)
	assert.Equal(t, "ContactSkipped", out.Result)
	assert.Equal(t, "ALOWARE_API_TOKEN is not set: contacts are not synced to Aloware", out.Skipped)
	assert.Equal(t, map[string]any{"reread": "GoHighLevel's API is not configured"}, out.Details)
	m, err := env.store.Mapping(t.Context(), x.ghl)
	require.NoError(t, err)
	assert.Equal(t, x.phone, m.Phone, "the lookup of leads needs it")
}

func TestContactFailures(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	tests := map[string]struct {
		event   func(x contact) body
		aloware []fault.Fault
		ghl     []fault.Fault
		reason  string
		class   destination.Class
		message string
		wait    bool
		// accepted is whether Aloware has accepted the contact nevertheless.
		accepted bool
	}{
		"the payload names no contact": {
			event:  func(contact) body { return body{"type": "ContactUpdate", "phone": "+12055550142"} },
			reason: "InvalidPayload", class: destination.Permanent, message: "payload: it names no contact",
		},
		"Aloware rejects the contact": {
			aloware: []fault.Fault{fault.Status(422)},
			class:   destination.Permanent, message: "aloware: the request was refused as invalid (422)",
		},
		"Aloware rejects the token": {
			aloware: []fault.Fault{fault.HTML()}, wait: true,
			class: destination.Unavailable, message: "aloware: answered with a web page, as it does for an unknown API token",
		},
		"Aloware accepts the contact and does not find it": {
			aloware: []fault.Fault{{
				Kind: fault.Answer, Method: "GET", Status: 404, Header: fault.Status(404).Header, Body: `{"error":"Contact not found."}`,
			}},
			class: destination.Transient, message: "aloware: the contact cannot be found yet", accepted: true,
		},
		"Aloware accepts the contact and rejects the lookup": {
			aloware: []fault.Fault{{Kind: fault.Answer, Method: "GET", Status: 422}},
			class:   destination.Permanent, message: "aloware: the request was refused as invalid (422)", accepted: true,
		},
		"the payload was cut, and GoHighLevel is down": {
			event: func(x contact) body {
				return changed("ContactUpdate", x.ghl, 1, body{"phone": x.phone, "payloadTooLarge": true})
			},
			ghl:   []fault.Fault{fault.Status(503)},
			class: destination.Transient, message: "ghl:loc1: answered 503 Service Unavailable",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, client := newAloware(t)
			require.NoError(t, sim.Faults.Add(tt.aloware...))
			g, x := newGHL(t), env.newContact()
			require.NoError(t, g.Faults.Add(tt.ghl...))
			b := changed("ContactUpdate", x.ghl, 1, body{"phone": x.phone})
			if tt.event != nil {
				b = tt.event(x)
			}
			breaker := destination.NewBreaker("aloware", destination.BreakerOptions{Failures: 1})
			c := &operation.Contact{Store: env.store, Aloware: client, Breaker: breaker, GHL: g.api, Regions: inUS}
			out := c.Run(t.Context(), attempt(t, b))
			require.Error(t, out.Err)
			assert.Equal(t, tt.message, out.Err.Error())
			assert.Equal(t, tt.reason, out.Reason)
			assert.Equal(t, tt.class, destination.ClassOf(out.Err))
			assert.Equal(t, tt.wait, out.Wait > 0)
			if m, err := env.store.Mapping(t.Context(), x.ghl); err == nil || tt.accepted {
				require.NoError(t, err)
				assert.Equal(t, tt.accepted, m.SyncedOccurredAt != nil, "only an accepted contact supersedes older events")
				assert.Empty(t, m.AlowareContactID)
			}
		})
	}

	t.Run("a cut payload is synced as it is if the location has no token", func(t *testing.T) {
		t.Parallel()
		_, client := newAloware(t)
		g, x := newGHL(t), env.newContact()
		c := &operation.Contact{Store: env.store, Aloware: client, Breaker: closedBreaker("aloware"), GHL: g.api, Regions: inUS}
		e := attempt(t, changed("ContactUpdate", x.ghl, 1, body{"phone": x.phone, "payloadTooLarge": true, "locationId": "loc2"}))
		out := c.Run(t.Context(), e)
		require.NoError(t, out.Err)
		assert.Equal(t, "ContactSynced", out.Result)
		assert.Equal(t, map[string]any{"reread": "no token for the location", "created": true}, out.Details)
	})
}
