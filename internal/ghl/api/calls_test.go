package ghlapi_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	simghl "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

func TestGetAppointment(t *testing.T) {
	t.Parallel()
	want := ghlapi.Appointment{
		ID: "app1", LocationID: "loc1", ContactID: "con1", Status: "confirmed",
		DateAdded: time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC),
	}
	got, err := start(t).GetAppointment(t.Context(), "loc1", "app1")
	require.NoError(t, err)
	assert.Equal(t, want, got)

	const inner = `{"id":"app1","locationId":"loc1","contactId":"con1","appointmentStatus":"confirmed","calendarId":"cal1",
		"dateAdded":"2026-11-01T10:00:00+01:00","dateUpdated":"2026-11-02T09:00:00.000Z","users":[1,{"a":null}]}`
	for name, body := range map[string]string{
		"under event":                    `{"event":` + inner + `,"traceId":"x"}`,
		"under appointment":              `{"appointment":` + inner + `}`,
		"flat":                           inner,
		"under event, if both are there": `{"appointment":{"id":"other"},"event":` + inner + `}`,
	} {
		t.Run("it is read "+name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			require.NoError(t, b.sim.Faults.Add(fault.JSON(200, body)))
			got, err := b.GetAppointment(t.Context(), "loc1", "app1")
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

func TestGetContact(t *testing.T) {
	t.Parallel()
	b := start(t)
	got, err := b.GetContact(t.Context(), "loc1", "con1")
	require.NoError(t, err)
	assert.Equal(t, ghlapi.Contact{
		ID: "con1", LocationID: "loc1", FirstName: "Ann", LastName: "Bee", Email: email, Phone: phone, Country: "US",
		Tags: []string{"new"}, DateUpdated: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC),
	}, got)
	kept, err := json.Marshal(got)
	require.NoError(t, err)
	assert.NotContains(t, string(kept), ssn)
	assert.NotContains(t, string(kept), "blue", "custom fields are not kept either")

	t.Run("absent, null and odd values are empty", func(t *testing.T) {
		t.Parallel()
		b := start(t)
		require.NoError(t, b.sim.Faults.Add(fault.JSON(200, `{"contact":{"id":"con1","email":null,"tags":null,"dateUpdated":17,"phone":""}}`)))
		got, err := b.GetContact(t.Context(), "loc1", "con1")
		require.NoError(t, err)
		assert.Equal(t, ghlapi.Contact{ID: "con1"}, got)
	})
}

func TestFindDuplicate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ phone, email string }{
		"by phone": {phone, ""},
		"by email": {"", "ann@example.com"},
		"by both":  {phone, "ann@example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := start(t).FindDuplicate(t.Context(), "loc1", tc.phone, tc.email)
			require.NoError(t, err)
			assert.Equal(t, "con1", got.ID)
		})
	}
	t.Run("of an unknown phone number is not found", func(t *testing.T) {
		t.Parallel()
		_, err := start(t).FindDuplicate(t.Context(), "loc1", "+15550100009", "")
		require.ErrorIs(t, err, ghlapi.ErrNotFound)
		assert.Equal(t, destination.Permanent, failure(t, err).Class)
	})
}

func TestSearchContacts(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.sim.PutContact(simghl.Contact{ID: "con2", LocationID: "loc1", Email: "bob@example.com"})
	got, err := b.SearchContacts(t.Context(), "loc1", []ghlapi.Filter{{Field: "email", Operator: "contains", Value: "example.com"}})
	require.NoError(t, err)
	assert.Len(t, got, 2)
	got, err = b.SearchContacts(t.Context(), "loc1", []ghlapi.Filter{
		{Field: "email", Operator: "contains", Value: "example.com"}, {Field: "phone", Operator: "eq", Value: phone},
	})
	require.NoError(t, err)
	require.Len(t, got, 1)
	assert.Equal(t, "con1", got[0].ID)
	got, err = b.SearchContacts(t.Context(), "loc1", []ghlapi.Filter{{Field: "email", Operator: "eq", Value: "eve@example.com"}})
	require.NoError(t, err)
	assert.Empty(t, got)

	_, err = b.SearchContacts(t.Context(), "loc1", []ghlapi.Filter{{Field: "shoe size", Operator: "eq", Value: "9"}})
	require.ErrorIs(t, err, ghlapi.ErrValidation)
	assert.Equal(t, 422, failure(t, err).Code)
}

func TestAddTags(t *testing.T) {
	t.Parallel()
	b := start(t)
	require.NoError(t, b.AddTags(t.Context(), "loc1", "con1", []string{"Booked", "vip"}))
	stored, _ := b.sim.Contact("con1")
	assert.Equal(t, []string{"new", "booked", "vip"}, stored.Tags)

	require.NoError(t, b.AddTags(t.Context(), "loc1", "con1", nil))
	assert.Equal(t, 1, b.sim.Requests.Total(), "no tags need no request")

	err := b.AddTags(t.Context(), "loc1", "con9", []string{"vip"})
	require.ErrorIs(t, err, ghlapi.ErrNotFound)
}

func TestMissingTags(t *testing.T) {
	t.Parallel()
	contact := ghlapi.Contact{Tags: []string{"booked", "New "}}
	for name, tc := range map[string]struct{ want, missing []string }{
		"none if it has them, in any case":     {[]string{"Booked", "new"}, nil},
		"the missing ones, without duplicates": {[]string{"vip", "booked", "VIP", "old"}, []string{"vip", "old"}},
		"none if none are wanted":              {nil, nil},
		"none for blanks":                      {[]string{"", " "}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tc.missing, contact.MissingTags(tc.want))
		})
	}
}

