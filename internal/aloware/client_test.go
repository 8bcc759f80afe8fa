package aloware_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/aloware"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	simaloware "github.com/dfmiddleware/verity-sync/test/sim/aloware"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

const (
	token = "740a6c4e-secret"
	phone = "+15550100001"
	email = "ann@example.com"
)

var ann = aloware.Contact{
	PhoneNumber: phone, FirstName: "Ann", LastName: "Bee", Email: email, Country: "US", LeadSource: "GoHighLevel",
}

// environment is a client and the simulated Aloware that it calls.
type environment struct {
	*aloware.Client
	sim  *simaloware.Server
	http *http.Client
}

func start(t *testing.T, options ...func(*aloware.Options)) *environment {
	t.Helper()
	b := &environment{sim: simaloware.New(token), http: destination.NewClient("test")}
	server := httptest.NewServer(b.sim)
	t.Cleanup(server.Close)
	t.Cleanup(b.http.CloseIdleConnections)
	o := aloware.Options{BaseURL: server.URL + "/", Token: token, HTTP: b.http}
	for _, change := range options {
		change(&o)
	}
	var err error
	b.Client, err = aloware.New(o)
	require.NoError(t, err)
	return b
}

// shortTimeout gives a client a timeout of 200 ms.
func shortTimeout(o *aloware.Options) { o.HTTP.Timeout = 200 * time.Millisecond }

// failure returns err as a *destination.Error, and checks that neither it nor a cause contains a secret.
func failure(t *testing.T, err error) *destination.Error {
	t.Helper()
	var e *destination.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, "aloware", e.Destination)
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		for _, secret := range []string{token, phone, phone[1:], url.QueryEscape(phone), email, "Ann", "http://", "?"} {
			assert.NotContains(t, cause.Error(), secret)
		}
	}
	return e
}

func TestSync(t *testing.T) {
	t.Parallel()
	b := start(t)
	created, err := b.Sync(t.Context(), ann)
	require.NoError(t, err)
	assert.True(t, created)
	want := simaloware.Contact{
		ID: 70001, PhoneNumber: phone, FirstName: "Ann", LastName: "Bee", Email: email, Country: "US", LeadSource: "GoHighLevel",
	}
	assert.Equal(t, []simaloware.Contact{want}, b.sim.Contacts())

	created, err = b.Sync(t.Context(), aloware.Contact{PhoneNumber: phone, FirstName: "Anna"})
	require.NoError(t, err)
	assert.False(t, created)
	want.FirstName = "Anna"
	assert.Equal(t, []simaloware.Contact{want}, b.sim.Contacts(), "fields that are set are overwritten, empty fields stay unchanged")

	for _, sent := range b.sim.Requests.Requests("", "") {
		assert.Empty(t, sent.Query, "the token is in the body")
		assert.Equal(t, "application/json", sent.Header.Get("Content-Type"))
		assert.Equal(t, "verity-sync/test", sent.Header.Get("User-Agent"))
	}

	_, err = b.Sync(t.Context(), aloware.Contact{FirstName: "Ann"})
	require.ErrorIs(t, err, aloware.ErrValidation)
	assert.Equal(t, destination.Permanent, failure(t, err).Class)
	assert.Equal(t, 2, b.sim.Requests.Total(), "without a phone number no request is sent")

	t.Run("any response that is not a web page is a success", func(t *testing.T) {
		t.Parallel()
		b := start(t)
		require.NoError(t, b.sim.Faults.Add(fault.Fault{Kind: fault.Answer, Status: 201, Header: http.Header{"Content-Type": {"text/plain"}}, Body: "ok"}))
		created, err := b.Sync(t.Context(), ann)
		require.NoError(t, err)
		assert.True(t, created)
	})
}

func TestLookup(t *testing.T) {
	t.Parallel()
	b := start(t)
	_, err := b.Sync(t.Context(), ann)
	require.NoError(t, err)
	id, err := b.Lookup(t.Context(), phone)
	require.NoError(t, err)
	assert.Equal(t, "70001", id)

	_, err = b.Lookup(t.Context(), "+15550100009")
	require.ErrorIs(t, err, aloware.ErrNotFound)
	e := failure(t, err)
	assert.Equal(t, destination.Permanent, e.Class)
	assert.Equal(t, 404, e.Code)

	_, err = b.Lookup(t.Context(), "12")
	require.ErrorIs(t, err, aloware.ErrValidation)
	_, err = b.Lookup(t.Context(), "")
	require.ErrorIs(t, err, aloware.ErrValidation)
	assert.Equal(t, 4, b.sim.Requests.Total(), "an empty phone number is not looked up")
}

