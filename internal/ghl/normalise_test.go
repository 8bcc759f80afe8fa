package ghl_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

func TestTheShapeDecidesTheTypeOfABodyWithoutOne(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want event.Event
	}{
		"a booking": {
			`{"contact_id":"c","calendar":{"id":"cal","appointmentId":"a","status":"booked","appoinmentStatus":"confirmed"}}`,
			event.Event{Type: "appointment.created", EntityType: "appointment", EntityID: "a", ContactID: "c", AppointmentStatus: "confirmed"},
		},
		"a cancellation": {
			`{"calendar":{"appointmentId":"a","status":"booked","appoinmentStatus":"Cancelled"}}`,
			event.Event{Type: "appointment.updated", EntityType: "appointment", EntityID: "a", AppointmentStatus: "cancelled"},
		},
		"the contact showed up": {
			`{"calendar":{"appointmentId":"a","appointmentStatus":"showed"}}`,
			event.Event{Type: "appointment.updated", EntityType: "appointment", EntityID: "a", AppointmentStatus: "showed"},
		},
		"the contact did not show up": {
			`{"calendar":{"appointmentId":"a","status":"NoShow"}}`,
			event.Event{Type: "appointment.updated", EntityType: "appointment", EntityID: "a", AppointmentStatus: "noshow"},
		},
		"an invalid booking": {
			`{"appointmentStatus":"invalid","calendar":{"appointmentId":"a"}}`,
			event.Event{Type: "appointment.updated", EntityType: "appointment", EntityID: "a", AppointmentStatus: "invalid"},
		},
		"a calendar block beside an appointment id at the root": {
			`{"appointmentId":"a","calendar":{"id":"cal"}}`,
			event.Event{Type: "appointment.created", EntityType: "appointment", EntityID: "a"},
		},
		"a calendar without an appointment is a contact's": {
			`{"contact_id":"c","calendar":{"id":"cal","calendarName":"x"}}`,
			event.Event{Type: "contact.updated", EntityType: "contact", EntityID: "c", ContactID: "c"},
		},
		"a calendar that is an array": {
			`{"contact_id":"c","calendar":[{"appointmentId":"a"}]}`,
			event.Event{Type: "contact.updated", EntityType: "contact", EntityID: "c", ContactID: "c"},
		},
		"an appointment block": {
			`{"appointment":{"id":"a","contactId":"c","appointmentStatus":"new"}}`,
			event.Event{Type: "appointment.created", EntityType: "appointment", EntityID: "a", ContactID: "c", AppointmentStatus: "new"},
		},
		"an opportunity by its pipeline": {
			`{"id":"o","contact_id":"c","pipeline_id":"p","pipleline_stage":"New","status":"open"}`,
			event.Event{Type: "opportunity.updated", EntityType: "opportunity", EntityID: "o", ContactID: "c"},
		},
		"an opportunity by its name": {
			`{"id":"o","opportunity_name":"Roof"}`,
			event.Event{Type: "opportunity.updated", EntityType: "opportunity", EntityID: "o"},
		},
		"an appointment of an opportunity": {
			`{"id":"o","pipeline_id":"p","contact_id":"c","calendar":{"appointmentId":"a"}}`,
			event.Event{Type: "appointment.created", EntityType: "appointment", EntityID: "a", ContactID: "c"},
		},
		"an empty pipeline is ignored": {
			`{"id":"o","pipeline_id":"","opportunity_name":" ","contact_id":"c"}`,
			event.Event{Type: "contact.updated", EntityType: "contact", EntityID: "c", ContactID: "c"},
		},
		"a contact in customData": {
			`{"id":"x","customData":{"contact_id":"c"}}`,
			event.Event{Type: "contact.updated", EntityType: "contact", EntityID: "c", ContactID: "c"},
		},
		"a contact trigger with a contact block": {
			`{"contact_id":"c","contact":{"attributionSource":{"medium":"manual"}},"triggerData":{}}`,
			event.Event{Type: "contact.updated", EntityType: "contact", EntityID: "c", ContactID: "c"},
		},
		"an id alone": {`{"id":"x"}`, event.Event{Type: "unknown", EntityType: "unknown"}},
		"nothing":     {`{}`, event.Event{Type: "unknown", EntityType: "unknown"}},
		"blocks that are strings": {
			`{"appointment":"a","calendar":"b","contact":"c","location":"l","customData":"d","data":"e","workflow":"w"}`,
			event.Event{Type: "unknown", EntityType: "unknown"},
		},
		"blocks that are arrays": {
			`{"appointment":[{"id":"a"}],"calendar":[],"contact":[{"id":"c"}],"location":[1],"customData":[],"data":[]}`,
			event.Event{Type: "unknown", EntityType: "unknown"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.want.Source = "ghl"
			test.want.OrderingKey = event.OrderingKeyOf(test.want.EntityType, test.want.EntityID)
			assert.Empty(t, cmp.Diff(test.want, normalise(t, test.body)))
		})
	}
}

