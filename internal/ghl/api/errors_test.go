package ghlapi_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	simghl "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

// TestRefusals has refusals of the simulated API itself, without injected faults.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		set     func(*environment)
		class   destination.Class
		err     error
		code    int
		message string
	}{
		"a contact that does not exist": {
			func(b *environment) { b.sim.DeleteContact("con1") }, destination.Permanent, ghlapi.ErrNotFound, 404, "GoHighLevel has no such contact (404)",
		},
		"a token that GHL does not know": {
			func(b *environment) { b.sim.PutLocation(simghl.Location{ID: "loc1", Token: "another"}) },
			destination.Unavailable, ghlapi.ErrBadToken, 401, "the token was refused (401)",
		},
		"a token that has expired": {
			func(b *environment) {
				b.sim.PutLocation(simghl.Location{ID: "loc1", Token: token, TokenExpires: time.Now().Add(-time.Hour)})
			},
			destination.Unavailable, ghlapi.ErrBadToken, 401, "the token has expired (401)",
		},
		"a token of another location": {
			func(b *environment) { b.sim.PutContact(simghl.Contact{ID: "con1", LocationID: "loc2"}) },
			destination.Permanent, ghlapi.ErrWrongLocation, 403, "the token has no access to this location (403)",
		},
		"a day's budget that is spent": {
			func(b *environment) {
				b.sim.PutLocation(simghl.Location{ID: "loc1", Token: token, DailySpent: simghl.DailyLimit})
			},
			destination.Limited, ghlapi.ErrLimited, 429, "the location's limit of requests is reached (429)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.MarkLocationKnown("loc1")
			tc.set(b)
			_, err := b.GetContact(t.Context(), "loc1", "con1")
			require.ErrorIs(t, err, tc.err)
			e := failure(t, err)
			assert.Equal(t, "ghl:loc1", e.Destination)
			assert.Equal(t, tc.class, e.Class)
			assert.Equal(t, tc.code, e.Code)
			assert.Equal(t, tc.message, e.Message)
			assert.Equal(t, tc.code, b.observed.requests[0].code)
			if tc.class == destination.Limited {
				assert.Equal(t, 15*time.Minute, e.RetryAfter)
				assert.Equal(t, map[string]int{"loc1": 0}, b.observed.budgets)
			}
		})
	}
}

// said returns an error of GHL with a message, and with a phone number that must not be repeated.
func said(code int, message string) fault.Fault {
	return fault.JSON(code, `{"statusCode":0,"message":`+message+`,"error":"`+phone+`"}`)
}

