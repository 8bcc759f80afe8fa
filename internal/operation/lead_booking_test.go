package operation_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	ghlsim "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

// june is the booking time of older appointments.
var june = time.Date(2026, time.June, 2, 14, 0, 0, 0, time.UTC)

// addedAt returns a marketplace body with the booking time.
func (b body) addedAt(t time.Time) body {
	return b.with(body{"appointment": b["appointment"].(body).with(body{"dateAdded": t.Format(time.RFC3339)})})
}

// calendar returns a workflow's body for an appointment with a status and a start.
func calendar(appointment, contact, status, start string) body {
	return workflow(appointment, body{"contact_id": contact, "calendar": body{
		"appointmentId": appointment, "id": "calendar1", "status": "booked", "appoinmentStatus": status, "startTime": start,
	}})
}

// orders returns every order of a list.
func orders[T any](things []T) [][]T {
	if len(things) < 2 {
		return [][]T{things}
	}
	var all [][]T
	for i := range things {
		for _, rest := range orders(slices.Concat(things[:i], things[i+1:])) {
			all = append(all, append([]T{things[i]}, rest...))
		}
	}
	return all
}

// TestLeadFollowsTheLastBooking runs events of an older and a newer appointment of one contact in every order, each of them twice.
func TestLeadFollowsTheLastBooking(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	newerBooked := func(newer, x string) body { return booked(newer, x, 9).addedAt(at(9)) }
	tests := map[string]struct {
		// api adds the appointments with their booking times to GoHighLevel; nil if its API is not configured.
		api    func(g *ghlServer, older, newer, x string)
		events func(older, newer, x string) []body
	}{
		"an update of the older appointment": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), updated(older, x, 10, "showed").addedAt(june)}
		}},
		"an update of the older appointment without a booking time": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), updated(older, x, 10, "showed")}
		}},
		"an update of each, and the newer booking was never delivered": {nil, func(older, newer, x string) []body {
			return []body{updated(newer, x, 9, "confirmed").addedAt(at(8)), updated(older, x, 10, "confirmed").addedAt(june)}
		}},
		"two updates of the older appointment, only the last with a booking time": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), updated(older, x, 10, "confirmed"), updated(older, x, 11, "showed").addedAt(june)}
		}},
		"an update of the older appointment with a booking time in the future": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), updated(older, x, 10, "showed").addedAt(at(90))}
		}},
		"a creation of the older appointment long after its booking time": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), booked(older, x, 10).addedAt(june)}
		}},
		"a workflow's change of the older appointment": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), calendar(older, x, "showed", "2026-06-09T15:00:00")}
		}},
		"a workflow's cancellation of the older appointment": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), calendar(older, x, "cancelled", "2026-12-09T15:00:00")}
		}},
		"a workflow's confirmation of the older appointment after it took place": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), calendar(older, x, "confirmed", "2026-06-09T15:00:00")}
		}},
		"a workflow's reschedule of the older appointment, and GoHighLevel has its booking time": {
			func(g *ghlServer, older, _, x string) {
				g.PutAppointment(ghlsim.Appointment{ID: older, LocationID: location, ContactID: x, DateAdded: june})
			},
			func(older, newer, x string) []body {
				return []body{newerBooked(newer, x), calendar(older, x, "confirmed", "2026-12-09T15:00:00").with(body{"locationId": location})}
			},
		},
		"a workflow's booking of the newer appointment and its change of the older one": {nil, func(older, newer, x string) []body {
			return []body{calendar(newer, x, "confirmed", "2026-12-09T15:00:00"), calendar(older, x, "showed", "2026-06-09T15:00:00")}
		}},
		"updates without booking times, and GoHighLevel has both": {
			func(g *ghlServer, older, newer, x string) {
				g.PutAppointment(ghlsim.Appointment{ID: older, LocationID: location, ContactID: x, DateAdded: june})
				g.PutAppointment(ghlsim.Appointment{ID: newer, LocationID: location, ContactID: x, DateAdded: at(1)})
			},
			func(older, newer, x string) []body {
				return []body{updated(older, x, 10, "showed"), updated(newer, x, 9, "confirmed")}
			},
		},
		"an update of the older appointment, which GoHighLevel no longer has": {
			func(*ghlServer, string, string, string) {},
			func(older, newer, x string) []body {
				return []body{newerBooked(newer, x), updated(older, x, 10, "showed")}
			},
		},
		"an update of the older appointment in a location without a token": {
			func(*ghlServer, string, string, string) {},
			func(older, newer, x string) []body {
				return []body{newerBooked(newer, x), updated(older, x, 10, "showed").with(body{"locationId": "loc2"})}
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := range len(orders(tt.events("", "", ""))) {
				g, x, older, newer := newGHL(t), env.contact(), env.appointment(), env.appointment()
				lead := env.lead()
				if tt.api != nil {
					lead.GHL = g.api
					tt.api(g, older, newer, x.ghl)
				}
				var events []*store.Attempt
				for _, b := range tt.events(older, newer, x.ghl) {
					events = append(events, attempt(t, b))
				}
				events = orders(events)[n]
				for _, e := range slices.Concat(events, events) {
					require.NoError(t, lead.Run(t.Context(), e).Err)
				}
				assert.Equal(t, []string{newer + " active"}, env.leadsOf(x.verity), "in the order %d", n)
			}
		})
	}
}

