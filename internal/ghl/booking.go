package ghl

import (
	"time"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// stale is the age of an appointment, from when it was booked or began, at which an event cannot be its booking. It is more than the
// difference of clocks and time zones.
const stale = 24 * time.Hour

// BookingOf reads the booking from the body of e, an appointment's event that was received at receivedAt.
func BookingOf(b Body, e event.Event, receivedAt time.Time) event.Booking {
	at := e.OccurredAt
	if at.IsZero() {
		at = receivedAt
	}
	booking := event.Booking{At: b.bookedAt(at), Creation: e.Type == event.TypeAppointmentCreated}
	switch {
	case !booking.At.IsZero() && booking.At.Before(at.Add(-stale)):
		booking.Creation = false
	case e.OccurredAt.IsZero() && b.startedBefore(at.Add(-stale)):
		booking.Creation = false
	}
	// Only marketplace webhooks have a webhookId. They have the whole appointment in this block: always its start, and its contact if it
	// has one.
	whole := b.root.id("webhookId") != "" && b.root.appointment.get("startTime") != nil && !e.Truncated
	booking.NoContact = whole && e.ContactID == ""
	return booking
}

// bookedAt is the first booking time in the body. A time later than the event is wrong.
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

// calendarCreated is the date_created of a workflow's calendar block. The root's date_created is the contact's. If it is missing or has the
// same value, the block's may be the contact's, too.
func (b Body) calendarCreated() []byte {
	contact, okContact := parseTime(b.root.get("date_created"))
	block := b.root.calendar.get("date_created")
	if own, ok := parseTime(block); okContact && ok && !own.Equal(contact) {
		return block
	}
	return nil
}

// startedBefore reports whether the appointment began before t. A start without an offset is in UTC.
func (b Body) startedBefore(t time.Time) bool {
	for _, value := range [...][]byte{b.root.appointment.get("startTime"), b.root.calendar.get("startTime"), b.root.get("startTime")} {
		if start, ok := parseTime(value); ok {
			return start.Before(t)
		}
	}
	return false
}
