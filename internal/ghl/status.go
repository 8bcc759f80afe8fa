package ghl

import (
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// statuses are the known statuses of appointments in GoHighLevel's spelling, by their letters and digits only. "rescheduled" is a
// customer's word: GoHighLevel has no such status.
var statuses = map[string]string{
	"new": "new", "confirmed": "confirmed", "booked": "booked", "active": "active", "completed": "completed",
	"cancelled": "cancelled", "canceled": "cancelled", "cancel": "cancelled",
	"showed": "showed", "show": "showed", "noshow": "noshow", "noshowed": "noshow",
	"invalid": "invalid", "rescheduled": "rescheduled", "reschedule": "rescheduled",
}

// statusOf returns a status in GoHighLevel's spelling: canceled is cancelled, and no-show, no_show and "No Show" are noshow. An unknown
// status is unchanged, in lower case.
func statusOf(text string) string {
	if status, ok := statuses[string(bare(text))]; ok {
		return status
	}
	return strings.ToLower(text)
}

// knownStatus is statusOf for members that need not be an appointment's status, "" if the text is not one.
func knownStatus(text string) string { return statuses[string(bare(text))] }

// ofExisting reports whether only an existing appointment can have a status. New bookings have "confirmed" and "booked", and so do the
// reschedules of workflows.
func ofExisting(status string) bool {
	switch status {
	case "cancelled", "showed", "noshow", "invalid", "rescheduled":
		return true
	default:
		return false
	}
}

// appointmentEvent reads people's own name for an appointment's event: appointment_booked, "Appointment Cancelled". The name may include
// the appointment's status.
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

// saidStatus is the status in the name of an event. A rescheduled appointment can have any status.
func saidStatus(word string) string {
	if status := knownStatus(word); status != "rescheduled" {
		return status
	}
	return ""
}
