package ghl_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

func TestBookingOf(t *testing.T) {
	t.Parallel()
	receivedAt := time.Date(2026, time.November, 25, 12, 0, 0, 0, time.UTC)
	june := time.Date(2026, time.June, 2, 14, 0, 0, 0, time.UTC)
	morning := time.Date(2026, time.November, 25, 9, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		body string
		want event.Booking
	}{
		"a marketplace booking": {
			`{"type":"AppointmentCreate","timestamp":"2026-11-25T09:00:00.5Z","appointment":{"id":"a","dateAdded":"2026-11-25T09:00:00Z"}}`,
			event.Booking{At: morning, Creation: true},
		},
		"a change of an appointment that was booked long before": {
			`{"type":"AppointmentUpdate","timestamp":"2026-11-25T09:30:00Z","appointment":{"id":"a","dateAdded":"2026-06-02T14:00:00Z"}}`,
			event.Booking{At: june},
		},
		"a time with an offset": {
			`{"type":"AppointmentUpdate","timestamp":"2026-11-25T09:30:00Z","appointment":{"id":"a","dateAdded":"2026-06-02T19:30:00+05:30"}}`,
			event.Booking{At: june},
		},
		"milliseconds since 1970": {
			`{"type":"AppointmentUpdate","timestamp":"2026-11-25T09:30:00Z","appointment":{"id":"a","dateAdded":1780408800000}}`,
			event.Booking{At: june},
		},
		"an appointment block that people rebuilt": {
			`{"customData":{"type":"AppointmentUpdate","appointment":{"id":"a","dateAdded":"2026-06-02T14:00:00Z"}}}`,
			event.Booking{At: june},
		},
		"a booking time after the event is wrong": {
			`{"type":"AppointmentUpdate","timestamp":"2026-11-25T09:30:00Z","appointment":{"id":"a","dateAdded":"2026-11-25T10:00:00Z"}}`,
			event.Booking{},
		},
		"a booking time after the receipt is wrong": {
			`{"type":"AppointmentUpdate","appointment":{"id":"a","dateAdded":"2026-11-26T10:00:00Z"}}`, event.Booking{},
		},
		"a booking time before GoHighLevel existed is wrong": {
			`{"type":"AppointmentCreate","appointment":{"id":"a","dateAdded":"1970-01-01T00:00:00Z"}}`, event.Booking{Creation: true},
		},
		"an invalid booking time": {
			`{"type":"AppointmentCreate","appointment":{"id":"a","dateAdded":"yesterday"}}`, event.Booking{Creation: true},
		},
		"the root's dateAdded may be the contact's": {
			`{"type":"AppointmentUpdate","appointmentId":"a","dateAdded":"2026-06-02T14:00:00Z"}`, event.Booking{},
		},
		"an event called a booking, of an appointment that was booked long before": {
			`{"type":"AppointmentCreate","timestamp":"2026-11-25T09:30:00Z","appointment":{"id":"a","dateAdded":"2026-06-02T14:00:00Z"}}`,
			event.Booking{At: june},
		},
		"a delivery a month late is still the booking": {
			`{"type":"AppointmentCreate","timestamp":"2026-06-02T14:00:00Z","appointment":{"id":"a","dateAdded":"2026-06-02T14:00:00Z"}}`,
			event.Booking{At: june, Creation: true},
		},
		"a workflow's booking": {
			`{"workflow":{"id":"w"},"calendar":{"appointmentId":"a","status":"booked","startTime":"2026-12-03T10:00:00"}}`,
			event.Booking{Creation: true},
		},
		"a workflow's booking with an invalid start": {
			`{"workflow":{"id":"w"},"calendar":{"appointmentId":"a","status":"booked","startTime":"Thursday"}}`, event.Booking{Creation: true},
		},
		"a workflow's booking of today, in a zone that is behind": {
			`{"workflow":{"id":"w"},"calendar":{"appointmentId":"a","status":"booked","startTime":"2026-11-25T00:30:00"}}`,
			event.Booking{Creation: true},
		},
		"a workflow that confirms an appointment that took place in June": {
			`{"workflow":{"id":"w"},"calendar":{"appointmentId":"a","appoinmentStatus":"confirmed","startTime":"2026-06-09T15:00:00"}}`,
			event.Booking{},
		},
		"a workflow's change": {
			`{"workflow":{"id":"w"},"calendar":{"appointmentId":"a","appoinmentStatus":"showed","startTime":"2026-12-03T10:00:00"}}`,
			event.Booking{},
		},
		"a workflow that says when the contact was created": {
			`{"workflow":{"id":"w"},"date_created":"2026-06-02T14:00:00Z","calendar":{"appointmentId":"a","status":"booked"}}`,
			event.Booking{Creation: true},
		},
		"a workflow that says when the contact was created in both places": {
			`{"workflow":{"id":"w"},"date_created":"2026-06-02T14:00:00Z",` +
				`"calendar":{"appointmentId":"a","status":"booked","date_created":"2026-06-02T14:00:00.000Z"}}`,
			event.Booking{Creation: true},
		},
		"a calendar block with a time, without the contact's to compare": {
			`{"workflow":{"id":"w"},"calendar":{"appointmentId":"a","status":"booked","date_created":"2026-06-02T14:00:00Z"}}`,
			event.Booking{Creation: true},
		},
		"a reschedule by a workflow that says when the appointment was created": {
			`{"workflow":{"id":"w"},"date_created":"2026-06-01T08:00:00Z",` +
				`"calendar":{"appointmentId":"a","status":"booked","date_created":"2026-06-02T14:00:00Z","startTime":"2026-12-03T10:00:00"}}`,
			event.Booking{At: june},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode(jsonType, []byte(tt.body))
			require.NoError(t, err)
			assert.Equal(t, tt.want, ghl.BookingOf(body, ghl.Normalise(body, receivedAt), receivedAt))
		})
	}
}

