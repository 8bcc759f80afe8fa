package ghl_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

func TestAppointmentID(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, id string }{
		"appointment.id first": {
			`{"type":"AppointmentUpdate","id":"x","appointmentId":"x","appointment_id":"x","data":{"id":"x"},` +
				`"calendar":{"id":"x","appointmentId":"x"},"customData":{"appointmentId":"x"},` +
				`"appointment":{"appointmentId":"x","id":"a"}}`, "a",
		},
		"then appointment.appointmentId": {
			`{"type":"AppointmentUpdate","appointmentId":"x","calendar":{"appointmentId":"x"},"appointment":{"appointmentId":"a"}}`, "a",
		},
		"then calendar.appointmentId": {
			`{"type":"AppointmentUpdate","appointmentId":"x","calendar":{"id":"x","appointmentId":"a"}}`, "a",
		},
		"then appointmentId":  {`{"type":"AppointmentUpdate","id":"x","appointment_id":"x","appointmentId":"a"}`, "a"},
		"then appointment_id": {`{"type":"AppointmentUpdate","id":"x","customData":{"appointmentId":"x"},"appointment_id":"a"}`, "a"},
		"then customData.appointment.id": {
			`{"type":"AppointmentUpdate","data":{"id":"x"},"customData":{"appointment_id":"x","appointment":{"id":"a"}}}`, "a",
		},
		"then customData.calendar.appointmentId": {
			`{"type":"AppointmentUpdate","customData":{"appointment_id":"x","calendar":{"id":"x","appointmentId":"a"}}}`, "a",
		},
		"then customData.appointmentId":  {`{"type":"AppointmentUpdate","customData":{"appointment_id":"x","appointmentId":"a"}}`, "a"},
		"then customData.appointment_id": {`{"type":"AppointmentUpdate","data":{"id":"x"},"customData":{"\tappointment_id":"a"}}`, "a"},
		"then customData.id if customData has the type": {
			`{"id":"x","data":{"id":"x"},"customData":{"type":"AppointmentUpdate","id":"a"}}`, "a",
		},
		"then customData.id if customData names only the entity": {
			`{"contact_id":"c","customData":{"type":"appointment","id":"a"}}`, "a",
		},
		"then customData.id if customData and the root have the type": {
			`{"type":"AppointmentUpdate","id":"x","customData":{"type":"appointment.updated","id":"a"}}`, "a",
		},
		"then data.id": {`{"type":"AppointmentUpdate","id":"x","data":{"id":"a"}}`, "a"},
		"then id":      {`{"type":"AppointmentUpdate","id":"a"}`, "a"},

		"customData.appointmentId before customData.id": {
			`{"customData":{"type":"AppointmentUpdate","id":"x","appointmentId":"a"}}`, "a",
		},
		"a member without an id is skipped": {
			`{"type":"AppointmentUpdate","appointment":{"id":null,"appointmentId":{}},"calendar":{"appointmentId":""},"appointmentId":"a"}`, "a",
		},
		"an appointment that is a string is skipped":      {`{"type":"AppointmentUpdate","appointment":"x","appointmentId":"a"}`, "a"},
		"an appointment that is an array is skipped":      {`{"type":"AppointmentUpdate","appointment":[{"id":"x"}],"id":"a"}`, "a"},
		"the last of two appointment blocks":              {`{"type":"AppointmentUpdate","appointment":{"id":"x"},"appointment":{"id":"a"}}`, "a"},
		"never customData.id without customData.type":     {`{"type":"AppointmentUpdate","customData":{"id":"x"}}`, ""},
		"never customData.id of another entity":           {`{"type":"AppointmentUpdate","customData":{"type":"contact","id":"x"}}`, ""},
		"never the calendar's id":                         {`{"type":"AppointmentUpdate","calendar":{"id":"x"}}`, ""},
		"never the calendar's id, not at the root either": {`{"type":"AppointmentUpdate","id":"x","calendar":{"id":"x"}}`, ""},
		"never calendarId":                                {`{"type":"AppointmentUpdate","appointment":{"calendarId":"x"},"calendarId":"x"}`, ""},
		"never contact_id":                                {`{"type":"AppointmentUpdate","contact_id":"x","contactId":"x","contact":{"id":"x"}}`, ""},
		"never the contact's id, not at the root either":  {`{"type":"AppointmentUpdate","id":"x","data":{"id":"x"},"contact_id":"x"}`, ""},
		"never the contact's id as customData.id":         {`{"contact_id":"x","customData":{"type":"appointment","id":"x"}}`, ""},
		"never an opportunity's id":                       {`{"id":"x","pipeline_id":"p","customData":{"type":"AppointmentUpdate"}}`, ""},
		"never an opportunity's id, by its stage":         {`{"id":"x","pipleline_stage":"New","customData":{"type":"AppointmentUpdate"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := normalise(t, test.body)
			assert.Equal(t, "appointment", e.EntityType)
			assert.Equal(t, test.id, e.EntityID)
		})
	}
}

func TestContactID(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, id string }{
		"appointment.contactId first": {
			`{"type":"AppointmentCreate","contactId":"x","contact_id":"x","contact":{"id":"x"},"appointment":{"contactId":"c"}}`, "c",
		},
		"then contactId":  {`{"contact_id":"x","contact":{"id":"x"},"contactId":"c"}`, "c"},
		"then contact_id": {`{"contact":{"id":"x"},"customData":{"contactId":"x"},"contact_id":"c"}`, "c"},
		"then contact.id": {`{"contact":{"id":"c"},"customData":{"contactId":"x"}}`, "c"},
		"then customData.appointment.contactId": {
			`{"customData":{"contactId":"x","appointment":{"contactId":"c"}}}`, "c",
		},
		"then customData.contactId":  {`{"customData":{"contact_id":"x","contactId":"c"}}`, "c"},
		"then customData.contact_id": {`{"customData":{"contact":{"id":"x"},"contact_id ":"c"}}`, "c"},
		"then customData.contact.id": {`{"customData":{"contact":{"id":"c"}}}`, "c"},
		"then customData.id if customData says that it is a contact": {
			`{"id":"x","customData":{"type":"ContactUpdate","id":"c"}}`, "c",
		},
		"then id for a contact event":         {`{"type":"ContactUpdate","id":"c"}`, "c"},
		"not id for another event":            {`{"type":"TaskCreate","id":"x"}`, ""},
		"not id without a type":               {`{"id":"x","email":"test@example.com"}`, ""},
		"not customData.id for another event": {`{"customData":{"type":"NoteCreate","id":"x"}}`, ""},
		"not an opportunity's id":             {`{"id":"x","opportunity_name":"Roof","customData":{"type":"ContactUpdate"}}`, ""},
		"an id instead of a contact block":    {`{"contact":"x"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := normalise(t, test.body)
			assert.Equal(t, test.id, e.ContactID)
			if e.EntityType == "contact" {
				assert.Equal(t, test.id, e.EntityID)
			}
		})
	}
}

