package ghl

import (
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// statuses are the statuses of appointments that are known, by their letters and digits alone, in GHL's spelling. "rescheduled" is
// people's own word: GHL has no such status.
var statuses = map[string]string{
	"new": "new", "confirmed": "confirmed", "booked": "booked", "active": "active", "completed": "completed",
	"cancelled": "cancelled", "canceled": "cancelled", "cancel": "cancelled",
	"showed": "showed", "show": "showed", "noshow": "noshow", "noshowed": "noshow",
	"invalid": "invalid", "rescheduled": "rescheduled", "reschedule": "rescheduled",
}

// statusOf returns a status in GHL's spelling: canceled is cancelled, and no-show, no_show and "No Show" are noshow. One that is not
// known stays as it is, in lower case.
func statusOf(text string) string {
	if status, ok := statuses[string(bare(text))]; ok {
		return status
	}
	return strings.ToLower(text)
}

// knownStatus is statusOf for members that need not be an appointment's status, "" where the text is none.
func knownStatus(text string) string { return statuses[string(bare(text))] }

// ofExisting are the statuses that only an appointment can have that exists already. "confirmed" and "booked" are what bookings come
// with, and the reschedules of workflows.
func ofExisting(status string) bool {
	switch status {
	case "cancelled", "showed", "noshow", "invalid", "rescheduled":
		return true
	default:
		return false
	}
}

// appointmentEvent reads a name that people give an event of an appointment: appointment_booked, "Appointment Cancelled". It says what
// the event is about, and may say the appointment's status.
func appointmentEvent(word []byte) (name, bool) {
	what, ok := strings.CutPrefix(string(word), "appointment")
	if !ok {
		return name{}, false
	}
	n := name{entity: event.EntityAppointment, known: true, loose: true}
	switch what {
	case "booked", "scheduled", "booking", "new":
		return n, true
	}
	if _, ok = statuses[what]; ok && ofExisting(statuses[what]) {
		n.typ = event.TypeAppointmentUpdated
	}
	n.status = saidStatus(what)
	return n, ok
}

// saidStatus is the status that the name of an event says. That an appointment was rescheduled does not say which it has now.
func saidStatus(word string) string {
	if status := knownStatus(word); status != "rescheduled" {
		return status
	}
	return ""
}