func TestAnAppointmentWithoutAContact(t *testing.T) {
	t.Parallel()
	const envelope = `"type":"AppointmentCreate","webhookId":"w","timestamp":"2026-11-25T09:00:00Z"`
	tests := map[string]struct {
		body string
		want bool
	}{
		"no contact":               {`{` + envelope + `,"appointment":{"id":"a","startTime":"2026-12-09T15:00:00Z"}}`, true},
		"an empty contact":         {`{` + envelope + `,"appointment":{"id":"a","contactId":"","startTime":"2026-12-09T15:00:00Z"}}`, true},
		"a blank contact":          {`{` + envelope + `,"appointment":{"id":"a","contactId":"  ","startTime":"2026-12-09T15:00:00Z"}}`, true},
		"a contact that is null":   {`{` + envelope + `,"appointment":{"id":"a","contactId":null,"startTime":"2026-12-09T15:00:00Z"}}`, true},
		"a contact called null":    {`{` + envelope + `,"appointment":{"id":"a","contactId":"null","startTime":"2026-12-09T15:00:00Z"}}`, true},
		"a contact":                {`{` + envelope + `,"appointment":{"id":"a","contactId":"c","startTime":"2026-12-09T15:00:00Z"}}`, false},
		"a contact at the root":    {`{` + envelope + `,"contactId":"c","appointment":{"id":"a","startTime":"2026-12-09T15:00:00Z"}}`, false},
		"only a part of it":        {`{` + envelope + `,"appointment":{"id":"a"}}`, false},
		"a body that was cut":      {`{` + envelope + `,"payloadTooLarge":true,"appointment":{"id":"a","startTime":"2026-12-09T15:00:00Z"}}`, false},
		"a custom body":            {`{"type":"AppointmentCreate","appointment":{"id":"a","startTime":"2026-12-09T15:00:00Z"}}`, false},
		"a workflow's body":        {`{"workflow":{"id":"w"},"calendar":{"appointmentId":"a","startTime":"2026-12-09T15:00:00"}}`, false},
		"an appointment id, alone": {`{` + envelope + `,"appointmentId":"a"}`, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode(jsonType, []byte(tt.body))
			require.NoError(t, err)
			assert.Equal(t, tt.want, ghl.BookingOf(body, ghl.Normalise(body, received), received).NoContact)
		})
	}
}