// TestLeadThatPointsAtAnUnknownAppointment is about leads that the legacy middleware or a person wrote.
func TestLeadThatPointsAtAnUnknownAppointment(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	before := time.Date(2026, time.October, 1, 12, 0, 0, 0, time.UTC)
	reschedule := func(a, x string) body {
		return calendar(a, x, "confirmed", "2026-12-09T15:00:00").with(body{"locationId": location})
	}
	tests := map[string]struct {
		lead  string
		event func(a, x string) body
		// dateAdded is the booking time at GoHighLevel; zero if its API is not configured.
		dateAdded time.Time
		takes     bool
		result    string
	}{
		"stays after an update":                                        {"legacy", func(a, x string) body { return updated(a, x, 10, "showed") }, time.Time{}, false, "LeadUnchanged"},
		"stays after an update of an earlier booking":                  {"legacy", func(a, x string) body { return updated(a, x, 10, "showed").addedAt(june) }, time.Time{}, false, "LeadUnchanged"},
		"follows an update of a later booking":                         {"legacy", func(a, x string) body { return updated(a, x, 10, "confirmed").addedAt(at(1)) }, time.Time{}, true, "LeadUpdated"},
		"stays after a workflow's change":                              {"legacy", func(a, x string) body { return calendar(a, x, "showed", "2026-12-09T15:00:00") }, time.Time{}, false, "LeadUnchanged"},
		"stays after a confirmation of a past appointment":             {"legacy", func(a, x string) body { return calendar(a, x, "confirmed", "2026-06-09T15:00:00") }, time.Time{}, false, "LeadUnchanged"},
		"follows a booking":                                            {"legacy", func(a, x string) body { return booked(a, x, 10).addedAt(at(10)) }, time.Time{}, true, "LeadUpdated"},
		"follows a booking without a booking time":                     {"legacy", func(a, x string) body { return booked(a, x, 10) }, time.Time{}, true, "LeadUpdated"},
		"follows a workflow's booking":                                 {"legacy", func(a, x string) body { return calendar(a, x, "confirmed", "2026-12-09T15:00:00") }, time.Time{}, true, "LeadUpdated"},
		"stays if GoHighLevel has an earlier booking time":             {"legacy", func(a, x string) body { return updated(a, x, 10, "showed") }, june, false, "LeadUnchanged"},
		"follows if GoHighLevel has a later booking time":              {"legacy", func(a, x string) body { return updated(a, x, 10, "showed") }, at(1), true, "LeadUpdated"},
		"stays if a workflow's booking is a reschedule at GoHighLevel": {"legacy", reschedule, june, false, "LeadUnchanged"},
		"follows if a workflow's booking is a booking at GoHighLevel":  {"legacy", reschedule, at(19), true, "LeadUpdated"},
		"follows an update if it points at nothing":                    {"", func(a, x string) body { return updated(a, x, 10, "showed") }, time.Time{}, true, "LeadUpdated"},
		"follows an update if it points at a contact":                  {"contact", func(a, x string) body { return updated(a, x, 10, "showed") }, time.Time{}, true, "LeadUpdated"},
		"stays if the appointment was deleted":                         {"legacy", func(a, x string) body { return deleted(a, x, 10) }, time.Time{}, false, "LeadUnchanged"},
		"stays if the appointment was cancelled":                       {"legacy", func(a, x string) body { return updated(a, x, 10, "cancelled") }, time.Time{}, false, "LeadUnchanged"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, a := env.contact(), env.appointment()
			pointsAt := strings.Replace(tt.lead, "contact", x.ghl, 1)
			_, err := env.verity.AddLead(t.Context(), x.verity, pointsAt)
			require.NoError(t, err)
			_, err = env.pool.Exec(t.Context(), `UPDATE leads SET last_activity_at = $2 WHERE contact_id = $1`, x.verity, before)
			require.NoError(t, err)
			lead := env.lead()
			if !tt.dateAdded.IsZero() {
				g := newGHL(t)
				g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location, ContactID: x.ghl, DateAdded: tt.dateAdded})
				lead.GHL = g.api
			}
			e := attempt(t, tt.event(a, x.ghl))
			out := lead.Run(t.Context(), e)
			require.NoError(t, out.Err)
			assert.Equal(t, tt.result, out.Result)
			want := []string{a + " active"}
			if !tt.takes {
				want = []string{"legacy"}
			}
			require.NoError(t, lead.Run(t.Context(), e).Err)
			assert.Equal(t, want, env.leadsOf(x.verity))
			if _, spared := out.Details["spared"]; spared {
				assert.Equal(t, "the contact's lead points at an unknown appointment, and no other appointment is known to be booked later; the lead is not changed", out.Skipped)
			}
		})
	}

	t.Run("stays while the contact's other leads follow", func(t *testing.T) {
		t.Parallel()
		x, a := env.contact(), env.appointment()
		for _, pointsAt := range []string{"", "legacy"} {
			_, err := env.verity.AddLead(t.Context(), x.verity, pointsAt)
			require.NoError(t, err)
		}
		env.ageLeads(x.verity)
		out := env.lead().Run(t.Context(), attempt(t, updated(a, x.ghl, 10, "confirmed")))
		require.NoError(t, out.Err)
		assert.Equal(t, "LeadUpdated", out.Result)
		assert.Empty(t, out.Skipped)
		assert.EqualValues(t, 1, out.Details["spared"])
		assert.Equal(t, []string{a + " active", "legacy"}, env.leadsOf(x.verity))
	})
	t.Run("follows a booking before or after any updates", func(t *testing.T) {
		t.Parallel()
		for n := range 6 {
			x, older, newer := env.contact(), env.appointment(), env.appointment()
			_, err := env.verity.AddLead(t.Context(), x.verity, "legacy")
			require.NoError(t, err)
			events := orders([]body{
				updated(older, x.ghl, 10, "showed").addedAt(june), booked(newer, x.ghl, 9).addedAt(at(9)), updated(newer, x.ghl, 11, "confirmed"),
			})[n]
			for _, b := range events {
				require.NoError(t, env.lead().Run(t.Context(), attempt(t, b)).Err)
			}
			assert.Equal(t, []string{newer + " active"}, env.leadsOf(x.verity), "in the order %d", n)
		}
	})
}