func TestLookupReadsTheID(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ body, want string }{
		"a number":                            {`{"id":70001,"name":"Ann"}`, "70001"},
		"a string":                            {`{"id":"70001"}`, "70001"},
		"a large number, digit for digit":     {`{"id":9007199254740993}`, "9007199254740993"},
		"a UUID":                              {`{"id":"0199c0de-0000-7000-8000-000000000000"}`, "0199c0de-0000-7000-8000-000000000000"},
		"of a nested contact":                 {`{"contact":{"id":70001}}`, "70001"},
		"of nested data":                      {`{"data":{"id":"70001"}}`, "70001"},
		"of the contact, not of the response": {`{"id":5,"contact":{"id":70001}}`, "70001"},
		"beside a contact that is no object":  {`{"id":70001,"contact":"Ann","data":[]}`, "70001"},
		"none":                                {`{"name":"Ann"}`, ""},
		"null":                                {`{"id":null}`, ""},
		"zero":                                {`{"id":0}`, ""},
		"a negative number":                   {`{"id":-7}`, ""},
		"a fraction":                          {`{"id":7.5}`, ""},
		"a boolean":                           {`{"id":true}`, ""},
		"an object":                           {`{"id":{"id":7}}`, ""},
		"a string with a NUL":                 {`{"id":"7\u0000"}`, ""},
		"an empty string":                     {`{"id":""}`, ""},
		"a list":                              {`[{"id":7}]`, ""},
		"null for all":                        {`null`, ""},
		"a truncated response":                {`{"id":70001,"name":"Ann`, ""},
		"an empty response":                   {``, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			require.NoError(t, b.sim.Faults.Add(fault.JSON(200, tc.body)))
			id, err := b.Lookup(t.Context(), phone)
			assert.Equal(t, tc.want, id)
			if tc.want == "" {
				assert.Equal(t, destination.Transient, failure(t, err).Class)
				return
			}
			require.NoError(t, err)
		})
	}
}

// calls are the calls of the client.
var calls = map[string]func(context.Context, *environment) error{
	"sync": func(ctx context.Context, b *environment) error {
		_, err := b.Sync(ctx, ann)
		return err
	},
	"lookup": func(ctx context.Context, b *environment) error {
		_, err := b.Lookup(ctx, phone)
		return err
	},
}

func TestBadToken(t *testing.T) {
	t.Parallel()
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.sim.SetToken("another")
			err := call(t.Context(), b)
			require.ErrorIs(t, err, aloware.ErrBadToken)
			e := failure(t, err)
			assert.Equal(t, destination.Unavailable, e.Class)
			assert.Equal(t, 200, e.Code)
		})
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	header := func(name, value string, f fault.Fault) fault.Fault {
		f.Header.Set(name, value)
		return f
	}
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(target.Close)
	for name, tc := range map[string]struct {
		fault      fault.Fault
		class      destination.Class
		err        error
		retryAfter time.Duration
	}{
		"400":                          {fault.JSON(400, `{"error":"Phone number +15550100001 is invalid."}`), destination.Permanent, aloware.ErrValidation, 0},
		"401":                          {fault.JSON(401, `{"message":"Unauthenticated."}`), destination.Unavailable, aloware.ErrBadToken, 0},
		"403":                          {fault.Status(403), destination.Unavailable, nil, 0},
		"404 of another resource":      {fault.JSON(404, `{"error":"Route not found."}`), destination.Unavailable, nil, 0},
		"404 with a web page":          {fault.Fault{Kind: fault.Answer, Status: 404, Body: "<html>Contact not found."}, destination.Unavailable, nil, 0},
		"422":                          {fault.Status(422), destination.Permanent, aloware.ErrValidation, 0},
		"429 with Retry-After":         {header("Retry-After", "7", fault.Status(429)), destination.Limited, aloware.ErrLimited, 7 * time.Second},
		"429 without Retry-After":      {fault.Status(429), destination.Limited, aloware.ErrLimited, time.Minute},
		"500":                          {fault.Status(500), destination.Transient, nil, 0},
		"503 with a web page":          {fault.Fault{Kind: fault.Answer, Status: 503, Body: "<html>"}, destination.Transient, nil, 0},
		"a web page":                   {fault.HTML(), destination.Unavailable, aloware.ErrBadToken, 0},
		"a web page declared as JSON":  {fault.JSON(200, "\n<!DOCTYPE html>"), destination.Unavailable, aloware.ErrBadToken, 0},
		"a redirect to another server": {fault.Redirect(target.URL), destination.Unavailable, nil, 0},
		"a redirect to a path":         {fault.Fault{Kind: fault.Answer, Status: 302, Header: http.Header{"Location": {"/login"}}}, destination.Unavailable, nil, 0},
	} {
		for call, do := range calls {
			t.Run(call+": "+name, func(t *testing.T) {
				t.Parallel()
				b := start(t)
				_, err := b.Sync(t.Context(), ann)
				require.NoError(t, err)
				require.NoError(t, b.sim.Faults.Add(tc.fault))
				err = do(t.Context(), b)
				e := failure(t, err)
				assert.Equal(t, tc.class, e.Class, e.Message)
				assert.Equal(t, tc.retryAfter, e.RetryAfter)
				for _, sentinel := range []error{aloware.ErrBadToken, aloware.ErrNotFound, aloware.ErrValidation, aloware.ErrLimited} {
					assert.Equal(t, errors.Is(tc.err, sentinel), errors.Is(err, sentinel), sentinel)
				}
				require.NoError(t, do(t.Context(), b), "the next call succeeds")
			})
		}
	}
}