func TestMarketplaceBodies(t *testing.T) {
	t.Parallel()
	envelope := `{"type":%q,"locationId":"loc","appId":"app","webhookId":"w",` +
		`"timestamp":"2026-10-01T10:00:00.5+02:00",%s}`
	for name, test := range map[string]struct {
		typ, rest string
		want      event.Event
	}{
		"a task without a contact": {"TaskCreate", `"id":"t"`, event.Event{Type: "task.created", EntityType: "task", EntityID: "t"}},
		"a task by its own id": {
			"TaskComplete", `"id":"x","taskId":"t","contactId":"c"`,
			event.Event{Type: "task.completed", EntityType: "task", EntityID: "t", ContactID: "c"},
		},
		"a note": {
			"NoteCreate", `"id":"n","contactId":"c"`,
			event.Event{Type: "note.created", EntityType: "note", EntityID: "n", ContactID: "c"},
		},
		"a message": {
			"InboundMessage", `"messageId":"m","conversationId":"v","contactId":"c","status":"delivered"`,
			event.Event{Type: "message.inbound", EntityType: "message", EntityID: "m", ContactID: "c"},
		},
		"a message without an id": {
			"OutboundMessage", `"conversationId":"v","contactId":"c"`,
			event.Event{Type: "message.outbound", EntityType: "message", ContactID: "c"},
		},
		"an installation": {
			"INSTALL", `"companyId":"y","userId":"u"`,
			event.Event{Type: "app.installed", EntityType: "app", EntityID: "app"},
		},
		"an object schema": {
			"ObjectSchemaCreate", `"id":"s","objectSchemaId":"o"`,
			event.Event{Type: "object_schema.created", EntityType: "object_schema", EntityID: "o"},
		},
		"a record": {"RecordCreate", `"id":"r"`, event.Event{Type: "record.created", EntityType: "record", EntityID: "r"}},
		"an association": {
			"AssociationCreate", `"id":"s"`, event.Event{Type: "association.created", EntityType: "association", EntityID: "s"},
		},
		"a relation is not its association": {
			"RelationCreate", `"id":"r","associationId":"s"`, event.Event{Type: "relation.created", EntityType: "relation", EntityID: "r"},
		},
		"an invoice, which names its id _id": {
			"InvoicePartiallyPaid", `"_id":"i","contactDetails":{"id":"c"}`,
			event.Event{Type: "invoice.partially_paid", EntityType: "invoice", EntityID: "i"},
		},
		"an opportunity": {
			"OpportunityStageUpdate", `"id":"o","contactId":"c","pipelineId":"p","status":"open"`,
			event.Event{Type: "opportunity.stage_updated", EntityType: "opportunity", EntityID: "o", ContactID: "c"},
		},
		"a contact": {
			"ContactTagUpdate", `"id":"c","tags":["a"]`,
			event.Event{Type: "contact.tag_updated", EntityType: "contact", EntityID: "c", ContactID: "c"},
		},
		"an appointment's change of status": {
			"AppointmentStatusUpdate", `"appointment":{"id":"a","contactId":"c","appointmentStatus":"showed"}`,
			event.Event{Type: "appointment.status_updated", EntityType: "appointment", EntityID: "a", ContactID: "c", AppointmentStatus: "showed"},
		},
		"an unknown entity": {
			"WidgetCreate", `"id":"x","widgetId":"y","contactId":"c"`,
			event.Event{Type: "widget_create", EntityType: "unknown", ContactID: "c"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.want.Source = "ghl"
			test.want.LocationID = "loc"
			test.want.DedupeKey = "ghl:w"
			test.want.OccurredAt = time.Date(2026, time.October, 1, 8, 0, 0, 500_000_000, time.UTC)
			test.want.OrderingKey = event.OrderingKeyOf(test.want.EntityType, test.want.EntityID)
			got := normalise(t, fmt.Sprintf(envelope, test.typ, test.rest))
			assert.Empty(t, cmp.Diff(test.want, got))
		})
	}
}

