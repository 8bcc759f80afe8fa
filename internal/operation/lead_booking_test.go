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

// june is when the older appointments of these tests were booked.
var june = time.Date(2026, time.June, 2, 14, 0, 0, 0, time.UTC)

// addedAt returns a marketplace body that says when the appointment was booked.
func (b body) addedAt(t time.Time) body {
	return b.with(body{"appointment": b["appointment"].(body).with(body{"dateAdded": t.Format(time.RFC3339)})})
}

// calendar is a workflow's body of an appointment with a status and a start.
func calendar(appointment, contact, status, start string) body {
	return workflow(appointment, body{"contact_id": contact, "calendar": body{
		"appointmentId": appointment, "id": "calendar1", "status": "booked", "appoinmentStatus": status, "startTime": start,
	}})
}

// orders yields every order of a few things.
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

// TestTheAppointmentThatWasBookedLastHasTheLead has events of the appointments older and newer of one contact arrive, in every order and
// each of them twice.
func TestTheAppointmentThatWasBookedLastHasTheLead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	newerBooked := func(newer, x string) body { return booked(newer, x, 9).addedAt(at(9)) }
	tests := map[string]struct {
		// api are the booking times that GoHighLevel says, of the older and the newer one; nil is an API that is not configured.
		api    func(g *ghlServer, older, newer, x string)
		events func(older, newer, x string) []body
	}{
		"an update of the older one": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), updated(older, x, 10, "showed").addedAt(june)}
		}},
		"an update of the older one that does not say when it was booked": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), updated(older, x, 10, "showed")}
		}},
		"an update of the older one, and one of the newer one whose booking was never delivered": {nil, func(older, newer, x string) []body {
			return []body{updated(newer, x, 9, "confirmed").addedAt(at(8)), updated(older, x, 10, "confirmed").addedAt(june)}
		}},
		"updates of the older one, of which the last says when it was booked": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), updated(older, x, 10, "confirmed"), updated(older, x, 11, "showed").addedAt(june)}
		}},
		"an update of the older one with a booking time that is to come": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), updated(older, x, 10, "showed").addedAt(at(90))}
		}},
		"an event of the older one that is called a booking": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), booked(older, x, 10).addedAt(june)}
		}},
		"a workflow's change of the older one": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), calendar(older, x, "showed", "2026-06-09T15:00:00")}
		}},
		"a workflow's cancellation of the older one": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), calendar(older, x, "cancelled", "2026-12-09T15:00:00")}
		}},
		"a workflow's confirmation of the older one, which took place": {nil, func(older, newer, x string) []body {
			return []body{newerBooked(newer, x), calendar(older, x, "confirmed", "2026-06-09T15:00:00")}
		}},
		"a workflow's reschedule of the older one, of which GoHighLevel knows when it was booked": {
			func(g *ghlServer, older, _, x string) {
				g.PutAppointment(ghlsim.Appointment{ID: older, LocationID: location, ContactID: x, DateAdded: june})
			},
			func(older, newer, x string) []body {
				return []body{newerBooked(newer, x), calendar(older, x, "confirmed", "2026-12-09T15:00:00").with(body{"locationId": location})}
			},
		},
		"a workflow's booking of the newer one, and its change of the older one": {nil, func(older, newer, x string) []body {
			return []body{calendar(newer, x, "confirmed", "2026-12-09T15:00:00"), calendar(older, x, "showed", "2026-06-09T15:00:00")}
		}},
		"updates that do not say when, of two appointments of which GoHighLevel knows it": {
			func(g *ghlServer, older, newer, x string) {
				g.PutAppointment(ghlsim.Appointment{ID: older, LocationID: location, ContactID: x, DateAdded: june})
				g.PutAppointment(ghlsim.Appointment{ID: newer, LocationID: location, ContactID: x, DateAdded: at(1)})
			},
			func(older, newer, x string) []body {
				return []body{updated(older, x, 10, "showed"), updated(newer, x, 9, "confirmed")}
			},
		},
		"an update of the older one, of which GoHighLevel knows nothing any more": {
			func(*ghlServer, string, string, string) {},
			func(older, newer, x string) []body {
				return []body{newerBooked(newer, x), updated(older, x, 10, "showed")}
			},
		},
		"an update of the older one, in a location without a token": {
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
				g, x, older, newer := newGHL(t), w.contact(), w.appointment(), w.appointment()
				lead := w.lead()
				if tt.api != nil {
					lead.GHL = g.api
					tt.api(g, older, newer, x.ghl)
				}
				var events []*store.Attempt
				for _, b := range tt.events(older, newer, x.ghl) {
					events = append(events, claimed(t, b))
				}
				events = orders(events)[n]
				for _, e := range slices.Concat(events, events) {
					require.NoError(t, lead.Run(t.Context(), e).Err)
				}
				assert.Equal(t, []string{newer + " active"}, w.leadsOf(x.verity), "in the order %d", n)
			}
		})
	}
}