func TestConnectionFailures(t *testing.T) {
	t.Parallel()
	json := http.Header{"Content-Type": {"application/json"}}
	for name, tc := range map[string]struct {
		fault   fault.Fault
		options []func(*aloware.Options)
		message string
	}{
		"no response":                {fault.Fault{Kind: fault.Hang}, []func(*aloware.Options){shortTimeout}, "timed out"},
		"headers without a body":     {fault.Fault{Kind: fault.HangAfterHeaders, Header: json}, []func(*aloware.Options){shortTimeout}, "timed out"},
		"a body that arrives slowly": {fault.Fault{Kind: fault.Drip, Header: json, Body: " ", DelayMillis: 10}, []func(*aloware.Options){shortTimeout}, "timed out"},
		"an endless body":            {fault.Fault{Kind: fault.Endless, Header: json, Body: " "}, nil, "longer than 1048576 bytes"},
		"a reset":                    {fault.Fault{Kind: fault.Reset}, nil, "the connection was reset"},
		"a reset after the effect":   {fault.Fault{Kind: fault.ResetAfterHandling}, nil, "the connection was reset"},
		"a truncated response":       {fault.Fault{Kind: fault.Truncate}, nil, "closed before the answer was complete"},
	} {
		for call, do := range calls {
			t.Run(call+": "+name, func(t *testing.T) {
				t.Parallel()
				b := start(t, tc.options...)
				_, err := b.Sync(t.Context(), ann)
				require.NoError(t, err)
				// net/http repeats a GET if its idle connection is reset.
				b.http.CloseIdleConnections()
				require.NoError(t, b.sim.Faults.Add(tc.fault))
				e := failure(t, do(t.Context(), b))
				assert.Equal(t, destination.Transient, e.Class)
				assert.Contains(t, e.Message, tc.message)
				require.NoError(t, do(t.Context(), b), "the next call succeeds")
				assert.Len(t, b.sim.Contacts(), 1, "the repeated call adds no contact")
			})
		}
	}
	for call, do := range calls {
		t.Run(call+": the connection is refused", func(t *testing.T) {
			t.Parallel()
			b := start(t, func(o *aloware.Options) { o.BaseURL = "http://127.0.0.1:1" })
			assert.Equal(t, destination.Unavailable, failure(t, do(t.Context(), b)).Class)
		})
		t.Run(call+": the context is already canceled", func(t *testing.T) {
			t.Parallel()
			b := start(t)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			err := do(ctx, b)
			require.ErrorIs(t, err, context.Canceled)
			failure(t, err)
			assert.Zero(t, b.sim.Requests.Total())
		})
	}
}

func TestNewRejectsInvalidOptions(t *testing.T) {
	t.Parallel()
	good := aloware.Options{Token: token, HTTP: destination.NewClient("test")}
	_, err := aloware.New(good)
	require.NoError(t, err, "the base URL has a default")
	for name, change := range map[string]func(*aloware.Options){
		"no token":                  func(o *aloware.Options) { o.Token = "" },
		"no HTTP client":            func(o *aloware.Options) { o.HTTP = nil },
		"a base URL without a host": func(o *aloware.Options) { o.BaseURL = "app.example.com" },
		"a base URL with a query":   func(o *aloware.Options) { o.BaseURL = "https://example.com/?a=b" },
		"a base URL with a secret":  func(o *aloware.Options) { o.BaseURL = "https://user:secret@example.com" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := good
			change(&o)
			_, err := aloware.New(o)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}