// TestBodiesThatTheLegacyMiddlewareMisread has bodies that it lost or misread.
func TestBodiesThatTheLegacyMiddlewareMisread(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want event.Event
	}{
		"the marketplace's spelling of a type was unknown": {
			`{"type":"AppointmentCreate","appointment":{"id":"a"}}`,
			event.Event{Type: "appointment.created", EntityType: "appointment", EntityID: "a"},
		},
		"without an id at the root it was not stored": {
			`{"type":"AppointmentCreate"}`,
			event.Event{Type: "appointment.created", EntityType: "appointment"},
		},
		"the contact's id is not the appointment's": {
			`{"type":"AppointmentCreate","contact_id":"c"}`,
			event.Event{Type: "appointment.created", EntityType: "appointment", ContactID: "c"},
		},
		"the workflow's appointment id was not read": {
			`{"contact_id":"c","calendar":{"id":"cal","appointmentId":"a"}}`,
			event.Event{Type: "appointment.created", EntityType: "appointment", EntityID: "a", ContactID: "c"},
		},
		"a cancellation was a creation": {
			`{"type":"AppointmentUpdate","appointment":{"id":"a","appointmentStatus":"cancelled"}}`,
			event.Event{Type: "appointment.updated", EntityType: "appointment", EntityID: "a", AppointmentStatus: "cancelled"},
		},
		"a deletion was a creation": {
			`{"type":"AppointmentDelete","appointment":{"id":"a"}}`,
			event.Event{Type: "appointment.deleted", EntityType: "appointment", EntityID: "a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := normalise(t, test.body)
			assert.Empty(t, cmp.Diff(test.want, got, cmpopts.IgnoreFields(event.Event{}, "Source", "OrderingKey")))
		})
	}
}

func TestFormsAreReadLikeObjects(t *testing.T) {
	t.Parallel()
	body, err := ghl.Decode(formType, []byte("customData[type]=Appointment+Created&customData%5Bid%5D=a&contact_id=c"+
		"&location[id]=l&calendar[status]=booked&timestamp=1790332200000&webhookId=w&payloadTooLarge=true"))
	require.NoError(t, err)
	assert.Empty(t, cmp.Diff(event.Event{
		Source: "ghl", Type: "appointment.created", EntityType: "appointment", EntityID: "a", ContactID: "c", LocationID: "l",
		AppointmentStatus: "booked", OccurredAt: time.Date(2026, time.September, 25, 10, 30, 0, 0, time.UTC),
		DedupeKey: "ghl:w", OrderingKey: "appointment:a", Truncated: true,
	}, ghl.Normalise(body, received)))
}