// TestTagsCauseNoLoop shows that the ContactTagUpdate, which GHL sends after missing tags are added, adds no tags.
func TestTagsCauseNoLoop(t *testing.T) {
	t.Parallel()
	b := start(t)
	updates := 0
	b.sim.OnTags = func(simghl.Contact) { updates++ }
	for range 3 {
		contact, err := b.GetContact(t.Context(), "loc1", "con1")
		require.NoError(t, err)
		require.NoError(t, b.AddTags(t.Context(), "loc1", "con1", contact.MissingTags([]string{"Booked"})))
	}
	assert.Equal(t, 1, updates)
	assert.Len(t, b.sim.Requests.Requests(http.MethodPost, "/contacts/con1/tags"), 1)
}

// everyCall has a call of each method, with the entities of the environment.
var everyCall = map[string]func(*testing.T, *environment) error{
	ghlapi.EndpointGetAppointment: func(t *testing.T, b *environment) error {
		_, err := b.GetAppointment(t.Context(), "loc1", "app1")
		return err
	},
	ghlapi.EndpointGetContact: func(t *testing.T, b *environment) error {
		_, err := b.GetContact(t.Context(), "loc1", "con1")
		return err
	},
	ghlapi.EndpointFindDuplicate: func(t *testing.T, b *environment) error {
		_, err := b.FindDuplicate(t.Context(), "loc1", phone, "")
		return err
	},
	ghlapi.EndpointSearchContacts: func(t *testing.T, b *environment) error {
		_, err := b.SearchContacts(t.Context(), "loc1", []ghlapi.Filter{{Field: "phone", Operator: "eq", Value: phone}})
		return err
	},
	ghlapi.EndpointAddTags: func(t *testing.T, b *environment) error {
		return b.AddTags(t.Context(), "loc1", "con1", []string{"vip"})
	},
}

func TestEveryCall(t *testing.T) {
	t.Parallel()
	assert.Len(t, everyCall, len(ghlapi.Endpoints()))
	for _, endpoint := range ghlapi.Endpoints() {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.MarkLocationKnown("loc1")
			require.NoError(t, everyCall[endpoint](t, b))
			sent := b.sim.Requests.Requests("", "")
			require.Len(t, sent, 1)
			assert.Equal(t, "application/json", sent[0].Header.Get("Accept"))
			assert.Equal(t, "verity-sync/test", sent[0].Header.Get("User-Agent"))
			if sent[0].Method == http.MethodPost {
				assert.Equal(t, "application/json", sent[0].Header.Get("Content-Type"))
			}
			require.Len(t, b.observed.requests, 1)
			assert.Equal(t, endpoint, b.observed.requests[0].endpoint)
			assert.Equal(t, 2, b.observed.requests[0].code/100)
			assert.Equal(t, map[string]int{"loc1": simghl.DailyLimit - 1}, b.observed.budgets)
		})
	}
}

func TestObserver(t *testing.T) {
	t.Parallel()
	t.Run("a call without an answer is code 0", func(t *testing.T) {
		t.Parallel()
		b := start(t)
		require.NoError(t, b.sim.Faults.Add(fault.Fault{Kind: fault.Reset}))
		require.Error(t, b.AddTags(t.Context(), "loc1", "con1", []string{"vip"}))
		assert.Equal(t, []observedRequest{{ghlapi.EndpointAddTags, 0}}, b.observed.requests)
		assert.Empty(t, b.observed.budgets)
	})
	t.Run("a refused location has no budget", func(t *testing.T) {
		t.Parallel()
		b := start(t)
		_, err := b.FindDuplicate(t.Context(), "invented", phone, "")
		require.ErrorIs(t, err, ghlapi.ErrWrongLocation)
		assert.Equal(t, []observedRequest{{ghlapi.EndpointFindDuplicate, 403}}, b.observed.requests)
		assert.Empty(t, b.observed.budgets)
	})
	t.Run("it may be absent", func(t *testing.T) {
		t.Parallel()
		b := start(t, func(o *ghlapi.Options) { o.Observer = nil })
		_, err := b.GetContact(t.Context(), "loc1", "con1")
		require.NoError(t, err)
	})
}

func TestNewRejects(t *testing.T) {
	t.Parallel()
	good := ghlapi.Options{Tokens: ghlapi.StaticToken(token), HTTP: destination.NewClient("test")}
	_, err := ghlapi.New(good)
	require.NoError(t, err, "the base URL has a default")
	for name, change := range map[string]func(*ghlapi.Options){
		"no token source":          func(o *ghlapi.Options) { o.Tokens = nil },
		"no HTTP client":           func(o *ghlapi.Options) { o.HTTP = nil },
		"a base URL without host":  func(o *ghlapi.Options) { o.BaseURL = "services.example.com" },
		"a base URL of a file":     func(o *ghlapi.Options) { o.BaseURL = "file:///tmp" },
		"a base URL with a query":  func(o *ghlapi.Options) { o.BaseURL = "https://example.com/?a=b" },
		"a URL with a fragment":    func(o *ghlapi.Options) { o.BaseURL = "https://example.com/#a" },
		"a base URL with a secret": func(o *ghlapi.Options) { o.BaseURL = "https://user:secret@example.com" },
		"an invalid base URL":      func(o *ghlapi.Options) { o.BaseURL = "https://exa mple.com" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := good
			change(&o)
			_, err := ghlapi.New(o)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}
