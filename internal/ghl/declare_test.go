package ghl_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

func TestADeclarationAppliesToAnUnknownShape(t *testing.T) {
	t.Parallel()
	const booking = `{"booking":{"ref":"a","state":"x"},"person":{"email":"ada@example.com"},"calendar":{"id":"cal"}}`
	for name, test := range map[string]struct {
		body, query string
		header      http.Header
		want        read
	}{
		"an appointment by its path":              {booking, "type=appointment.created&id=booking.ref", nil, read{"appointment.created", "appointment", "a", "", ""}},
		"another spelling of the type":            {booking, "type=AppointmentDelete&id=booking.ref", nil, read{"appointment.deleted", "appointment", "a", "", ""}},
		"headers":                                 {booking, "", http.Header{"X-Webhook-Type": {"appointment.updated"}, "X-Webhook-Id-Path": {"booking.ref"}}, read{"appointment.updated", "appointment", "a", "", ""}},
		"GoHighLevel's header":                    {`{"id":"a","contactId":"c"}`, "id=id", http.Header{"X-Ghl-Event-Type": {"AppointmentCreate"}}, read{"appointment.created", "appointment", "a", "c", ""}},
		"the query before the headers":            {booking, "type=appointment.created&id=booking.ref", http.Header{"X-Webhook-Type": {"ContactCreate"}}, read{"appointment.created", "appointment", "a", "", ""}},
		"an entity alone":                         {booking, "type=appointment&id=booking.ref", nil, read{"appointment.created", "appointment", "a", "", ""}},
		"a deal by its path":                      {`{"deal":{"number":7}}`, "type=opportunity&id=deal.number", nil, read{"opportunity.updated", "opportunity", "7", "", ""}},
		"a contact by its path":                   {`{"lead":{"contact_id":"c"}}`, "type=contact.updated&id=lead.contact_id", nil, read{"contact.updated", "contact", "c", "c", ""}},
		"over a contact's id alone":               {`{"contact_id":"c","booking":{"ref":"a"}}`, "type=appointment&id=booking.ref", nil, read{"appointment.created", "appointment", "a", "c", ""}},
		"over an unknown event":                   {`{"event":"crm_sync","booking":{"ref":"a"}}`, "type=appointment&id=booking.ref", nil, read{"appointment.created", "appointment", "a", "", ""}},
		"a path to a missing member":              {booking, "type=appointment&id=booking.number", nil, read{"appointment.created", "appointment", "", "", ""}},
		"a path to an object":                     {booking, "type=appointment&id=booking", nil, read{"appointment.created", "appointment", "", "", ""}},
		"a missing member, beside a contact's id": {`{"contact_id":"c"}`, "type=appointment&id=booking.ref", nil, read{"contact.updated", "contact", "c", "c", ""}},
		"never over a type":                       {`{"type":"NoteCreate","id":"n","ref":"a"}`, "type=appointment&id=ref", nil, read{"note.created", "note", "n", "", ""}},
		"never over a calendar block":             {`{"contact_id":"c","calendar":{"appointmentId":"a"},"ref":"x"}`, "type=opportunity&id=ref", nil, read{"appointment.created", "appointment", "a", "c", ""}},
		"never over an opportunity":               {`{"id":"o","pipelineId":"p","ref":"x"}`, "type=appointment&id=ref", nil, read{"opportunity.updated", "opportunity", "o", "", ""}},
		"never over a person":                     {`{"id":"c","firstName":"Ida","phone":"1","ref":"x"}`, "type=appointment&id=ref", nil, read{"contact.updated", "contact", "c", "c", ""}},
		"an unknown type is ignored":              {booking, "type=lead&id=booking.ref", nil, read{"unknown", "unknown", "", "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			query, err := url.ParseQuery(test.query)
			require.NoError(t, err)
			body, err := ghl.Decode(jsonType, []byte(test.body))
			require.NoError(t, err)
			body, err = body.Declare(ghl.DeclarationOf(test.header, query))
			require.NoError(t, err)
			e := ghl.Normalise(body, received)
			assert.Equal(t, test.want, read{e.Type, e.EntityType, e.EntityID, e.ContactID, e.AppointmentStatus})
		})
	}
}

func TestAContradictoryDeclarationIsRejected(t *testing.T) {
	t.Parallel()
	const body = `{"contact_id":"c","contact":{"id":"c"},"calendar":{"id":"cal"},"calendarId":"cal","ref":"c","at":"cal","l":"loc","locationId":"loc"}`
	for _, declared := range []ghl.Declaration{
		{Type: "appointment.created", IDPath: "contact_id"},
		{Type: "appointment.created", IDPath: "contact.id"},
		{Type: "AppointmentCreate", IDPath: "calendar.id"},
		{Type: "appointment", IDPath: "calendarId"},
		{Type: "appointment", IDPath: "opportunity_id"},
		{Type: "appointment", IDPath: "data.contactID"},
		{Type: "appointment", IDPath: "ref"}, // The contact's, by its value.
		{Type: "appointment", IDPath: "at"},  // The calendar's.
		{Type: "note.created", IDPath: "l"},  // The location's.
		{Type: "opportunity", IDPath: "pipeline.id"},
		{Type: "contact", IDPath: "appointment.id"},
		{Type: "LocationUpdate", IDPath: "ref"},
		{Type: "location.created", IDPath: "locationId"},
		{Type: "INSTALL", IDPath: "ref"},
	} {
		b, err := ghl.Decode(jsonType, []byte(body))
		require.NoError(t, err)
		_, err = b.Declare(declared)
		require.ErrorIs(t, err, ghl.ErrDeclaration, declared)
	}
}