func TestOccurredAt(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.September, 25, 10, 30, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		body string
		want time.Time
	}{
		"timestamp first": {
			`{"deletedAt":"2020-01-01T00:00:00Z","updatedAt":"2020-01-01T00:00:00Z","dateUpdated":"2020-01-01T00:00:00Z",` +
				`"appointment":{"dateUpdated":"2020-01-01T00:00:00Z"},"timestamp":"2026-09-25T10:30:00Z"}`, at,
		},
		"then the appointment's": {
			`{"updatedAt":"2020-01-01T00:00:00Z","dateUpdated":"2020-01-01T00:00:00Z",` +
				`"appointment":{"dateUpdated":"2026-09-25T10:30:00Z"}}`, at,
		},
		"then dateUpdated":          {`{"updatedAt":"2020-01-01T00:00:00Z","dateUpdated":"2026-09-25T10:30:00Z"}`, at},
		"then updatedAt":            {`{"deletedAt":"2020-01-01T00:00:00Z","updatedAt":"2026-09-25T10:30:00Z"}`, at},
		"then deletedAt":            {`{"deletedAt":"2026-09-25T10:30:00Z"}`, at},
		"the next if one is broken": {`{"timestamp":"soon","dateUpdated":{},"updatedAt":"2026-09-25T10:30:00Z"}`, at},

		"an offset":                             {`{"timestamp":"2026-09-25T16:00:00+05:30"}`, at},
		"an offset without a colon":             {`{"timestamp":"2026-09-25T16:00:00.000+0530"}`, at},
		"no offset is UTC":                      {`{"timestamp":"2026-09-25T10:30:00"}`, at},
		"a space for the T":                     {`{"timestamp":" 2026-09-25 10:30:00 "}`, at},
		"no seconds":                            {`{"timestamp":"2026-09-25T10:30Z"}`, at},
		"a date alone":                          {`{"timestamp":"2026-09-25"}`, at.Truncate(24 * time.Hour)},
		"microseconds are kept":                 {`{"timestamp":"2026-09-25T10:30:00.123456789Z"}`, at.Add(123456 * time.Microsecond)},
		"milliseconds since 1970":               {`{"timestamp":1790332200123}`, at.Add(123 * time.Millisecond)},
		"seconds since 1970":                    {`{"timestamp":1790332200}`, at},
		"fractions of seconds":                  {`{"timestamp":1790332200.25}`, at.Add(250 * time.Millisecond)},
		"milliseconds in a string":              {`{"timestamp":"1790332200000"}`, at},
		"not known":                             {`{"dateAdded":"2026-09-25T10:30:00Z","date_created":"2026-09-25T10:30:00Z"}`, time.Time{}},
		"not a nested timestamp":                {`{"data":{"timestamp":1790332200}}`, time.Time{}},
		"not a small number":                    {`{"timestamp":103}`, time.Time{}},
		"not a huge number":                     {`{"timestamp":1e999999}`, time.Time{}},
		"not a number of many digits":           {`{"timestamp":` + strings.Repeat("1", 400) + `}`, time.Time{}},
		"not a negative number":                 {`{"timestamp":-1790332200}`, time.Time{}},
		"not NaN":                               {`{"timestamp":"NaN"}`, time.Time{}},
		"not a hexadecimal number":              {`{"timestamp":"0x6AB5A168"}`, time.Time{}},
		"not the year 1":                        {`{"timestamp":"0001-01-01T00:00:00Z"}`, time.Time{}},
		"not an impossible time":                {`{"timestamp":"2026-02-30T00:00:00Z"}`, time.Time{}},
		"not true":                              {`{"timestamp":true}`, time.Time{}},
		"the time of receipt for a future time": {`{"timestamp":"2026-11-20T12:00:00.001Z"}`, received},
		"the time of receipt for the year 9999": {`{"timestamp":"9999-12-31T23:59:59Z"}`, received},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := normalise(t, test.body).OccurredAt
			assert.True(t, test.want.Equal(got), "want %v, got %v", test.want, got)
			assert.Equal(t, time.UTC, got.Location())
		})
	}
}

func TestReceiptInAnotherZoneIsClampedToInUTC(t *testing.T) {
	t.Parallel()
	body, err := ghl.Decode(jsonType, []byte(`{"timestamp":"2100-01-01T00:00:00Z"}`))
	require.NoError(t, err)
	got := ghl.Normalise(body, received.In(time.FixedZone("", 3600))).OccurredAt
	assert.Equal(t, received, got)
}

func TestTheZeroBodyIsUnknown(t *testing.T) {
	t.Parallel()
	assert.Equal(t, event.Event{Source: "ghl", Type: "unknown", EntityType: "unknown"}, ghl.Normalise(ghl.Body{}, received))
}

func TestTruncatedBodies(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		`true`: true, `"true"`: true, `1`: true, `{"size":1}`: true,
		`false`: false, `"False"`: false, `0`: false, `"0"`: false, `""`: false, `null`: false,
	} {
		assert.Equal(t, want, normalise(t, `{"payloadTooLarge":`+value+`}`).Truncated, value)
	}
	assert.False(t, normalise(t, `{}`).Truncated)
}
