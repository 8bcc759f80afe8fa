package operation_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	ghlsim "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

// found says how a contact was found.
func found(idFrom, detailsFrom, by string) map[string]any {
	d := map[string]any{"detailsFrom": detailsFrom, "matchedBy": by}
	if idFrom != "" {
		d["contactIdFrom"] = idFrom
	}
	return d
}

// TestWhoseAnAppointmentIs has an event of the appointment a arrive in a world that given has set up for the contact x,
// whom Verity has and whom nobody else knows.
func TestWhoseAnAppointmentIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tests := map[string]struct {
		given func(t *testing.T, g *ghlServer, x contact, a string) (event body, details map[string]any, asked []string)
		// kept is what is known of the contact afterwards.
		kept func(x contact) store.Mapping
	}{
		"the payload says the contact, and its phone number is kept": {
			given: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				w.remember(x.ghl, x.phone, "")
				return booked(a, x.ghl, 1), found("payload", "mapping", "phone"), []string{}
			},
		},
		"a phone number that the earlier middleware kept as it was typed": {
			given: func(t *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				_, err := w.store.Pool().Exec(t.Context(), `INSERT INTO contact_mappings (ghl_contact_id, phone_number) VALUES ($1, $2)`,
					x.ghl, "("+x.phone[2:5]+") "+x.phone[5:])
				require.NoError(t, err)
				return booked(a, x.ghl, 1), found("payload", "mapping", "phone"), []string{}
			},
		},
		"an e-mail address is kept, in lower case": {
			given: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				w.remember(x.ghl, "", "p"+x.email[1:])
				return booked(a, x.ghl, 1), found("payload", "mapping", "email-ignoring-case"), []string{}
			},
		},
		"the payload says the phone number, in the form of the contact's country": {
			given: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				w.inVerity("+442079460123", "")
				person := body{"contact_id": x.ghl, "phone": "020 7946 0123", "country": "GB"}
				return workflow(a, person), found("payload", "payload", "phone"), []string{}
			},
			kept: func(contact) store.Mapping { return store.Mapping{Phone: "+442079460123"} },
		},
		"the payload says the phone number, in the form of the default region": {
			given: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				person := body{"contact_id": x.ghl, "phone": "(205) 555-" + x.phone[8:], "country": "somewhere"}
				return workflow(a, person), found("payload", "payload", "phone"), []string{}
			},
			kept: func(x contact) store.Mapping { return store.Mapping{Phone: x.phone} },
		},
		"the payload says the e-mail address, as it was typed": {
			given: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				return workflow(a, body{"contact_id": x.ghl, "email": " " + x.email}), found("payload", "payload", "email"), []string{}
			},
			kept: func(x contact) store.Mapping { return store.Mapping{Email: "p" + x.email[1:]} },
		},
		"what is kept comes before what the payload says, which does not replace it": {
			given: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				w.remember(x.ghl, x.phone, "")
				w.inVerity("+12055559999", "")
				person := body{"contact_id": x.ghl, "phone": "+12055559999", "email": "parent@example.com"}
				return workflow(a, person), found("payload", "mapping", "phone"), []string{}
			},
			kept: func(x contact) store.Mapping { return store.Mapping{Phone: x.phone, Email: "parent@example.com"} },
		},
		"GoHighLevel says the phone number, which is kept from then on": {
			given: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: "205 555 " + x.phone[8:], Country: "US"})
				return booked(a, x.ghl, 1), found("payload", "ghl", "phone"), []string{"GET /contacts/" + x.ghl}
			},
			kept: func(x contact) store.Mapping { return store.Mapping{LocationID: location, Phone: x.phone} },
		},
		"what is kept has aged: GoHighLevel is asked once more": {
			given: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				w.remember(x.ghl, "+12055559998", "")
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone, DateUpdated: at(5)})
				return booked(a, x.ghl, 1), found("payload", "ghl", "phone"), []string{"GET /contacts/" + x.ghl}
			},
			kept: func(x contact) store.Mapping { return store.Mapping{LocationID: location, Phone: x.phone} },
		},
		"what is kept has aged, and GoHighLevel knows nothing: what the payload says is tried": {
			given: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				w.remember(x.ghl, "+12055559998", "")
				return booked(a, x.ghl, 1).with(body{"phone": x.phone}), found("payload", "mapping", "phone"),
					[]string{"GET /contacts/" + x.ghl}
			},
		},
		"an earlier event said the contact": {
			given: func(t *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				w.remember(x.ghl, x.phone, "")
				require.NoError(t, w.lead().Run(t.Context(), claimed(t, booked(a, x.ghl, 0))).Err)
				return anonymous(a), found("appointments", "mapping", "phone"), []string{}
			},
		},
		"GoHighLevel says whose the appointment is": {
			given: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				w.remember(x.ghl, x.phone, "")
				g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location, ContactID: x.ghl})
				return anonymous(a), found("ghl-appointment", "mapping", "phone"), []string{"GET /calendars/events/appointments/" + a}
			},
		},
		"GoHighLevel finds the payload's phone number": {
			given: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
				return anonymous(a).with(body{"phone": x.phone, "email": "nobody@example.com"}), found("ghl-search", "payload", "phone"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate"}
			},
			kept: func(x contact) store.Mapping {
				return store.Mapping{LocationID: location, Phone: x.phone, Email: "nobody@example.com"}
			},
		},
		"GoHighLevel finds the payload's e-mail address": {
			given: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Email: x.email})
				return anonymous(a).with(body{"phone": "+12055559997", "email": x.email}), found("ghl-search", "payload", "email"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate", "GET /contacts/search/duplicate"}
			},
		},
		"GoHighLevel finds the payload's e-mail address, and says the phone number that Verity has": {
			given: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone, Email: "alias-" + x.email})
				return anonymous(a).with(body{"email": "alias-" + x.email}), found("ghl-search", "ghl", "phone"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate"}
			},
		},
		"GoHighLevel tells contacts apart by something else, and finds the payload's phone number in a search": {
			given: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutLocation(ghlsim.Location{ID: location, Token: "token1", UniqueBy: "email"})
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
				return anonymous(a).with(body{"phone": x.phone}), found("ghl-search", "payload", "phone"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate", "POST /contacts/search"}
			},
			kept: func(x contact) store.Mapping { return store.Mapping{LocationID: location, Phone: x.phone} },
		},
		"GoHighLevel tells contacts apart by something else, and finds the payload's e-mail address in a search": {
			given: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutLocation(ghlsim.Location{ID: location, Token: "token1", UniqueBy: "phone"})
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Email: x.email})
				return anonymous(a).with(body{"email": x.email}), found("ghl-search", "payload", "email"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate", "POST /contacts/search"}
			},
		},
		"two contacts of GoHighLevel have the payload's phone number: it may be either, and Verity is asked for the number": {
			given: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutLocation(ghlsim.Location{ID: location, Token: "token1", UniqueBy: "email"})
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
				g.PutContact(ghlsim.Contact{ID: x.ghl + "b", LocationID: location, Phone: x.phone})
				return anonymous(a).with(body{"phone": x.phone}), found("", "payload", "phone"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate", "POST /contacts/search"}
			},
		},
		"nobody knows whose it is, but Verity has the payload's phone number": {
			given: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				return anonymous(a).with(body{"phone": x.phone}), found("", "payload", "phone"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate", "POST /contacts/search"}
			},
		},
		"it is not known in which location to ask, but Verity has the payload's phone number": {
			given: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				return workflow(a, body{"phone": x.phone}), found("", "payload", "phone"), []string{}
			},
		},
		"the location is that of the contact": {
			given: func(t *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				require.NoError(t, w.store.RememberContact(t.Context(), store.Mapping{GHLContactID: x.ghl, LocationID: location}, at(0)))
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
				return workflow(a, body{"contact_id": x.ghl}), found("payload", "ghl", "phone"), []string{"GET /contacts/" + x.ghl}
			},
		},
		"the location is that of the appointment": {
			given: func(t *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				require.Error(t, w.lead().Run(t.Context(), claimed(t, booked(a, x.ghl, 0))).Err)
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
				return workflow(a, body{"contact_id": x.ghl}), found("payload", "ghl", "phone"), []string{"GET /contacts/" + x.ghl}
			},
		},
		"what was cut on its way is read again": {
			given: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				w.remember(x.ghl, x.phone, "")
				g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location, ContactID: x.ghl, AppointmentStatus: "confirmed"})
				details := found("ghl-appointment", "mapping", "phone")
				details["reread"] = "done"
				return anonymous(a).with(body{"payloadTooLarge": true}), details, []string{"GET /calendars/events/appointments/" + a}
			},
		},
		"what was cut on its way, and GoHighLevel has forgotten it": {
			given: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				w.remember(x.ghl, x.phone, "")
				details := found("payload", "mapping", "phone")
				details["reread"] = "GoHighLevel has no such appointment"
				return booked(a, x.ghl, 1).with(body{"payloadTooLarge": true}), details, []string{"GET /calendars/events/appointments/" + a}
			},
		},
		"what was cut on its way, in a location that has no token": {
			given: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				w.remember(x.ghl, x.phone, "")
				details := found("payload", "mapping", "phone")
				details["reread"] = "no token for the location"
				return booked(a, x.ghl, 1).with(body{"payloadTooLarge": true, "locationId": "loc2"}), details, []string{}
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, x, a := newGHL(t), w.stranger(), w.appointment()
			x.verity = w.inVerity(x.phone, x.email)
			b, details, asked := tt.given(t, g, x, a)
			lead := w.lead()
			lead.GHL = g.api

			out := lead.Run(t.Context(), claimed(t, b))
			require.NoError(t, out.Err)
			assert.Equal(t, out.TargetID, out.VerityContactID)
			assert.Equal(t, []string{a + " active"}, w.leadsOf(out.VerityContactID))
			details["leads"], details["appointment"] = int64(1), a
			assert.Equal(t, details, out.Details)
			assert.Equal(t, asked, g.asked())
			if tt.kept != nil {
				want := tt.kept(x)
				want.GHLContactID = x.ghl
				m, err := w.store.Mapping(t.Context(), x.ghl)
				require.NoError(t, err)
				assert.Equal(t, want, m)
			}
		})
	}
}