func TestBookingTimeIsRequestedOnlyIfItDecides(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	g, x, a, b := newGHL(t), env.contact(), env.appointment(), env.appointment()
	lead := env.lead()
	lead.GHL = g.api
	run := func(b body) operation.Outcome { return lead.Run(t.Context(), attempt(t, b)) }
	get := "GET /calendars/events/appointments/"
	g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location, ContactID: x.ghl, DateAdded: june})
	g.PutAppointment(ghlsim.Appointment{ID: b, LocationID: location, ContactID: x.ghl, DateAdded: at(1)})

	require.NoError(t, run(updated(a, x.ghl, 2, "confirmed")).Err)
	assert.Empty(t, g.requested(), "the contact has no other appointment")

	_ = g.Faults.Add(fault.Status(500))
	out := run(updated(b, x.ghl, 3, "confirmed"))
	assert.Equal(t, destination.Transient, destination.ClassOf(out.Err), "a failed request decides nothing")
	assert.Equal(t, []string{a + " active"}, env.leadsOf(x.verity))

	g.Faults.Clear()
	out = run(updated(b, x.ghl, 3, "confirmed"))
	require.NoError(t, out.Err)
	assert.Equal(t, "ghl", out.Details["bookingTimesFrom"])
	assert.Equal(t, []string{b + " active"}, env.leadsOf(x.verity))
	asked := g.requested()
	assert.ElementsMatch(t, []string{get + a, get + b}, asked[len(asked)-2:])

	require.NoError(t, run(updated(a, x.ghl, 4, "showed")).Err)
	assert.Equal(t, asked, g.requested(), "the booking times are stored")
	assert.Equal(t, []string{b + " active"}, env.leadsOf(x.verity))
}