func with(f fault.Fault, header ...string) fault.Fault {
	for i := 0; i < len(header); i += 2 {
		f.Header.Set(header[i], header[i+1])
	}
	return f
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	const getContact, search = ghlapi.EndpointGetContact, ghlapi.EndpointSearchContacts
	for name, tc := range map[string]struct {
		call       string
		fault      fault.Fault
		class      destination.Class
		err        error
		retryAfter time.Duration
	}{
		"400, a list":                             {getContact, said(400, `["number +15550100001 is wrong"]`), destination.Permanent, ghlapi.ErrValidation, 0},
		"400 for an id that is not found":         {getContact, said(400, `"Contact with id con1 not found"`), destination.Permanent, ghlapi.ErrNotFound, 0},
		"400 for something not found in a search": {search, said(400, `"field not found"`), destination.Permanent, ghlapi.ErrValidation, 0},
		"422, a list":                             {getContact, said(422, `["a","b"]`), destination.Permanent, ghlapi.ErrValidation, 0},
		"422 without a body":                      {getContact, fault.Fault{Kind: fault.Answer, Status: 422}, destination.Permanent, ghlapi.ErrValidation, 0},
		"401 for a scope":                         {getContact, said(401, `"The token is not authorized for this scope."`), destination.Unavailable, ghlapi.ErrBadToken, 0},
		"401 for the version":                     {getContact, said(401, `"version header is invalid"`), destination.Unavailable, nil, 0},
		"401 with a web page":                     {getContact, fault.Fault{Kind: fault.Answer, Status: 401, Body: "<html>"}, destination.Unavailable, ghlapi.ErrBadToken, 0},
		"403 of a firewall":                       {getContact, fault.Fault{Kind: fault.Answer, Status: 403, Body: "<html>location"}, destination.Unavailable, nil, 0},
		"404 of a contact":                        {getContact, said(404, `"not found"`), destination.Permanent, ghlapi.ErrNotFound, 0},
		"404 of the path":                         {getContact, said(404, `"Cannot GET /v9/contacts/con1"`), destination.Unavailable, nil, 0},
		"404 of another server":                   {getContact, fault.Fault{Kind: fault.Answer, Status: 404, Body: "404 page not found"}, destination.Unavailable, nil, 0},
		"404 of the search":                       {search, said(404, `"not found"`), destination.Unavailable, nil, 0},
		"405":                                     {getContact, fault.Status(405), destination.Unavailable, nil, 0},
		"408":                                     {getContact, fault.Status(408), destination.Transient, nil, 0},
		"429 with a time":                         {getContact, with(said(429, `"slow"`), "Retry-After", "7"), destination.Limited, ghlapi.ErrLimited, 7 * time.Second},
		"429 with a window":                       {getContact, with(said(429, `"slow"`), "X-RateLimit-Interval-Milliseconds", "3000"), destination.Limited, ghlapi.ErrLimited, 3 * time.Second},
		"429 with a huge window":                  {getContact, with(said(429, `"slow"`), "X-RateLimit-Interval-Milliseconds", "99999999999"), destination.Limited, ghlapi.ErrLimited, 15 * time.Minute},
		"429 without a time":                      {getContact, fault.Status(429), destination.Limited, ghlapi.ErrLimited, 10 * time.Second},
		"500":                                     {getContact, said(500, `"boom"`), destination.Transient, nil, 0},
		"503 with a time":                         {getContact, with(fault.Status(503), "Retry-After", "7"), destination.Transient, nil, 7 * time.Second},
		"504 with a web page":                     {getContact, fault.Fault{Kind: fault.Answer, Status: 504, Body: "<html>"}, destination.Transient, nil, 0},
		"200 with a web page":                     {getContact, fault.HTML(), destination.Unavailable, nil, 0},
		"200 with another type":                   {getContact, fault.Fault{Kind: fault.Answer, Header: http.Header{"Content-Type": {"text/plain"}}, Body: `{}`}, destination.Unavailable, nil, 0},
		"204":                                     {getContact, fault.Fault{Kind: fault.Answer, Status: 204}, destination.Unavailable, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			require.NoError(t, b.sim.Faults.Add(tc.fault))
			err := everyCall[tc.call](t, b)
			e := failure(t, err)
			assert.Equal(t, tc.class, e.Class, e.Message)
			assert.Equal(t, tc.retryAfter, e.RetryAfter)
			for _, sentinel := range []error{
				ghlapi.ErrBadToken, ghlapi.ErrWrongLocation, ghlapi.ErrNotFound, ghlapi.ErrValidation, ghlapi.ErrLimited, ghlapi.ErrLocationUnknown,
			} {
				if errors.Is(tc.err, sentinel) {
					assert.ErrorIs(t, err, sentinel)
				} else {
					assert.NotErrorIs(t, err, sentinel)
				}
			}
			require.NoError(t, everyCall[tc.call](t, b), "the next call is served")
		})
	}
}

