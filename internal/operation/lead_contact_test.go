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

// found returns the details of a contact that was found.
func found(idFrom, detailsFrom, by string) map[string]any {
	d := map[string]any{"detailsFrom": detailsFrom, "matchedBy": by}
	if idFrom != "" {
		d["contactIdFrom"] = idFrom
	}
	return d
}

// TestContactOfAnAppointmentIsFound runs an event of the appointment a. Its contact x is in Verity, and elsewhere only if setUp adds it.
func TestContactOfAnAppointmentIsFound(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	tests := map[string]struct {
		setUp func(t *testing.T, g *ghlServer, x contact, a string) (event body, details map[string]any, asked []string)
		// stored is the contact's mapping afterwards.
		stored func(x contact) store.Mapping
	}{
		"the payload names the contact, whose phone number is stored": {
			setUp: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				env.remember(x.ghl, x.phone, "")
				return booked(a, x.ghl, 1), found("payload", "mapping", "phone"), []string{}
			},
		},
		"the legacy middleware stored the phone number as typed": {
			setUp: func(t *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				_, err := env.store.Pool().Exec(t.Context(), `INSERT INTO contact_mappings (ghl_contact_id, phone_number) VALUES ($1, $2)`,
					x.ghl, "("+x.phone[2:5]+") "+x.phone[5:])
				require.NoError(t, err)
				return booked(a, x.ghl, 1), found("payload", "mapping", "phone"), []string{}
			},
		},
		"the e-mail address is stored in lower case": {
			setUp: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				env.remember(x.ghl, "", "p"+x.email[1:])
				return booked(a, x.ghl, 1), found("payload", "mapping", "email-ignoring-case"), []string{}
			},
		},
		"the payload has the phone number in the form of the contact's country": {
			setUp: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				env.addToVerity("+442079460123", "")
				person := body{"contact_id": x.ghl, "phone": "020 7946 0123", "country": "GB"}
				return workflow(a, person), found("payload", "payload", "phone"), []string{}
			},
			stored: func(contact) store.Mapping { return store.Mapping{Phone: "+442079460123"} },
		},
		"the payload has the phone number in the form of the default region": {
			setUp: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				person := body{"contact_id": x.ghl, "phone": "(205) 555-" + x.phone[8:], "country": "somewhere"}
				return workflow(a, person), found("payload", "payload", "phone"), []string{}
			},
			stored: func(x contact) store.Mapping { return store.Mapping{Phone: x.phone} },
		},
		"the payload has the e-mail address as typed": {
			setUp: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				return workflow(a, body{"contact_id": x.ghl, "email": " " + x.email}), found("payload", "payload", "email"), []string{}
			},
			stored: func(x contact) store.Mapping { return store.Mapping{Email: "p" + x.email[1:]} },
		},
		"stored values take precedence over the payload's, which do not replace them": {
			setUp: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				env.remember(x.ghl, x.phone, "")
				env.addToVerity("+12055559999", "")
				person := body{"contact_id": x.ghl, "phone": "+12055559999", "email": "parent@example.com"}
				return workflow(a, person), found("payload", "mapping", "phone"), []string{}
			},
			stored: func(x contact) store.Mapping { return store.Mapping{Phone: x.phone, Email: "parent@example.com"} },
		},
		"GoHighLevel has the phone number, which is stored": {
			setUp: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: "205 555 " + x.phone[8:], Country: "US"})
				return booked(a, x.ghl, 1), found("payload", "ghl", "phone"), []string{"GET /contacts/" + x.ghl}
			},
			stored: func(x contact) store.Mapping { return store.Mapping{LocationID: location, Phone: x.phone} },
		},
		"the stored phone number is outdated, and GoHighLevel has the new one": {
			setUp: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				env.remember(x.ghl, "+12055559998", "")
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone, DateUpdated: at(5)})
				return booked(a, x.ghl, 1), found("payload", "ghl", "phone"), []string{"GET /contacts/" + x.ghl}
			},
			stored: func(x contact) store.Mapping { return store.Mapping{LocationID: location, Phone: x.phone} },
		},
		"the stored phone number is outdated, GoHighLevel has no contact, and the payload has the new one": {
			setUp: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				env.remember(x.ghl, "+12055559998", "")
				return booked(a, x.ghl, 1).with(body{"phone": x.phone}), found("payload", "mapping", "phone"),
					[]string{"GET /contacts/" + x.ghl}
			},
		},
		"an earlier event named the contact": {
			setUp: func(t *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				env.remember(x.ghl, x.phone, "")
				require.NoError(t, env.lead().Run(t.Context(), attempt(t, booked(a, x.ghl, 0))).Err)
				return withoutContact(a), found("appointments", "mapping", "phone"), []string{}
			},
		},
		"GoHighLevel has the appointment's contact": {
			setUp: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				env.remember(x.ghl, x.phone, "")
				g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location, ContactID: x.ghl})
				return withoutContact(a), found("ghl-appointment", "mapping", "phone"), []string{"GET /calendars/events/appointments/" + a}
			},
		},
		"GoHighLevel finds the payload's phone number": {
			setUp: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
				return withoutContact(a).with(body{"phone": x.phone, "email": "unknown@example.com"}), found("ghl-search", "payload", "phone"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate"}
			},
			stored: func(x contact) store.Mapping {
				return store.Mapping{LocationID: location, Phone: x.phone, Email: "unknown@example.com"}
			},
		},
		"GoHighLevel finds the payload's e-mail address": {
			setUp: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Email: x.email})
				return withoutContact(a).with(body{"phone": "+12055559997", "email": x.email}), found("ghl-search", "payload", "email"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate", "GET /contacts/search/duplicate"}
			},
		},
		"GoHighLevel finds the payload's e-mail address, and has the phone number that Verity has": {
			setUp: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone, Email: "alias-" + x.email})
				return withoutContact(a).with(body{"email": "alias-" + x.email}), found("ghl-search", "ghl", "phone"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate"}
			},
		},
		"GoHighLevel allows duplicate phone numbers, and the search for contacts finds the payload's": {
			setUp: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutLocation(ghlsim.Location{ID: location, Token: "token1", UniqueBy: "email"})
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
				return withoutContact(a).with(body{"phone": x.phone}), found("ghl-search", "payload", "phone"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate", "POST /contacts/search"}
			},
			stored: func(x contact) store.Mapping { return store.Mapping{LocationID: location, Phone: x.phone} },
		},
		"GoHighLevel allows duplicate e-mail addresses, and the search for contacts finds the payload's": {
			setUp: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutLocation(ghlsim.Location{ID: location, Token: "token1", UniqueBy: "phone"})
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Email: x.email})
				return withoutContact(a).with(body{"email": x.email}), found("ghl-search", "payload", "email"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate", "POST /contacts/search"}
			},
		},
		"two contacts of GoHighLevel have the payload's phone number, and Verity has one": {
			setUp: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				g.PutLocation(ghlsim.Location{ID: location, Token: "token1", UniqueBy: "email"})
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
				g.PutContact(ghlsim.Contact{ID: x.ghl + "b", LocationID: location, Phone: x.phone})
				return withoutContact(a).with(body{"phone": x.phone}), found("", "payload", "phone"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate", "POST /contacts/search"}
			},
		},
		"the contact at GoHighLevel is unknown, and Verity has the payload's phone number": {
			setUp: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				return withoutContact(a).with(body{"phone": x.phone}), found("", "payload", "phone"),
					[]string{"GET /calendars/events/appointments/" + a, "GET /contacts/search/duplicate", "POST /contacts/search"}
			},
		},
		"the location is unknown, and Verity has the payload's phone number": {
			setUp: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				return workflow(a, body{"phone": x.phone}), found("", "payload", "phone"), []string{}
			},
		},
		"the location is stored for the contact": {
			setUp: func(t *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				require.NoError(t, env.store.RememberContact(t.Context(), store.Mapping{GHLContactID: x.ghl, LocationID: location}, at(0)))
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
				return workflow(a, body{"contact_id": x.ghl}), found("payload", "ghl", "phone"), []string{"GET /contacts/" + x.ghl}
			},
		},
		"the location is stored for the appointment": {
			setUp: func(t *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				require.Error(t, env.lead().Run(t.Context(), attempt(t, booked(a, x.ghl, 0))).Err)
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
				return workflow(a, body{"contact_id": x.ghl}), found("payload", "ghl", "phone"), []string{"GET /contacts/" + x.ghl}
			},
		},
		"the payload was cut, and GoHighLevel has the appointment": {
			setUp: func(_ *testing.T, g *ghlServer, x contact, a string) (body, map[string]any, []string) {
				env.remember(x.ghl, x.phone, "")
				g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location, ContactID: x.ghl, AppointmentStatus: "confirmed"})
				details := found("ghl-appointment", "mapping", "phone")
				details["reread"] = "done"
				return withoutContact(a).with(body{"payloadTooLarge": true}), details, []string{"GET /calendars/events/appointments/" + a}
			},
		},
		"the payload was cut, and GoHighLevel no longer has the appointment": {
			setUp: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				env.remember(x.ghl, x.phone, "")
				details := found("payload", "mapping", "phone")
				details["reread"] = "GoHighLevel has no such appointment"
				return booked(a, x.ghl, 1).with(body{"payloadTooLarge": true}), details, []string{"GET /calendars/events/appointments/" + a}
			},
		},
		"the payload was cut, and the location has no token": {
			setUp: func(_ *testing.T, _ *ghlServer, x contact, a string) (body, map[string]any, []string) {
				env.remember(x.ghl, x.phone, "")
				details := found("payload", "mapping", "phone")
				details["reread"] = "no token for the location"
				return booked(a, x.ghl, 1).with(body{"payloadTooLarge": true, "locationId": "loc2"}), details, []string{}
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, x, a := newGHL(t), env.newContact(), env.appointment()
			x.verity = env.addToVerity(x.phone, x.email)
			b, details, asked := tt.setUp(t, g, x, a)
			lead := env.lead()
			lead.GHL = g.api

			out := lead.Run(t.Context(), attempt(t, b))
			require.NoError(t, out.Err)
			assert.Equal(t, out.TargetID, out.VerityContactID)
			assert.Equal(t, []string{a + " active"}, env.leadsOf(out.VerityContactID))
			details["leads"], details["appointment"] = int64(1), a
			assert.Equal(t, details, out.Details)
			assert.Equal(t, asked, g.requested())
			if tt.stored != nil {
				want := tt.stored(x)
				want.GHLContactID = x.ghl
				m, err := env.store.Mapping(t.Context(), x.ghl)
				require.NoError(t, err)
				assert.Equal(t, want, m)
			}
		})
	}
}

