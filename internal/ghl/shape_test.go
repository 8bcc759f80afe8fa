package ghl_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// read is what a body of these tests becomes.
type read struct{ typ, entity, id, contact, status string }

func TestShapesThatPeopleSend(t *testing.T) {
	t.Parallel()
	const calendar = `"contact_id":"c","calendar":{"id":"cal","appointmentId":"a","appoinmentStatus":"confirmed"}`
	booked := read{"appointment.created", "appointment", "a", "c", "confirmed"}
	for name, test := range map[string]struct {
		body string
		want read
	}{
		"an own word in customData beside a calendar block":   {`{` + calendar + `,"workflow":{"id":"w"},"customData":{"type":"Consultation Booked"}}`, booked},
		"an own word in capitals beside a calendar block":     {`{` + calendar + `,"customData":{"type":"VIP"}}`, booked},
		"an own word in snake case beside a calendar block":   {`{` + calendar + `,"customData":{"type":"new_booking"}}`, booked},
		"an own dotted word beside a calendar block":          {`{` + calendar + `,"customData":{"type":"crm.intake"}}`, booked},
		"an own event at the root beside a calendar block":    {`{` + calendar + `,"event":"appointment_booked"}`, booked},
		"an unknown event beside a calendar block":            {`{` + calendar + `,"event":"consultation_scheduled"}`, booked},
		"an own type at the root beside an appointment block": {`{"type":"booking","contactId":"c","appointment":{"id":"a","status":"Confirmed"}}`, booked},
		"an own word beside a flat appointment":               {`{"event":"new_booking","appointmentId":"a","calendarId":"cal","contactId":"c","status":"confirmed"}`, booked},
		"an own word beside an opportunity":                   {`{"customData":{"type":"Hot"},"id":"o","pipeline_id":"p","contact_id":"c"}`, read{"opportunity.updated", "opportunity", "o", "c", ""}},
		"an own word beside a person":                         {`{"type":"lead","id":"c","first_name":"Ida","phone":"+12025550173"}`, read{"contact.updated", "contact", "c", "c", ""}},
		"an own word and a contact's id alone":                {`{"customData":{"type":"Hot"},"contact_id":"c"}`, read{"hot", "unknown", "", "c", ""}},
		"an unknown type of a marketplace app":                {`{"type":"AppointmentReminderSend","webhookId":"w","appointment":{"id":"a"}}`, read{"appointment_reminder_send", "unknown", "", "", ""}},

		"an event that says cancelled":           {`{"event":"appointment_cancelled","appointmentId":"a","contactId":"c"}`, read{"appointment.updated", "appointment", "a", "c", "cancelled"}},
		"an event that says no-show":             {`{"event":"Appointment No-Show","id":"a","contactId":"c"}`, read{"appointment.updated", "appointment", "a", "c", "noshow"}},
		"an event that says rescheduled":         {`{"event":"appointment_rescheduled","appointmentId":"a","status":"confirmed"}`, read{"appointment.updated", "appointment", "a", "", "confirmed"}},
		"an event of an appointment without ids": {`{"event":"appointment_booked","contactId":"c"}`, read{"appointment_booked", "unknown", "", "c", ""}},
		"an appointment's event with a contact's id as id": {
			`{"event":"appointment_booked","id":"c","contactId":"c"}`, read{"appointment_booked", "unknown", "", "c", ""},
		},

		"a flat appointment in camel case":        {`{"appointmentId":"a","calendarId":"cal","contactId":"c","status":"confirmed"}`, booked},
		"a flat appointment in snake case":        {`{"appointment_id":"a","calendar_id":"cal","contact_id":"c","appointment_status":"Confirmed"}`, booked},
		"a flat appointment by its times":         {`{"appointmentId":"a","startTime":"2026-12-03T15:00:00Z","contact_id":"c"}`, read{"appointment.created", "appointment", "a", "c", ""}},
		"a flat appointment by its status":        {`{"appointmentId":"a","contactId":"c","status":"Canceled"}`, read{"appointment.updated", "appointment", "a", "c", "cancelled"}},
		"a flat appointment as the API has it":    {`{"id":"a","calendarId":"cal","contactId":"c","startTime":"2026-12-03T15:00:00Z","appointmentStatus":"confirmed"}`, booked},
		"a flat appointment in customData":        {`{"customData":{"appointmentId":"a","calendarId":"cal","contactId":"c","status":"confirmed"}}`, booked},
		"the same beside a contact's body":        {`{"contact_id":"c","workflow":{"id":"w"},"customData":{"appointmentId":"a","startTime":"x","status":"confirmed"}}`, booked},
		"an appointment block in customData":      {`{"contact_id":"c","customData":{"appointment":{"id":"a","appointmentStatus":"confirmed"}}}`, booked},
		"the API's appointment in customData":     {`{"customData":{"id":"a","calendarId":"cal","contactId":"c","startTime":"x","status":"confirmed"}}`, booked},
		"a contact that refers to an appointment": {`{"appointmentId":"a","contactId":"c"}`, read{"contact.updated", "contact", "c", "c", ""}},
		"a note that refers to an appointment":    {`{"appointmentId":"a","contactId":"c","noteId":"n","startTime":"x"}`, read{"contact.updated", "contact", "c", "c", ""}},
		"an id beside a calendar and no contact":  {`{"id":"x","calendarId":"cal","startTime":"x"}`, read{"unknown", "unknown", "", "", ""}},
		"a contact's id beside a calendar":        {`{"id":"c","calendarId":"cal","contactId":"c","startTime":"x"}`, read{"contact.updated", "contact", "c", "c", ""}},
		"an unknown status of an appointment":     {`{"appointmentId":"a","contactId":"c","status":"open"}`, read{"contact.updated", "contact", "c", "c", ""}},

		"an opportunity in customData":                         {`{"customData":{"id":"o","pipelineId":"p","name":"Roof","contactId":"c"}}`, read{"opportunity.updated", "opportunity", "o", "c", ""}},
		"an opportunity in customData by its name":             {`{"customData":{"opportunityId":"o","opportunityName":"Roof"}}`, read{"opportunity.updated", "opportunity", "o", "", ""}},
		"an opportunity in customData beside a contact's body": {`{"contact_id":"c","customData":{"opportunityId":"o","pipelineId":"p","monetaryValue":5}}`, read{"opportunity.updated", "opportunity", "o", "c", ""}},
		"a pipeline as an opportunity's id":                    {`{"id":"p","pipelineId":"p","contactId":"c"}`, read{"opportunity.updated", "opportunity", "", "c", ""}},

		"a contact by id, names and phone":                   {`{"id":"c","firstName":"Ida","lastName":"Example","phone":"+12025550173"}`, read{"contact.updated", "contact", "c", "c", ""}},
		"a contact by id, full name and e-mail":              {`{"id":"c","full_name":"Ida Example","email":"ida@example.com","source":"web","assignedTo":"u"}`, read{"contact.updated", "contact", "c", "c", ""}},
		"a contact by id, name and phone number":             {`{"id":"c","name":"Ida Example","phoneNumber":12025550173}`, read{"contact.updated", "contact", "c", "c", ""}},
		"a contact in customData":                            {`{"customData":{"id":"c","first_name":"Ida","phone":"+12025550173"}}`, read{"contact.updated", "contact", "c", "c", ""}},
		"a user":                                             {`{"id":"u","firstName":"Ida","email":"ida@example.com","role":"admin"}`, read{"unknown", "unknown", "", "", ""}},
		"a form's submission":                                {`{"id":"s","formId":"f","firstName":"Ida","email":"ida@example.com"}`, read{"unknown", "unknown", "", "", ""}},
		"an invoice to a person":                             {`{"id":"i","firstName":"Ida","email":"ida@example.com","amountDue":5}`, read{"unknown", "unknown", "", "", ""}},
		"a contact by id, name, phone and an unknown member": {`{"id":"c","name":"Ida Example","phone":"1","favouriteColour":"x"}`, read{"contact.updated", "contact", "c", "c", ""}},
		"a location":                                         {`{"id":"l","name":"Clinic","phone":"+12025550173","address":"1 Example Street","city":"x"}`, read{"unknown", "unknown", "", "", ""}},
		"a person's names without phone or e-mail":           {`{"id":"x","firstName":"Ida","lastName":"Example"}`, read{"unknown", "unknown", "", "", ""}},
		"a location's id with a person":                      {`{"id":"l","locationId":"l","firstName":"Ida","phone":"1"}`, read{"unknown", "unknown", "", "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := normalise(t, test.body)
			assert.Equal(t, test.want, read{e.Type, e.EntityType, e.EntityID, e.ContactID, e.AppointmentStatus})
		})
	}
}

func TestSpellingsOfStatuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct{ status, typ string }{
		"canceled": {"cancelled", event.TypeAppointmentUpdated}, "Cancelled": {"cancelled", event.TypeAppointmentUpdated},
		"CANCELED": {"cancelled", event.TypeAppointmentUpdated}, "no-show": {"noshow", event.TypeAppointmentUpdated},
		"no_show": {"noshow", event.TypeAppointmentUpdated}, "No Show": {"noshow", event.TypeAppointmentUpdated},
		"noShow": {"noshow", event.TypeAppointmentUpdated}, "rescheduled": {"rescheduled", event.TypeAppointmentUpdated},
		"Showed": {"showed", event.TypeAppointmentUpdated}, "Invalid": {"invalid", event.TypeAppointmentUpdated},
		"Confirmed": {"confirmed", event.TypeAppointmentCreated}, "BOOKED": {"booked", event.TypeAppointmentCreated},
	} {
		for place, body := range map[string]string{
			"flat":            `{"appointmentId":"a","calendarId":"cal","status":"` + text + `"}`,
			"in the calendar": `{"calendar":{"appointmentId":"a","appoinmentStatus":"` + text + `"}}`,
			"in customData":   `{"customData":{"appointmentId":"a","calendarId":"cal","status":"` + text + `"}}`,
			"in the block":    `{"appointment":{"id":"a","appointmentStatus":"` + text + `"}}`,
		} {
			t.Run(text+" "+place, func(t *testing.T) {
				t.Parallel()
				e := normalise(t, body)
				assert.Equal(t, want.status, e.AppointmentStatus)
				assert.Equal(t, want.typ, e.Type)
			})
		}
	}
}