func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"contact":`, 20_000)
	for name, tc := range map[string]struct{ call, body, message string }{
		"no JSON":                     {ghlapi.EndpointGetContact, `contact`, "the answer cannot be decoded"},
		"nothing":                     {ghlapi.EndpointGetContact, ``, "the answer cannot be decoded"},
		"half of it":                  {ghlapi.EndpointGetContact, `{"contact":{"id":"con1","email":"Ann`, "the answer cannot be decoded"},
		"a list":                      {ghlapi.EndpointGetContact, `[]`, "the answer cannot be decoded"},
		"too deep":                    {ghlapi.EndpointGetContact, deep, "the answer cannot be decoded"},
		"null":                        {ghlapi.EndpointGetContact, `null`, "the answer has no contact"},
		"another object":              {ghlapi.EndpointGetContact, `{"ok":true}`, "the answer has no contact"},
		"a contact that is a string":  {ghlapi.EndpointGetContact, `{"contact":"Ann"}`, "the answer cannot be decoded"},
		"a contact without an id":     {ghlapi.EndpointGetContact, `{"contact":{"email":"Ann@Example.com"}}`, "the answer has no contact"},
		"an id that is a number":      {ghlapi.EndpointGetContact, `{"contact":{"id":15550100001}}`, "the answer cannot be decoded: id has another type"},
		"an e-mail that is a list":    {ghlapi.EndpointGetContact, `{"contact":{"id":"con1","email":["Ann@Example.com"]}}`, "the answer cannot be decoded: email has another type"},
		"tags that are numbers":       {ghlapi.EndpointGetContact, `{"contact":{"id":"con1","tags":[1]}}`, "the answer cannot be decoded: tags has another type"},
		"an appointment without id":   {ghlapi.EndpointGetAppointment, `{"event":{"contactId":"con1"}}`, "the answer has no appointment"},
		"an appointment as a string":  {ghlapi.EndpointGetAppointment, `{"event":"tomorrow"}`, "the answer cannot be decoded"},
		"an appointment of lists":     {ghlapi.EndpointGetAppointment, `{"event":{"id":"a","contactId":[]}}`, "the answer cannot be decoded: contactId has another type"},
		"a search without contacts":   {ghlapi.EndpointSearchContacts, `{"total":1}`, "the answer has no list of contacts"},
		"a search that found null":    {ghlapi.EndpointSearchContacts, `{"contacts":[null]}`, "the answer has no list of contacts"},
		"a search that found numbers": {ghlapi.EndpointSearchContacts, `{"contacts":[1]}`, "the answer cannot be decoded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			require.NoError(t, b.sim.Faults.Add(fault.JSON(200, tc.body)))
			e := failure(t, everyCall[tc.call](t, b))
			assert.Equal(t, destination.Transient, e.Class)
			assert.Contains(t, e.Message, tc.message)
		})
	}
	for call, body := range map[string]string{
		ghlapi.EndpointGetContact: `{"contact":null}`, ghlapi.EndpointFindDuplicate: `{"contact":null}`, ghlapi.EndpointGetAppointment: `{"event":null}`,
	} {
		t.Run("null is not found for "+call, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			require.NoError(t, b.sim.Faults.Add(fault.JSON(200, body)))
			err := everyCall[call](t, b)
			failure(t, err)
			require.ErrorIs(t, err, ghlapi.ErrNotFound)
		})
	}
}