// TestContactOfAnAppointmentIsNotFound runs an event of the appointment a of a contact x, which is not in Verity.
func TestContactOfAnAppointmentIsNotFound(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	const (
		noMatch = "verity-db: no contact has the phone number or e-mail address of the appointment's contact"
		noKeys  = "verity-db: neither a phone number nor an e-mail address of the appointment's contact is known"
	)
	tests := map[string]struct {
		setUp   func(g *ghlServer, x contact, a string) body
		noAPI   bool
		reason  string
		class   destination.Class
		message string
		wait    bool
	}{
		"Verity has not created the contact yet": {
			setUp: func(_ *ghlServer, x contact, a string) body {
				return workflow(a, body{"contact_id": x.ghl, "phone": x.phone})
			},
			reason: "ContactNotFound", class: destination.Transient, message: noMatch,
		},
		"the stored phone number is outdated": {
			setUp: func(g *ghlServer, x contact, a string) body {
				env.remember(x.ghl, "+12055559998", "")
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
				return booked(a, x.ghl, 1)
			},
			reason: "ContactNotFound", class: destination.Transient, message: noMatch,
		},
		"GoHighLevel has deleted the contact": {
			setUp:  func(_ *ghlServer, x contact, a string) body { return booked(a, x.ghl, 1) },
			reason: "ContactNotFound", class: destination.Transient, message: noKeys,
		},
		"the contact has no phone number and no e-mail address": {
			setUp: func(g *ghlServer, x contact, a string) body {
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location})
				return booked(a, x.ghl, 1)
			},
			reason: "ContactNotFound", class: destination.Transient, message: noKeys,
		},
		"nothing is stored, and GoHighLevel's API is not configured": {
			setUp: func(_ *ghlServer, x contact, a string) body { return booked(a, x.ghl, 1) },
			noAPI: true, reason: "ContactNotFound", class: destination.Transient, message: noKeys,
		},
		"the stored phone number is outdated, and the location is unknown": {
			setUp: func(_ *ghlServer, x contact, a string) body {
				env.remember(x.ghl, "+12055559998", "")
				return workflow(a, body{"contact_id": x.ghl})
			},
			reason: "ContactNotFound", class: destination.Transient, message: noMatch,
		},
		"nothing is stored, and the location is unknown": {
			setUp:  func(_ *ghlServer, x contact, a string) body { return workflow(a, body{"contact_id": x.ghl}) },
			reason: "LocationUnknown", class: destination.Permanent, message: "ghl: the location is not known",
		},
		"no event names the contact, and the location is unknown": {
			setUp:  func(_ *ghlServer, _ contact, a string) body { return workflow(a, body{}) },
			reason: "LocationUnknown", class: destination.Permanent, message: "ghl: the location is not known",
		},
		"the location has no token": {
			setUp: func(_ *ghlServer, x contact, a string) body {
				return booked(a, x.ghl, 1).with(body{"locationId": "loc2"})
			},
			reason: "LocationUnknown", class: destination.Permanent, message: "ghl:loc2: there is no token for this location",
		},
		"GoHighLevel requests a pause": {
			setUp: func(g *ghlServer, x contact, a string) body {
				limited := fault.Status(429)
				limited.Header.Set("Retry-After", "30")
				_ = g.Faults.Add(limited)
				return booked(a, x.ghl, 1)
			},
			class: destination.Limited, message: "ghl:loc1: the location's limit of requests is reached (429)", wait: true,
		},
		"GoHighLevel fails to return the contact of the appointment": {
			setUp: func(g *ghlServer, x contact, a string) body {
				_ = g.Faults.Add(fault.Status(500))
				return withoutContact(a).with(body{"phone": x.phone})
			},
			class: destination.Transient, message: "ghl:loc1: answered 500 Internal Server Error",
		},
		"the payload was cut, and GoHighLevel fails": {
			setUp: func(g *ghlServer, x contact, a string) body {
				_ = g.Faults.Add(fault.Status(500))
				return booked(a, x.ghl, 1).with(body{"payloadTooLarge": true})
			},
			class: destination.Transient, message: "ghl:loc1: answered 500 Internal Server Error",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, x, a := newGHL(t), env.newContact(), env.appointment()
			lead := env.lead()
			if !tt.noAPI {
				lead.GHL = g.api
			}
			b := tt.setUp(g, x, a)
			out := lead.Run(t.Context(), attempt(t, b))
			require.Error(t, out.Err)
			assert.Equal(t, tt.message, out.Err.Error())
			assert.Equal(t, tt.reason, out.Reason)
			assert.Equal(t, tt.class, destination.ClassOf(out.Err))
			assert.Equal(t, tt.reason == "ContactNotFound", out.NotYet)
			assert.Equal(t, tt.wait, out.Wait > 0)

			if tt.reason == "ContactNotFound" { // A deletion of the appointment changes no lead.
				out := lead.Run(t.Context(), attempt(t, b.with(body{"type": "AppointmentDelete", "timestamp": at(23).Format(time.RFC3339)})))
				require.NoError(t, out.Err)
				assert.Equal(t, "LeadUnchanged", out.Result)
				assert.Equal(t, "the appointment has ended, and Verity has no contact whose lead could point at it", out.Skipped)
			}
		})
	}
}