// TestALeadThatPointsAtAnAppointmentOfWhichNothingIsKnown is about leads that the legacy middleware wrote, or people.
func TestALeadThatPointsAtAnAppointmentOfWhichNothingIsKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := time.Date(2026, time.October, 1, 12, 0, 0, 0, time.UTC)
	reschedule := func(a, x string) body {
		return calendar(a, x, "confirmed", "2026-12-09T15:00:00").with(body{"locationId": location})
	}
	tests := map[string]struct {
		lead  string
		event func(a, x string) body
		// dateAdded is what GoHighLevel says, zero where it is not configured.
		dateAdded time.Time
		takes     bool
		result    string
	}{
		"stays with an update":                                                   {"legacy", func(a, x string) body { return updated(a, x, 10, "showed") }, time.Time{}, false, "LeadUnchanged"},
		"stays with an update of what was booked earlier":                        {"legacy", func(a, x string) body { return updated(a, x, 10, "showed").addedAt(june) }, time.Time{}, false, "LeadUnchanged"},
		"follows an update of what was booked since":                             {"legacy", func(a, x string) body { return updated(a, x, 10, "confirmed").addedAt(at(1)) }, time.Time{}, true, "LeadUpdated"},
		"stays with a workflow's change":                                         {"legacy", func(a, x string) body { return calendar(a, x, "showed", "2026-12-09T15:00:00") }, time.Time{}, false, "LeadUnchanged"},
		"stays with a confirmation of what took place":                           {"legacy", func(a, x string) body { return calendar(a, x, "confirmed", "2026-06-09T15:00:00") }, time.Time{}, false, "LeadUnchanged"},
		"follows a booking":                                                      {"legacy", func(a, x string) body { return booked(a, x, 10).addedAt(at(10)) }, time.Time{}, true, "LeadUpdated"},
		"follows a booking of which nobody says when":                            {"legacy", func(a, x string) body { return booked(a, x, 10) }, time.Time{}, true, "LeadUpdated"},
		"follows a workflow's booking":                                           {"legacy", func(a, x string) body { return calendar(a, x, "confirmed", "2026-12-09T15:00:00") }, time.Time{}, true, "LeadUpdated"},
		"stays where GoHighLevel says that it was earlier":                       {"legacy", func(a, x string) body { return updated(a, x, 10, "showed") }, june, false, "LeadUnchanged"},
		"follows where GoHighLevel says that it was later":                       {"legacy", func(a, x string) body { return updated(a, x, 10, "showed") }, at(1), true, "LeadUpdated"},
		"stays where GoHighLevel says that a workflow's booking is a reschedule": {"legacy", reschedule, june, false, "LeadUnchanged"},
		"follows where GoHighLevel says that a workflow's booking is one":        {"legacy", reschedule, at(19), true, "LeadUpdated"},
		"follows an update where it points at nothing":                           {"", func(a, x string) body { return updated(a, x, 10, "showed") }, time.Time{}, true, "LeadUpdated"},
		"follows an update where it points at a contact":                         {"contact", func(a, x string) body { return updated(a, x, 10, "showed") }, time.Time{}, true, "LeadUpdated"},
		"stays where the appointment was deleted":                                {"legacy", func(a, x string) body { return deleted(a, x, 10) }, time.Time{}, false, "LeadUnchanged"},
		"stays where the appointment was called off before":                      {"legacy", func(a, x string) body { return updated(a, x, 10, "cancelled") }, time.Time{}, false, "LeadUnchanged"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, a := w.contact(), w.appointment()
			pointsAt := strings.Replace(tt.lead, "contact", x.ghl, 1)
			_, err := w.verity.AddLead(t.Context(), x.verity, pointsAt)
			require.NoError(t, err)
			_, err = w.pool.Exec(t.Context(), `UPDATE leads SET last_activity_at = $2 WHERE contact_id = $1`, x.verity, before)
			require.NoError(t, err)
			lead := w.lead()
			if !tt.dateAdded.IsZero() {
				g := newGHL(t)
				g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location, ContactID: x.ghl, DateAdded: tt.dateAdded})
				lead.GHL = g.api
			}
			e := claimed(t, tt.event(a, x.ghl))
			out := lead.Run(t.Context(), e)
			require.NoError(t, out.Err)
			assert.Equal(t, tt.result, out.Result)
			want := []string{a + " active"}
			if !tt.takes {
				want = []string{"legacy"}
			}
			require.NoError(t, lead.Run(t.Context(), e).Err)
			assert.Equal(t, want, w.leadsOf(x.verity))
			if _, spared := out.Details["spared"]; spared {
				assert.Equal(t, "the contact's lead points at an unknown appointment, and no other appointment is known to be booked later", out.Skipped)
			}
		})
	}

	t.Run("is one of several, of which the others follow", func(t *testing.T) {
		t.Parallel()
		x, a := w.contact(), w.appointment()
		for _, pointsAt := range []string{"", "legacy"} {
			_, err := w.verity.AddLead(t.Context(), x.verity, pointsAt)
			require.NoError(t, err)
		}
		w.rest(x.verity)
		out := w.lead().Run(t.Context(), claimed(t, updated(a, x.ghl, 10, "confirmed")))
		require.NoError(t, out.Err)
		assert.Equal(t, "LeadUpdated", out.Result)
		assert.Empty(t, out.Skipped)
		assert.EqualValues(t, 1, out.Details["spared"])
		assert.Equal(t, []string{a + " active", "legacy"}, w.leadsOf(x.verity))
	})
	t.Run("follows a booking, whatever updates came before and after it", func(t *testing.T) {
		t.Parallel()
		for n := range 6 {
			x, older, newer := w.contact(), w.appointment(), w.appointment()
			_, err := w.verity.AddLead(t.Context(), x.verity, "legacy")
			require.NoError(t, err)
			events := orders([]body{
				updated(older, x.ghl, 10, "showed").addedAt(june), booked(newer, x.ghl, 9).addedAt(at(9)), updated(newer, x.ghl, 11, "confirmed"),
			})[n]
			for _, b := range events {
				require.NoError(t, w.lead().Run(t.Context(), claimed(t, b)).Err)
			}
			assert.Equal(t, []string{newer + " active"}, w.leadsOf(x.verity), "in the order %d", n)
		}
	})
}

