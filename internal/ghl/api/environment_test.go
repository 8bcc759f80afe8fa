package ghlapi_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	simghl "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

const (
	token = "pit-00000000-secret"
	phone = "+15550100001"
	email = "Ann@Example.com"
	ssn   = "000-00-0000"
)

// environment is a client and the simulated API that it calls, with a location "loc1", a contact "con1" and an appointment "app1".
type environment struct {
	*ghlapi.Client
	sim      *simghl.Server
	observed *observations
}

// start starts an environment. options change the client's options. The default token is that of loc1.
func start(t *testing.T, options ...func(*ghlapi.Options)) *environment {
	t.Helper()
	b := &environment{sim: simghl.New(), observed: &observations{}}
	b.sim.PutLocation(simghl.Location{ID: "loc1", Token: token})
	b.sim.PutContact(simghl.Contact{
		ID: "con1", LocationID: "loc1", FirstName: "Ann", LastName: "Bee", Email: email, Phone: phone, Country: "US", Tags: []string{"new"},
		SSN: ssn, CustomFields: []map[string]any{{"id": "f1", "value": "blue"}}, DateUpdated: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC),
	})
	b.sim.PutAppointment(simghl.Appointment{
		ID: "app1", LocationID: "loc1", ContactID: "con1", AppointmentStatus: "Confirmed",
		DateAdded: time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC), DateUpdated: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC),
	})
	server := httptest.NewServer(b.sim)
	t.Cleanup(server.Close)
	client := destination.NewClient("test")
	t.Cleanup(client.CloseIdleConnections)
	o := ghlapi.Options{BaseURL: server.URL + "/", Tokens: ghlapi.StaticToken(token), HTTP: client, Observer: b.observed}
	for _, change := range options {
		change(&o)
	}
	var err error
	b.Client, err = ghlapi.New(o)
	require.NoError(t, err)
	return b
}

// timeout sets the timeout of the client.
func timeout(d time.Duration) func(*ghlapi.Options) {
	return func(o *ghlapi.Options) { o.HTTP.Timeout = d }
}

func tokens(s ghlapi.TokenSource) func(*ghlapi.Options) {
	return func(o *ghlapi.Options) { o.Tokens = s }
}

// observations is an Observer that records its calls.
type observations struct {
	mu       sync.Mutex
	requests []observedRequest
	budgets  map[string]int
}

type observedRequest struct {
	endpoint string
	code     int
}

func (o *observations) Request(endpoint string, code int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests = append(o.requests, observedRequest{endpoint, code})
}

func (o *observations) Budget(locationID string, remaining int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.budgets == nil {
		o.budgets = map[string]int{}
	}
	o.budgets[locationID] = remaining
}

// failure returns err as a *destination.Error, and checks that neither it nor a cause contains a secret or personal data.
func failure(t *testing.T, err error) *destination.Error {
	t.Helper()
	var e *destination.Error
	require.ErrorAs(t, err, &e)
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		for _, secret := range []string{token, phone, phone[1:], email, ssn, "Ann", "http://", "?"} {
			assert.NotContains(t, cause.Error(), secret)
		}
	}
	return e
}

// forbidden returns the URL of a server that must not receive a request.
func forbidden(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(server.Close)
	return server.URL
}