func TestLocationID(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, id string }{
		"locationId first":            {`{"location_id":"x","location":{"id":"x"},"customData":{"locationId":"x"},"locationId":"l"}`, "l"},
		"then location.id":            {`{"location_id":"x","location":{"id":"l"}}`, "l"},
		"then location_id":            {`{"location_id":"l","customData":{"locationId":"x"}}`, "l"},
		"then customData.locationId":  {`{"customData":{"locationId":"l","location":{"id":"x"}}}`, "l"},
		"then customData.location.id": {`{"customData":{"location_id":"x","location":{"id":"l"}}}`, "l"},
		"then customData.location_id": {`{"customData":{"location_id":"l"}}`, "l"},
		"not a company":               {`{"companyId":"x"}`, ""},
		"not a location's name":       {`{"location":"Birmingham"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.id, normalise(t, test.body).LocationID)
		})
	}
}

func TestAppointmentStatus(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, status string }{
		"appointment.appointmentStatus first": {
			`{"type":"AppointmentUpdate","appointmentStatus":"x","appointment":{"status":"x","appointmentStatus":" Confirmed "},` +
				`"calendar":{"appoinmentStatus":"x"}}`, "confirmed",
		},
		"then calendar.appoinmentStatus, as GHL spells it": {
			`{"type":"AppointmentUpdate","calendar":{"status":"booked","appointmentStatus":"x","appoinmentStatus":"NEW"}}`, "new",
		},
		"then calendar.appointmentStatus": {`{"type":"AppointmentUpdate","calendar":{"status":"x","appointmentStatus":"Showed"}}`, "showed"},
		"then calendar.status":            {`{"type":"AppointmentUpdate","appointmentStatus":"x","calendar":{"status":"booked"}}`, "booked"},
		"then appointmentStatus":          {`{"type":"AppointmentUpdate","status":"x","appointmentStatus":"Active"}`, "active"},
		"never status at the root":        {`{"type":"AppointmentUpdate","status":"open"}`, ""},
		"never for anything else":         {`{"type":"ContactUpdate","appointmentStatus":"confirmed"}`, ""},
		"not an object":                   {`{"type":"AppointmentUpdate","appointmentStatus":{"a":1}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.status, normalise(t, test.body).AppointmentStatus)
		})
	}
}