func TestGoHighLevelIsAskedForABookingTimeOnlyWhereItDecides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, x, a, b := newGHL(t), w.contact(), w.appointment(), w.appointment()
	lead := w.lead()
	lead.GHL = g.api
	run := func(b body) operation.Outcome { return lead.Run(t.Context(), claimed(t, b)) }
	get := "GET /calendars/events/appointments/"
	g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: location, ContactID: x.ghl, DateAdded: june})
	g.PutAppointment(ghlsim.Appointment{ID: b, LocationID: location, ContactID: x.ghl, DateAdded: at(1)})

	require.NoError(t, run(updated(a, x.ghl, 2, "confirmed")).Err)
	assert.Empty(t, g.asked(), "the contact has no other appointment")

	_ = g.Faults.Add(fault.Status(500))
	out := run(updated(b, x.ghl, 3, "confirmed"))
	assert.Equal(t, destination.Transient, destination.ClassOf(out.Err), "an API that fails decides nothing")
	assert.Equal(t, []string{a + " active"}, w.leadsOf(x.verity))

	g.Faults.Clear()
	out = run(updated(b, x.ghl, 3, "confirmed"))
	require.NoError(t, out.Err)
	assert.Equal(t, "ghl", out.Details["bookingTimesFrom"])
	assert.Equal(t, []string{b + " active"}, w.leadsOf(x.verity))
	asked := g.asked()
	assert.ElementsMatch(t, []string{get + a, get + b}, asked[len(asked)-2:])

	require.NoError(t, run(updated(a, x.ghl, 4, "showed")).Err)
	assert.Equal(t, asked, g.asked(), "what it has said is kept")
	assert.Equal(t, []string{b + " active"}, w.leadsOf(x.verity))
}

func TestABookingTimeIsAskedForInTheLocationOfItsAppointment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, known := range map[string]tokens{
		"with tokens of both locations":   {location: "token1", "loc2": "token2"},
		"with the token of the first one": {location: "token1"},
	} {
		g, x, twin, a, b := newGHLWith(t, known), w.contact(), w.stranger(), w.appointment(), w.appointment()
		w.remember(twin.ghl, x.phone, "")
		g.PutLocation(ghlsim.Location{ID: "loc2", Token: "token2"})
		g.PutAppointment(ghlsim.Appointment{ID: a, LocationID: "loc2", ContactID: twin.ghl, DateAdded: june})
		g.PutAppointment(ghlsim.Appointment{ID: b, LocationID: location, ContactID: x.ghl, DateAdded: at(1)})
		lead := w.lead()
		lead.GHL = g.api
		require.NoError(t, lead.Run(t.Context(), claimed(t, updated(a, twin.ghl, 3, "confirmed").with(body{"locationId": "loc2"}))).Err, name)
		require.NoError(t, lead.Run(t.Context(), claimed(t, updated(b, x.ghl, 2, "confirmed"))).Err, name)
		assert.Equal(t, []string{b + " active"}, w.leadsOf(x.verity), name)
	}
}

// TestTheReportOfAnOlderAppointment has the bodies p10 of the reports arrive in every order.
func TestTheReportOfAnOlderAppointment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files, err := filepath.Glob(filepath.Join("..", "ghl", "testdata", "reports", "p10-*.json"))
	require.NoError(t, err)
	require.Len(t, files, 3)
	lead, contact := w.lead(), &operation.Contact{Store: w.store, Regions: inUS}
	for n, order := range orders(files) {
		phone := fmt.Sprintf("+1202555%04d", 100+n)
		verityID := w.inVerity(phone, "")
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
		for len(events) > 0 { // Whoever finds no contact yet comes again.
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
		assert.Equal(t, []string{fmt.Sprintf("aptExampleNewerP10order%d active", n)}, w.leadsOf(verityID), "in the order %v", order)
	}
}
