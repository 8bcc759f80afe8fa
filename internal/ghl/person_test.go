package ghl_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

func TestPersonOf(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		entity string
		body   string
		want   event.Person
	}{
		"a marketplace contact event has it all at the root": {
			event.EntityContact,
			`{"type":"ContactUpdate","id":"c1","phone":"(205) 555-0142","email":"John.Deo@Example.com","name":"Other Name",
			  "firstName":"John","lastName":"Deo","country":"US"}`,
			event.Person{Phone: "(205) 555-0142", Email: "John.Deo@Example.com", FirstName: "John", LastName: "Deo", Country: "US"},
		},
		"a workflow body has it at the root in snake case": {
			event.EntityAppointment,
			`{"phone":"+201200000198","email":"mona@example.com","first_name":"Mona","last_name":"Example","country":"SA",
			  "location":{"name":"Clinic","country":"AE"},"calendar":{"appointmentId":"a1","name":"Calendar"},"workflow":{"name":"Flow"}}`,
			event.Person{Phone: "+201200000198", Email: "mona@example.com", FirstName: "Mona", LastName: "Example", Country: "SA"},
		},
		"the contact block comes next, then customData": {
			event.EntityAppointment,
			`{"contact":{"email":"b@example.com","firstName":"Mona"},
			  "customData":{"phone":"+12055550142","email":"c@example.com","first_name":"No"}}`,
			event.Person{Phone: "+12055550142", Email: "b@example.com", FirstName: "Mona"},
		},
		"the root comes before both": {
			event.EntityAppointment,
			`{"phone":"1","email":"a","contact":{"phone":"2","email":"b"},"customData":{"phone":"3","email":"c"}}`,
			event.Person{Phone: "1", Email: "a"},
		},
		"an empty or invalid value is skipped": {
			event.EntityAppointment,
			`{"phone":"","email":null,"contact":{"phone":"undefined","email":"{{contact.email}}"},
			  "customData":{"phone":"3","email":"c"}}`,
			event.Person{Phone: "3", Email: "c"},
		},
		"a phone number that is a number": {event.EntityContact, `{"phone":12055550142}`, event.Person{Phone: "12055550142"}},
		"a full name is split if there is nothing better": {
			event.EntityAppointment, `{"full_name":"Mona Maria Example","name":"Studio"}`,
			event.Person{FirstName: "Mona", LastName: "Maria Example"},
		},
		"half a name is better than a full one": {
			event.EntityAppointment, `{"first_name":"Mona","full_name":"Ada Other"}`, event.Person{FirstName: "Mona"},
		},
		"the root's name is the contact's in contact events": {
			event.EntityContact, `{"name":"Ada  Example"}`, event.Person{FirstName: "Ada", LastName: "Example"},
		},
		"the root's name is something else's in others": {event.EntityAppointment, `{"name":"Ada Example"}`, event.Person{}},
		"the contact block's name is the contact's in any": {
			event.EntityAppointment, `{"contact":{"name":"Ada"}}`, event.Person{FirstName: "Ada"},
		},
		"a marketplace appointment has nothing about the contact": {
			event.EntityAppointment, `{"type":"AppointmentCreate","appointment":{"id":"a1","contactId":"c1","title":"Ada"}}`, event.Person{},
		},
		"a body of something else": {
			event.EntityContact, `{"phone":{"x":1},"email":["a"],"contact":"none","customData":[]}`, event.Person{},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode("application/json", []byte(tt.body))
			require.NoError(t, err)
			assert.Equal(t, tt.want, ghl.PersonOf(body, tt.entity))
		})
	}
}

func TestLocationCountryOf(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ body, want string }{
		"a workflow's location block":              {`{"country":"SA","location":{"id":"l1","country":"AE"}}`, "AE"},
		"a location block in customData":           {`{"customData":{"location":{"id":"l1","country":"AE"}}}`, "AE"},
		"the contact's own country is another one": {`{"country":"SA","location":{"id":"l1"},"contact":{"country":"SA"}}`, ""},
		"a location that is not a block":           {`{"location":"AE","locationId":"l1"}`, ""},
		"a template that was not filled in":        {`{"location":{"country":"{{location.country}}"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode("application/json", []byte(tt.body))
			require.NoError(t, err)
			assert.Equal(t, tt.want, ghl.LocationCountryOf(body))
		})
	}
}

func TestPersonOfAForm(t *testing.T) {
	t.Parallel()
	form := []byte("contact_id=c1&phone=%2B12055550142&customData[email]=a%40example.com")
	body, err := ghl.Decode("application/x-www-form-urlencoded", form)
	require.NoError(t, err)
	stored, err := ghl.Decode("application/json", body.Payload)
	require.NoError(t, err, "what is stored of it is an object")
	assert.Equal(t, event.Person{Phone: "+12055550142", Email: "a@example.com"}, ghl.PersonOf(stored, event.EntityContact))
}