func TestOtherEntityIDs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, id string }{
		"the entity's name and Id first":  {`{"type":"NoteCreate","id":"x","note_id":"x","noteId":"n"}`, "n"},
		"then its name and _id":           {`{"type":"NoteCreate","id":"x","note_id":"n"}`, "n"},
		"then the same under customData":  {`{"type":"NoteCreate","id":"x","customData":{"noteId":"n"}}`, "n"},
		"then customData.id, by its type": {`{"id":"x","customData":{"type":"NoteCreate","id":"n"}}`, "n"},
		"then id":                         {`{"type":"NoteCreate","_id":"x","id":"n","customData":{"id":"x"}}`, "n"},
		"then _id":                        {`{"type":"OrderCreate","_id":"n","altId":"x"}`, "n"},
		"customData.id of an opportunity": {`{"id":"x","pipeline_id":"p","customData":{"type":"opportunity","id":"o"}}`, "o"},
		"not an opportunity's id":         {`{"id":"x","pipeline_id":"p","customData":{"type":"InvoicePaid"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.id, normalise(t, test.body).EntityID)
		})
	}
}

func TestAcceptedIDs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ value, id string }{
		"text":                               {`"9NkT25Vor1v4aQatFsv2"`, "9NkT25Vor1v4aQatFsv2"},
		"without white space around it":      {`" \tabc\n\u00a0"`, "abc"},
		"escapes are resolved":               {`"\u0061\/\"\u00e9\ud83c\udf89"`, `a/"é🎉`},
		"an integer":                         {`12345`, "12345"},
		"an integer that no float can hold":  {`9007199254740993`, "9007199254740993"},
		"an integer that no int64 can hold":  {`123456789012345678901234567890`, "123456789012345678901234567890"},
		"a negative integer":                 {`-7`, "-7"},
		"the longest":                        {`"` + strings.Repeat("x", ghl.MaxIDLen) + `"`, strings.Repeat("x", ghl.MaxIDLen)},
		"not one that is longer":             {`"` + strings.Repeat("x", ghl.MaxIDLen+1) + `"`, ""},
		"not an integer of 400 digits":       {strings.Repeat("9", 400), ""},
		"not one with NUL":                   {`"a\u0000b"`, ""},
		"not one with another control":       {`"a\u001bb"`, ""},
		"not one with a line end inside":     {`"a\nb"`, ""},
		"not one with half a surrogate pair": {`"a\ud800"`, ""},
		"not one with a replacement":         {`"a\ufffd"`, ""},
		"not an empty one":                   {`""`, ""},
		"not white space":                    {`" \t "`, ""},
		"not null":                           {`null`, ""},
		"not a boolean":                      {`true`, ""},
		"not an object":                      {`{"id":"x"}`, ""},
		"not an array":                       {`["x"]`, ""},
		"not undefined":                      {`"undefined"`, ""},
		"not null in words":                  {`"null"`, ""},
		"not an unfilled template":           {`"{{appointment.id}}"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := normalise(t, `{"type":"AppointmentUpdate","appointment":{"id":`+test.value+`,"contactId":`+test.value+`},`+
				`"locationId":`+test.value+`,"webhookId":`+test.value+`}`)
			assert.Equal(t, test.id, e.EntityID)
			assert.Equal(t, test.id, e.ContactID)
			assert.Equal(t, test.id, e.LocationID)
			if test.id == "" {
				assert.Empty(t, e.OrderingKey)
				assert.Empty(t, e.DedupeKey)
			} else {
				assert.Equal(t, "appointment:"+test.id, e.OrderingKey)
				assert.Equal(t, "ghl:"+test.id, e.DedupeKey)
			}
		})
	}
}

func TestDedupeKeyIsTheEnvelopesAlone(t *testing.T) {
	t.Parallel()
	assert.Empty(t, normalise(t, `{"id":"x","webhook_id":"x","customData":{"webhookId":"x"},"data":{"webhookId":"x"}}`).DedupeKey)
}
