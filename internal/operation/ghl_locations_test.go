package operation_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	ghlsim "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

// sharedToken is a GoHighLevel with one static token for all locations, and a controller that has just started.
type sharedToken struct {
	*ghlServer
	mu      sync.Mutex
	changes []string
}

func (env *environment) sharedToken(t *testing.T) *sharedToken {
	t.Helper()
	o := &sharedToken{ghlServer: &ghlServer{Server: ghlsim.New()}}
	o.PutLocation(ghlsim.Location{ID: location, Token: "token1"})
	env.restart(t, o)
	return o
}

// restart starts a new controller, which knows only the stored locations.
func (env *environment) restart(t *testing.T, o *sharedToken) {
	t.Helper()
	server := httptest.NewServer(o.Server)
	t.Cleanup(server.Close)
	client, err := ghlapi.New(ghlapi.Options{BaseURL: server.URL, Tokens: ghlapi.StaticToken("token1"), HTTP: destination.NewClient("test")})
	require.NoError(t, err)
	o.api = &operation.GHL{
		API: client, Locations: env.store,
		Breakers: operation.NewLocationBreakers(destination.BreakerOptions{Failures: 2, Changed: func(name string, up bool) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.changes = append(o.changes, name+map[bool]string{true: " up", false: " down"}[up])
		}}, client.LocationKnown),
	}
}

// run syncs an appointment of a location. GoHighLevel must be asked for its contact.
func (o *sharedToken) run(t *testing.T, env *environment, at string) operation.Outcome {
	t.Helper()
	lead := env.lead()
	lead.GHL = o.api
	return lead.Run(t.Context(), attempt(t, booked(env.appointment(), env.newContact().ghl, 1).with(body{"locationId": at})))
}

// answer makes every further request fail with f.
func (o *sharedToken) answer(t *testing.T, f fault.Fault) {
	t.Helper()
	f.Times = -1
	require.NoError(t, o.Faults.Add(f))
}

// useLocation makes one successful request for the location.
func (o *sharedToken) useLocation(t *testing.T, env *environment) {
	t.Helper()
	x := env.newContact()
	o.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
	lead := env.lead()
	lead.GHL = o.api
	_ = lead.Run(t.Context(), attempt(t, booked(env.appointment(), x.ghl, 1)))
	require.NotEmpty(t, o.requested())
}

const (
	refusedToken  = `{"statusCode":401,"message":"Invalid token: access token is invalid"}`
	wrongLocation = `{"statusCode":403,"message":"The token does not have access to this location."}`
)

func TestUnknownLocationDoesNotMakeEventsWait(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	t.Run("a refused token is a failed attempt that counts", func(t *testing.T) {
		t.Parallel()
		o := env.sharedToken(t)
		o.answer(t, fault.JSON(401, refusedToken))
		for range 5 {
			out := o.run(t, env, "invented")
			require.ErrorIs(t, out.Err, ghlapi.ErrBadToken)
			assert.Equal(t, "LocationUnknown", out.Reason)
			assert.NotEqual(t, destination.Permanent, destination.ClassOf(out.Err), "the location's token may be added later")
			assert.Zero(t, out.Wait, "the attempt counts")
		}
		assert.Empty(t, o.changes)
		down, _ := destination.Outages(o.api.Breakers.All()...)
		assert.Empty(t, down)
	})
	t.Run("a location without access is a refusal", func(t *testing.T) {
		t.Parallel()
		o := env.sharedToken(t)
		o.answer(t, fault.JSON(403, wrongLocation))
		for _, at := range []string{"invented", location, "invented", location, "invented"} {
			out := o.run(t, env, at)
			require.ErrorIs(t, out.Err, ghlapi.ErrWrongLocation)
			assert.Equal(t, "LocationUnknown", out.Reason)
			assert.Equal(t, destination.Permanent, destination.ClassOf(out.Err))
		}
		assert.Empty(t, o.changes, "a refusal opens no breaker")
	})
	t.Run("an outage of the API makes events wait, and is reported once for all locations", func(t *testing.T) {
		t.Parallel()
		o := env.sharedToken(t)
		o.answer(t, fault.Status(503))
		for _, at := range []string{"invented1", "invented2", "invented3"} {
			for range 2 {
				out := o.run(t, env, at)
				require.Error(t, out.Err)
			}
			assert.Positive(t, o.run(t, env, at).Wait, "an attempt during an outage does not count")
		}
		assert.Equal(t, []string{operation.OtherLocations + " down"}, o.changes)
	})
}

func TestEventsOfAKnownLocationWaitForANewToken(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	for name, restart := range map[string]bool{"in the same process": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := env.sharedToken(t)
			o.useLocation(t, env)
			if restart {
				env.restart(t, o)
			}
			o.answer(t, fault.JSON(401, refusedToken))
			for range 2 {
				_ = o.run(t, env, location)
			}
			out := o.run(t, env, location)
			require.Error(t, out.Err)
			assert.Positive(t, out.Wait)
			assert.NotEqual(t, "LocationUnknown", out.Reason)
			assert.Equal(t, []string{"ghl:loc1 down"}, o.changes)
		})
	}
	t.Run("a location is not known by a contact of another location", func(t *testing.T) {
		t.Parallel()
		o := env.sharedToken(t)
		x := env.contact()
		o.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location})
		_, err := o.api.API.GetContact(t.Context(), "invented", x.ghl)
		require.NoError(t, err)
		o.answer(t, fault.JSON(401, refusedToken))
		for range 3 {
			assert.Equal(t, "LocationUnknown", o.run(t, env, "invented").Reason)
		}
		assert.Empty(t, o.changes)
	})
}

// TestUnknownLocationsAreReportedUnderOneName opens more breakers than the maximum.
func TestUnknownLocationsAreReportedUnderOneName(t *testing.T) {
	t.Parallel()
	var changes []string
	locations := []string{"loc1", "loc2"}
	breakers := operation.NewLocationBreakers(destination.BreakerOptions{Failures: 1, Changed: func(name string, up bool) {
		changes = append(changes, name+map[bool]string{true: " up", false: " down"}[up])
	}}, func(id string) bool { return slices.Contains(locations, id) })
	fail := func(at string) {
		b := breakers.Of(at)
		down := &destination.Error{Destination: b.Name(), Class: destination.Unavailable, Message: "down"}
		require.ErrorIs(t, b.Do(t.Context(), func(context.Context) error { return down }), down)
	}
	fail("loc1")
	known := breakers.Of("loc1")
	for i := range 2000 {
		fail(fmt.Sprintf("invented%d", i))
	}
	fail("loc2")
	fail("")
	assert.Equal(t, []string{"ghl:loc1 down", "ghl:other down", "ghl:loc2 down", "ghl down"}, changes)
	assert.LessOrEqual(t, len(breakers.All()), 1024)
	assert.Same(t, known, breakers.Of("loc1"), "the breaker of a known location is kept")
}