func TestFaultsOfTheConnection(t *testing.T) {
	t.Parallel()
	json := http.Header{"Content-Type": {"application/json"}}
	for name, tc := range map[string]struct {
		fault   fault.Fault
		options []func(*ghlapi.Options)
		class   destination.Class
		message string
	}{
		"no answer":                       {fault.Fault{Kind: fault.Hang}, []func(*ghlapi.Options){timeout(200 * time.Millisecond)}, destination.Transient, "timed out"},
		"headers, and no body":            {fault.Fault{Kind: fault.HangAfterHeaders, Header: json}, []func(*ghlapi.Options){timeout(200 * time.Millisecond)}, destination.Transient, "timed out"},
		"a body that drips":               {fault.Fault{Kind: fault.Drip, Header: json, Body: " ", DelayMillis: 10}, []func(*ghlapi.Options){timeout(200 * time.Millisecond)}, destination.Transient, "timed out"},
		"a body without an end":           {fault.Fault{Kind: fault.Endless, Header: json, Body: `{"contact":`}, nil, destination.Transient, "longer than 1048576 bytes"},
		"a failure without an end":        {fault.Fault{Kind: fault.Endless, Header: json, Status: 500, Body: "boom"}, nil, destination.Transient, "500"},
		"a reset":                         {fault.Fault{Kind: fault.Reset}, nil, destination.Transient, "the connection was reset"},
		"a reset after the call":          {fault.Fault{Kind: fault.ResetAfterHandling}, nil, destination.Transient, "the connection was reset"},
		"an answer that is cut":           {fault.Fault{Kind: fault.Truncate}, nil, destination.Transient, "closed before the answer was complete"},
		"a redirect is not followed":      {fault.Redirect(forbidden(t)), nil, destination.Unavailable, "redirects are not followed"},
		"a redirect within the same host": {fault.Redirect("/contacts/con1"), nil, destination.Unavailable, "redirects are not followed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, tc.options...)
			require.NoError(t, b.sim.Faults.Add(tc.fault))
			err := b.AddTags(t.Context(), "loc1", "con1", []string{"vip"})
			e := failure(t, err)
			assert.Equal(t, tc.class, e.Class)
			assert.Contains(t, e.Message, tc.message)
			assert.Equal(t, 1, b.sim.Requests.Total(), "the client does not try again by itself")
			require.NoError(t, b.AddTags(t.Context(), "loc1", "con1", []string{"vip"}), "the next call is served")
		})
	}
	t.Run("the connection is refused", func(t *testing.T) {
		t.Parallel()
		b := start(t, func(o *ghlapi.Options) { o.BaseURL = "http://127.0.0.1:1" })
		_, err := b.GetContact(t.Context(), "loc1", "con1")
		assert.Equal(t, destination.Unavailable, failure(t, err).Class)
	})
	t.Run("the caller cancelled before", func(t *testing.T) {
		t.Parallel()
		b := start(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := b.GetContact(ctx, "loc1", "con1")
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, destination.Transient, failure(t, err).Class)
		assert.Zero(t, b.sim.Requests.Total())
	})
}

func TestInvalidCallsSendNoRequest(t *testing.T) {
	t.Parallel()
	hostile := []string{"", ".", "..", "../secrets", "a/b", "a%2Fb", "con1?x=1", "con1#x", "con 1", "cön1", "con1\n", strings.Repeat("x", 129)}
	for _, id := range hostile {
		t.Run("the id "+id, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			_, err := b.GetContact(t.Context(), "loc1", id)
			require.ErrorIs(t, err, ghlapi.ErrValidation)
			_, err = b.GetAppointment(t.Context(), "loc1", id)
			require.ErrorIs(t, err, ghlapi.ErrValidation)
			err = b.AddTags(t.Context(), "loc1", id, []string{"vip"})
			require.ErrorIs(t, err, ghlapi.ErrValidation)
			assert.Equal(t, destination.Permanent, failure(t, err).Class)
			assert.Zero(t, b.sim.Requests.Total())
		})
	}
	for _, id := range hostile[1:] {
		t.Run("the location "+id, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			_, err := b.GetContact(t.Context(), id, "con1")
			require.ErrorIs(t, err, ghlapi.ErrLocationUnknown)
			e := failure(t, err)
			assert.Equal(t, destination.Permanent, e.Class)
			assert.Equal(t, "ghl", e.Destination, "an invented name creates no breaker")
			assert.Zero(t, b.sim.Requests.Total())
		})
	}
	t.Run("a search without a condition or a location", func(t *testing.T) {
		t.Parallel()
		b := start(t)
		_, err := b.FindDuplicate(t.Context(), "loc1", "", "")
		require.ErrorIs(t, err, ghlapi.ErrValidation)
		_, err = b.SearchContacts(t.Context(), "loc1", nil)
		require.ErrorIs(t, err, ghlapi.ErrValidation)
		_, err = b.FindDuplicate(t.Context(), "", phone, "")
		require.ErrorIs(t, err, ghlapi.ErrLocationUnknown)
		_, err = b.SearchContacts(t.Context(), "", []ghlapi.Filter{{Field: "phone", Operator: "eq", Value: phone}})
		require.ErrorIs(t, err, ghlapi.ErrLocationUnknown)
		assert.Zero(t, b.sim.Requests.Total())
	})
}
