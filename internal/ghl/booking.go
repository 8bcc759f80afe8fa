package ghl

import (
	"time"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// stale is how long before an event an appointment was booked, or began, when the event cannot be its booking. It is longer than
// clocks and time zones differ.
const stale = 24 * time.Hour

// Booking is what the body of an appointment's event says about the booking.
type Booking struct {
	// At is when the appointment was booked, zero where the body does not say.
	At time.Time
	// Creation is true where the event reports the booking itself. A workflow also fires "booked" for a reschedule.
	Creation bool
	// NoContact is true where the body has the whole appointment and names no contact: blocked or busy time.
	NoContact bool
}

// BookingOf reads the booking from the body of e, an appointment's event that was received at receivedAt.
func BookingOf(b Body, e event.Event, receivedAt time.Time) Booking {
	at := e.OccurredAt
	if at.IsZero() {
		at = receivedAt
	}
	booking := Booking{At: b.bookedAt(at), Creation: e.Type == event.TypeAppointmentCreated}
	switch {
	case !booking.At.IsZero() && booking.At.Before(at.Add(-stale)):
		booking.Creation = false
	case e.OccurredAt.IsZero() && b.startedBefore(at.Add(-stale)):
		booking.Creation = false
	}
	// Webhooks of marketplace apps, which alone have a webhookId, have the whole appointment in this block: always its start, and its
	// contact where there is one.
	whole := b.root.id("webhookId") != "" && b.root.appointment.get("startTime") != nil && !e.Truncated
	booking.NoContact = whole && e.ContactID == ""
	return booking
}

// bookedAt is the first of the times at which the body says that the appointment was booked. One that is later than the event is wrong.
func (b Body) bookedAt(latest time.Time) time.Time {
	for _, value := range [...][]byte{
		b.root.appointment.get("dateAdded"),
		b.custom.appointment.get("dateAdded"),
		b.calendarCreated(),
	} {
		if at, ok := parseTime(value); ok && !at.After(latest) {
			return at
		}
	}
	return time.Time{}
}

// calendarCreated is the date_created of a workflow's calendar block. The root's is that of the contact: without it there to compare
// with, or with the same value in both, the block's may be the contact's as well.
func (b Body) calendarCreated() []byte {
	contact, okContact := parseTime(b.root.get("date_created"))
	block := b.root.calendar.get("date_created")
	if own, ok := parseTime(block); okContact && ok && !own.Equal(contact) {
		return block
	}
	return nil
}

// startedBefore reports whether the appointment began before t. A start without an offset is taken as UTC.
func (b Body) startedBefore(t time.Time) bool {
	for _, value := range [...][]byte{b.root.appointment.get("startTime"), b.root.calendar.get("startTime"), b.root.get("startTime")} {
		if start, ok := parseTime(value); ok {
			return start.Before(t)
		}
	}
	return false
}