func TestBookingTimeIsRequestedInTheLocationOfItsAppointment(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	for name, known := range map[string]tokens{
		"with tokens of both locations":        {location: "token1", "loc2": "token2"},
		"with the token of the first location": {location: "token1"},
	} {
		g, x, twin, a, b := newGHLWith(t, known), env.contact(), env.newContact(), env.appointment(), env.appointment()
		env.remember(twin.ghl, x.phone, "")
		g.PutLocation(ghlsim.Location{ID: "loc2", Token: "token2"})
		g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: "loc2", ContactID: twin.ghl, DateAdded: june})
		g.PutAppointment(ghlsim.Appointment{ID: b, LocationID: location, ContactID: x.ghl, DateAdded: at(1)})
		lead := env.lead()
		lead.GHL = g.api
		require.NoError(t, lead.Run(t.Context(), attempt(t, updated(a, twin.ghl, 3, "confirmed").with(body{"locationId": "loc2"}))).Err, name)
		require.NoError(t, lead.Run(t.Context(), attempt(t, updated(b, x.ghl, 2, "confirmed"))).Err, name)
		assert.Equal(t, []string{b + " active"}, env.leadsOf(x.verity), name)
	}
}

// TestReportedWebhooksOfAnOlderAppointment runs the bodies p10 of the reports in every order.
func TestReportedWebhooksOfAnOlderAppointment(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	files, err := filepath.Glob(filepath.Join("..", "ghl", "testdata", "reports", "p10-*.json"))
	require.NoError(t, err)
	require.Len(t, files, 3)
	lead, contact := env.lead(), &operation.Contact{Store: env.store, Regions: inUS}
	for n, order := range orders(files) {
		phone := fmt.Sprintf("+1202555%04d", 100+n)
		verityID := env.addToVerity(phone, "")
		var events []*store.Attempt
		for i, file := range order {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			own := strings.NewReplacer("P10", fmt.Sprintf("P10order%d", n), "+12025550180", phone).Replace(string(text))
			decoded, err := ghl.Decode("application/json", []byte(own))
			require.NoError(t, err)
			receivedAt := time.Date(2026, time.November, 25, 12, 0, i, 0, time.UTC)
			events = append(events, &store.Attempt{
				ID: uuid.Must(uuid.NewV7()), Event: ghl.Normalise(decoded, receivedAt), Payload: decoded.Payload, ReceivedAt: receivedAt,
				StartedAt: receivedAt,
			})
		}
		for len(events) > 0 { // An event whose contact is not found is retried.
			e := events[0]
			events = events[1:]
			var op operation.Operation = contact
			if lead.Spec().Serves(e.Event.EntityType) {
				op = lead
			}
			if out := op.Run(t.Context(), e); out.Err != nil {
				require.Equal(t, "ContactNotFound", out.Reason)
				require.NotEmpty(t, events)
				events = append(events, e)
			}
		}
		assert.Equal(t, []string{fmt.Sprintf("aptExampleNewerP10order%d active", n)}, env.leadsOf(verityID), "in the order %v", order)
	}
}
