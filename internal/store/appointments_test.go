package store_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// The default end policy, and the two extremes.
var (
	byDefault = store.EndPolicy{Deletion: true}
	clearAll  = store.EndPolicy{Deletion: true, Cancellation: true}
	keepAll   = store.EndPolicy{}
)

// said is an event of an appointment, with a new id.
func said(hour int, status, contact string) store.AppointmentEvent {
	return store.AppointmentEvent{
		Status: status, GHLContactID: contact, At: at(hour), ReceivedAt: at(20), EventID: uuid.Must(uuid.NewV7()),
	}
}

func undated(hour int, status, contact string) store.AppointmentEvent {
	e := said(hour, status, contact)
	e.Undated = true
	return e
}

func deletion(hour int) store.AppointmentEvent {
	e := said(hour, "", "")
	e.Deleted = true
	return e
}

// merge merges events into an appointment, in this order, and returns the result.
func (b *environment) merge(id string, events ...store.AppointmentEvent) (known store.Appointment, newest bool) {
	b.t.Helper()
	for _, e := range events {
		e.AppointmentID = id
		var err error
		known, newest, err = b.MergeAppointment(b.t.Context(), e)
		require.NoError(b.t, err)
	}
	return known, newest
}

func TestEventsMergeIntoAnAppointment(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	tests := map[string]struct {
		events []store.AppointmentEvent
		want   store.Appointment
	}{
		"the latest event determines status and contact": {
			[]store.AppointmentEvent{said(1, "confirmed", "x"), said(2, "showed", "y"), said(3, "cancelled", "x")},
			store.Appointment{Status: "cancelled", GHLContactID: "x", Booked: true},
		},
		"values that the latest event lacks come from earlier ones": {
			[]store.AppointmentEvent{said(1, "confirmed", "x"), said(2, "", "y"), said(3, "cancelled", ""), said(4, "", "")},
			store.Appointment{Status: "cancelled", GHLContactID: "y", Booked: true},
		},
		"a deletion is the end": {
			[]store.AppointmentEvent{said(1, "confirmed", "x"), said(2, "showed", "y"), deletion(3)},
			store.Appointment{Status: "showed", GHLContactID: "y", Deleted: true, Booked: true},
		},
		"a deletion wins at the same instant": {
			[]store.AppointmentEvent{deletion(1), said(1, "confirmed", "x"), said(1, "confirmed", "x")},
			store.Appointment{Status: "confirmed", GHLContactID: "x", Deleted: true, Booked: true},
		},
		"an event after a deletion revives it": {
			[]store.AppointmentEvent{said(1, "confirmed", "x"), deletion(2), said(3, "", "")},
			store.Appointment{Status: "confirmed", GHLContactID: "x", Booked: true},
		},
		"an event that may precede a deletion does not revive it": {
			[]store.AppointmentEvent{said(1, "confirmed", "x"), deletion(2), undated(3, "showed", "y")},
			store.Appointment{Status: "showed", GHLContactID: "y", Deleted: true, Booked: true},
		},
		"an end alone is no booking": {
			[]store.AppointmentEvent{said(1, "cancelled", "x"), deletion(2)},
			store.Appointment{Status: "cancelled", GHLContactID: "x", Deleted: true},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 0
			for events := range permutations(tt.events) {
				n++
				id := fmt.Sprintf("%s %d", name, n)
				got, _ := b.merge(id, events...)
				assert.True(t, got.Unsynced)
				got.Unsynced, got.Revision, got.FormerContactIDs = false, 0, nil
				assert.Equal(t, tt.want, got, "in the order %v", events)
				assert.True(t, value[time.Time](b, `SELECT first_at FROM appointments WHERE ghl_appointment_id = $1`, id).Equal(at(1)))

				again, _ := b.merge(id, tt.events[0])
				known, err := b.Appointment(t.Context(), id)
				require.NoError(t, err)
				assert.Equal(t, again, known)
				assert.Equal(t, tt.want.Status, again.Status, "a repetition changes nothing")
			}
		})
	}

	t.Run("at the same instant the later arrival counts", func(t *testing.T) {
		t.Parallel()
		first, second := said(1, "confirmed", ""), said(1, "showed", "")
		first.ReceivedAt, first.EventID, second.EventID = at(21), second.EventID, first.EventID
		for events := range permutations([]store.AppointmentEvent{first, second}) {
			known, _ := b.merge(uuid.NewString(), events...)
			assert.Equal(t, "confirmed", known.Status)
		}
	})
	t.Run("concurrent events do not interfere", func(t *testing.T) {
		t.Parallel()
		var wg sync.WaitGroup
		for hour := range 12 {
			wg.Go(func() {
				e := said(hour, fmt.Sprintf("status %d", hour), "x")
				e.AppointmentID = "busy"
				_, _, err := b.MergeAppointment(t.Context(), e)
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		known, err := b.Appointment(t.Context(), "busy")
		require.NoError(t, err)
		assert.Equal(t, "status 11", known.Status)
		assert.True(t, value[time.Time](b, `SELECT first_at FROM appointments WHERE ghl_appointment_id = 'busy'`).Equal(at(0)))
	})
}

// permutations yields every order of a few events.
func permutations(events []store.AppointmentEvent) func(func([]store.AppointmentEvent) bool) {
	var walk func(done, rest []store.AppointmentEvent, yield func([]store.AppointmentEvent) bool) bool
	walk = func(done, rest []store.AppointmentEvent, yield func([]store.AppointmentEvent) bool) bool {
		if len(rest) == 0 {
			return yield(slices.Clone(done))
		}
		for i := range rest {
			others := slices.Delete(slices.Clone(rest), i, i+1)
			if !walk(append(slices.Clone(done), rest[i]), others, yield) {
				return false
			}
		}
		return true
	}
	return func(yield func([]store.AppointmentEvent) bool) { walk(nil, events, yield) }
}

func TestAnAppointmentIsUnsyncedUntilItsLeadIsWritten(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	booked := said(5, "confirmed", "x")
	tests := map[string]struct {
		event    store.AppointmentEvent
		newest   bool
		unsynced bool
	}{
		"the same event again":                {booked, true, false},
		"a newer one":                         {said(6, "confirmed", "x"), true, true},
		"an older one: it was booked earlier": {said(4, "", ""), false, true},
		"another one of the same instant":     {store.AppointmentEvent{At: at(5), ReceivedAt: at(1), EventID: uuid.New()}, false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			known, newest := b.merge(name, booked)
			assert.True(t, newest)
			assert.True(t, known.Unsynced)
			require.NoError(t, b.AppointmentSynced(t.Context(), name, known.Revision))

			known, newest = b.merge(name, tt.event)
			assert.Equal(t, tt.newest, newest)
			assert.Equal(t, tt.unsynced, known.Unsynced)
			again, newest := b.merge(name, tt.event)
			assert.Equal(t, tt.newest, newest, "a repetition after a crash returns the same")
			assert.Equal(t, known, again)
		})
	}

	t.Run("older events count if they have values that newer ones lack", func(t *testing.T) {
		t.Parallel()
		const id = "gaps"
		for _, step := range []struct {
			event    store.AppointmentEvent
			unsynced bool
		}{
			{deletion(1), true},
			{deletion(9), true},
			{said(5, "", ""), true}, // It was booked at all.
			{said(5, "confirmed", ""), true},
			{said(5, "confirmed", "x"), true},
			{said(4, "cancelled", "y"), false},
			{said(6, "confirmed", "x"), false},
			{said(7, "cancelled", ""), true},
			{said(8, "", "y"), true},
			{said(10, "", "y"), true},
			{undated(12, "cancelled", "y"), true},
			{deletion(11), true},
		} {
			known, _ := b.merge(id, step.event)
			assert.Equal(t, step.unsynced, known.Unsynced, "%v", step.event)
			require.NoError(t, b.AppointmentSynced(t.Context(), id, known.Revision))
		}
	})
	t.Run("a change during the write of the lead is not lost", func(t *testing.T) {
		t.Parallel()
		before, _ := b.merge("overtaken", said(1, "confirmed", "x"))
		after, _ := b.merge("overtaken", said(2, "cancelled", "x"))
		require.NoError(t, b.AppointmentSynced(t.Context(), "overtaken", after.Revision))
		require.NoError(t, b.AppointmentSynced(t.Context(), "overtaken", before.Revision))
		known, err := b.Appointment(t.Context(), "overtaken")
		require.NoError(t, err)
		assert.False(t, known.Unsynced)

		require.NoError(t, b.AppointmentSynced(t.Context(), "overtaken", before.Revision))
		known, _ = b.merge("overtaken", said(3, "showed", "x"))
		assert.True(t, known.Unsynced)
	})
}

// followed are the appointments that a contact's leads follow.
type followed struct {
	Live  string
	Ended []string
}

func TestAppointmentsOfContact(t *testing.T) {
	t.Parallel()
	type appointment struct {
		id     string
		events []store.AppointmentEvent
	}
	tests := map[string]struct {
		appointments []appointment
		endings      store.EndPolicy
		want         followed
	}{
		"the newest booking": {
			[]appointment{{"a", []store.AppointmentEvent{said(2, "", "x")}}, {"b", []store.AppointmentEvent{said(1, "", "x"), said(9, "", "x")}}},
			byDefault, followed{Live: "a"},
		},
		"always the same of those that were booked at the same instant": {
			[]appointment{{"b", []store.AppointmentEvent{said(1, "", "x")}}, {"a", []store.AppointmentEvent{said(1, "", "x")}}},
			byDefault, followed{Live: "b"},
		},
		"the one before, if the newest is deleted": {
			[]appointment{{"a", []store.AppointmentEvent{said(1, "", "x")}}, {"b", []store.AppointmentEvent{said(2, "", "x"), deletion(3)}}},
			byDefault, followed{Live: "a", Ended: []string{"b"}},
		},
		"a cancelled one stays by default": {
			[]appointment{{"a", []store.AppointmentEvent{said(1, "", "x"), said(2, "cancelled", "x")}}},
			byDefault, followed{Live: "a"},
		},
		"a cancelled one ends if configured": {
			[]appointment{{"a", []store.AppointmentEvent{said(1, "", "x"), said(2, "cancelled", "x")}}},
			clearAll, followed{Ended: []string{"a"}},
		},
		"a deleted one stays if configured": {
			[]appointment{{"a", []store.AppointmentEvent{said(1, "", "x"), deletion(2)}}},
			keepAll, followed{Live: "a"},
		},
		"one with a known end only attracts no lead and releases none": {
			[]appointment{
				{"a", []store.AppointmentEvent{said(1, "", "x")}}, {"b", []store.AppointmentEvent{said(2, "cancelled", "x"), deletion(3)}},
			},
			keepAll, followed{Live: "a"},
		},
		"one with a known deletion only has ended": {
			[]appointment{
				{"a", []store.AppointmentEvent{said(2, "", "x")}}, {"b", []store.AppointmentEvent{said(3, "cancelled", "x"), deletion(3)}},
			},
			byDefault, followed{Live: "a", Ended: []string{"b"}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEnvironment(t)
			for _, a := range tt.appointments {
				b.merge(a.id, a.events...)
				former, err := b.AttachAppointment(t.Context(), a.id, "x", "verity-1")
				require.NoError(t, err)
				assert.Empty(t, former)
			}
			got, err := b.AppointmentsOfContact(t.Context(), "verity-1", tt.endings)
			require.NoError(t, err)
			assert.Equal(t, tt.want, followed{got.ActiveID(), got.Ended})
			assert.Len(t, got.Known, len(tt.appointments))
			got, err = b.AppointmentsOfContact(t.Context(), "verity-2", tt.endings)
			require.NoError(t, err)
			assert.Empty(t, got, "others have none of them")
		})
	}
}

func TestAttachAppointment(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	attach := func(t *testing.T, id, ghlContact, verityContact string) []string {
		t.Helper()
		former, err := b.AttachAppointment(t.Context(), id, ghlContact, verityContact)
		require.NoError(t, err)
		return former
	}
	of := func(t *testing.T, verityContact string) followed {
		t.Helper()
		got, err := b.AppointmentsOfContact(t.Context(), verityContact, byDefault)
		require.NoError(t, err)
		return followed{got.ActiveID(), got.Ended}
	}

	t.Run("all appointments of a contact belong to one contact of Verity", func(t *testing.T) {
		t.Parallel()
		b.merge("g1", said(1, "", "gx"))
		b.merge("g2", said(2, "", "gx"))
		b.merge("g3", said(3, "", "gx"), said(4, "", "gy"))
		assert.Empty(t, attach(t, "g1", "gx", "gv1"))
		assert.Equal(t, followed{Live: "g2"}, of(t, "gv1"))

		assert.Equal(t, []string{"gv1"}, attach(t, "g2", "gx", "gv2"), "the appointments move to another contact of Verity")
		assert.Equal(t, followed{Live: "g2"}, of(t, "gv2"))
		assert.Equal(t, followed{Ended: []string{"g2", "g1"}}, of(t, "gv1"), "its leads may still point there")
		assert.Equal(t, []string{"gv1"}, attach(t, "g2", "gx", "gv2"), "a repetition after a crash returns the same")

		assert.Equal(t, []string{"gv2"}, attach(t, "g1", "gx", "gv1"), "and back")
		assert.Equal(t, followed{Live: "g2"}, of(t, "gv1"))
	})
	t.Run("an appointment that becomes another contact's leaves the first one's contact of Verity", func(t *testing.T) {
		t.Parallel()
		b.merge("m", said(1, "", "mx"))
		attach(t, "m", "mx", "mv1")
		known, _ := b.merge("m", said(2, "", "my"))
		assert.Empty(t, known.VerityContactID)
		assert.Equal(t, []string{"mv1"}, known.FormerContactIDs)
		assert.Equal(t, followed{Ended: []string{"m"}}, of(t, "mv1"))

		_, err := b.AttachAppointment(t.Context(), "m", "mx", "mv1")
		require.ErrorIs(t, err, store.ErrContactChanged, "a result about the first contact is too late")
		assert.Equal(t, []string{"mv1"}, attach(t, "m", "my", "mv2"))
		assert.Equal(t, followed{Live: "m"}, of(t, "mv2"))
	})
	t.Run("a result that is too late moves no other appointment", func(t *testing.T) {
		t.Parallel()
		b.merge("l1", said(1, "", "lx"))
		b.merge("l2", said(1, "", "lx"))
		attach(t, "l1", "lx", "lv1")
		b.merge("l2", said(2, "", "ly"))
		_, err := b.AttachAppointment(t.Context(), "l2", "lx", "lv2")
		require.ErrorIs(t, err, store.ErrContactChanged)
		assert.Equal(t, followed{Live: "l1", Ended: []string{"l2"}}, of(t, "lv1"))
	})
	t.Run("an appointment whose contact is not known is attached alone", func(t *testing.T) {
		t.Parallel()
		b.merge("u1", said(1, "", ""))
		b.merge("u2", said(2, "", ""))
		attach(t, "u1", "", "uv1")
		assert.Equal(t, followed{Live: "u1"}, of(t, "uv1"))

		known, _ := b.merge("u1", said(3, "", "ux"))
		assert.Equal(t, "uv1", known.VerityContactID, "a newly known contact is no change")
		_, err := b.AttachAppointment(t.Context(), "u1", "", "uv1")
		assert.ErrorIs(t, err, store.ErrContactChanged)
	})
	t.Run("an unknown appointment has no contact", func(t *testing.T) {
		t.Parallel()
		_, err := b.Appointment(t.Context(), "stranger")
		assert.ErrorIs(t, err, store.ErrNotFound)
		_, err = b.AttachAppointment(t.Context(), "stranger", "x", "v")
		assert.ErrorIs(t, err, store.ErrContactChanged)
	})
}