// TestWhoseAnAppointmentIsStaysUnknown has an event of the appointment a arrive, of a contact x whom Verity does not have.
func TestWhoseAnAppointmentIsStaysUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const (
		nobody  = "verity-db: no contact has the phone number or e-mail address of the appointment's contact"
		nothing = "verity-db: neither a phone number nor an e-mail address of the appointment's contact is known"
	)
	tests := map[string]struct {
		given   func(g *ghlServer, x contact, a string) body
		noAPI   bool
		reason  string
		class   destination.Class
		message string
		wait    bool
	}{
		"a contact that Verity has not made yet": {
			given: func(_ *ghlServer, x contact, a string) body {
				return workflow(a, body{"contact_id": x.ghl, "phone": x.phone})
			},
			reason: "ContactNotFound", class: destination.Transient, message: nobody,
		},
		"a contact of whom an aged phone number is kept": {
			given: func(g *ghlServer, x contact, a string) body {
				w.remember(x.ghl, "+12055559998", "")
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
				return booked(a, x.ghl, 1)
			},
			reason: "ContactNotFound", class: destination.Transient, message: nobody,
		},
		"a contact that GoHighLevel has deleted": {
			given:  func(_ *ghlServer, x contact, a string) body { return booked(a, x.ghl, 1) },
			reason: "ContactNotFound", class: destination.Transient, message: nothing,
		},
		"a contact without a phone number and an e-mail address": {
			given: func(g *ghlServer, x contact, a string) body {
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location})
				return booked(a, x.ghl, 1)
			},
			reason: "ContactNotFound", class: destination.Transient, message: nothing,
		},
		"a contact of whom nothing is kept, and GoHighLevel's API is not configured": {
			given: func(_ *ghlServer, x contact, a string) body { return booked(a, x.ghl, 1) },
			noAPI: true, reason: "ContactNotFound", class: destination.Transient, message: nothing,
		},
		"an aged phone number, and it is not known in which location to ask": {
			given: func(_ *ghlServer, x contact, a string) body {
				w.remember(x.ghl, "+12055559998", "")
				return workflow(a, body{"contact_id": x.ghl})
			},
			reason: "ContactNotFound", class: destination.Transient, message: nobody,
		},
		"nothing is kept, and it is not known in which location to ask": {
			given:  func(_ *ghlServer, x contact, a string) body { return workflow(a, body{"contact_id": x.ghl}) },
			reason: "LocationUnknown", class: destination.Permanent, message: "ghl: the location is not known",
		},
		"nobody says whose it is, and it is not known in which location to ask": {
			given:  func(_ *ghlServer, _ contact, a string) body { return workflow(a, body{}) },
			reason: "LocationUnknown", class: destination.Permanent, message: "ghl: the location is not known",
		},
		"there is no token for the location": {
			given: func(_ *ghlServer, x contact, a string) body {
				return booked(a, x.ghl, 1).with(body{"locationId": "loc2"})
			},
			reason: "LocationUnknown", class: destination.Permanent, message: "ghl:loc2: there is no token for this location",
		},
		"GoHighLevel asks for a pause": {
			given: func(g *ghlServer, x contact, a string) body {
				limited := fault.Status(429)
				limited.Header.Set("Retry-After", "30")
				_ = g.Faults.Add(limited)
				return booked(a, x.ghl, 1)
			},
			class: destination.Limited, message: "ghl:loc1: the location's limit of requests is reached (429)", wait: true,
		},
		"GoHighLevel fails while it is asked whose it is": {
			given: func(g *ghlServer, x contact, a string) body {
				_ = g.Faults.Add(fault.Status(500))
				return anonymous(a).with(body{"phone": x.phone})
			},
			class: destination.Transient, message: "ghl:loc1: answered 500 Internal Server Error",
		},
		"GoHighLevel fails while it is asked for what was cut": {
			given: func(g *ghlServer, x contact, a string) body {
				_ = g.Faults.Add(fault.Status(500))
				return booked(a, x.ghl, 1).with(body{"payloadTooLarge": true})
			},
			class: destination.Transient, message: "ghl:loc1: answered 500 Internal Server Error",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, x, a := newGHL(t), w.stranger(), w.appointment()
			lead := w.lead()
			if !tt.noAPI {
				lead.GHL = g.api
			}
			b := tt.given(g, x, a)
			out := lead.Run(t.Context(), claimed(t, b))
			require.Error(t, out.Err)
			assert.Equal(t, tt.message, out.Err.Error())
			assert.Equal(t, tt.reason, out.Reason)
			assert.Equal(t, tt.class, destination.ClassOf(out.Err))
			assert.Equal(t, tt.reason == "ContactNotFound", out.NotYet)
			assert.Equal(t, tt.wait, out.Wait > 0)

			if tt.reason == "ContactNotFound" { // A deletion of the same has nobody to take anything away from.
				out := lead.Run(t.Context(), claimed(t, b.with(body{"type": "AppointmentDelete", "timestamp": at(23).Format(time.RFC3339)})))
				require.NoError(t, out.Err)
				assert.Equal(t, "LeadUnchanged", out.Result)
				assert.Equal(t, "the appointment has ended, and Verity has no contact whose lead could point at it", out.Skipped)
			}
		})
	}
}
