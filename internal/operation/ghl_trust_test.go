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

// oneToken is a GoHighLevel with one static token, which serves every location id, and a controller that has just started on a store.
type oneToken struct {
	*ghlServer
	mu      sync.Mutex
	changes []string
}

func (w *world) oneToken(t *testing.T) *oneToken {
	t.Helper()
	o := &oneToken{ghlServer: &ghlServer{Server: ghlsim.New()}}
	o.PutLocation(ghlsim.Location{ID: location, Token: "token1"})
	w.restart(t, o)
	return o
}

// restart starts the controller anew: it knows what the store does.
func (w *world) restart(t *testing.T, o *oneToken) {
	t.Helper()
	server := httptest.NewServer(o.Server)
	t.Cleanup(server.Close)
	client, err := ghlapi.New(ghlapi.Options{BaseURL: server.URL, Tokens: ghlapi.StaticToken("token1"), HTTP: destination.NewClient("test")})
	require.NoError(t, err)
	o.api = &operation.GHL{
		API: client, Locations: w.store,
		Breakers: operation.NewLocationBreakers(destination.BreakerOptions{Failures: 2, Changed: func(name string, up bool) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.changes = append(o.changes, name+map[bool]string{true: " up", false: " down"}[up])
		}}, client.Vouched),
	}
}

// run runs the sync of an appointment at a location, of which GoHighLevel alone knows the contact.
func (o *oneToken) run(t *testing.T, w *world, at string) operation.Outcome {
	t.Helper()
	lead := w.lead()
	lead.GHL = o.api
	return lead.Run(t.Context(), claimed(t, booked(w.appointment(), w.stranger().ghl, 1).with(body{"locationId": at})))
}

// answer has the token refused from now on, for everyone or in GoHighLevel's words.
func (o *oneToken) answer(t *testing.T, f fault.Fault) {
	t.Helper()
	f.Times = -1
	require.NoError(t, o.Faults.Add(f))
}

// meet has GoHighLevel answer for the location once.
func (o *oneToken) meet(t *testing.T, w *world) {
	t.Helper()
	x := w.stranger()
	o.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone})
	lead := w.lead()
	lead.GHL = o.api
	_ = lead.Run(t.Context(), claimed(t, booked(w.appointment(), x.ghl, 1)))
	require.NotEmpty(t, o.asked())
}

const (
	refusedToken  = `{"statusCode":401,"message":"Invalid token: access token is invalid"}`
	wrongLocation = `{"statusCode":403,"message":"The token does not have access to this location."}`
)

func TestALocationThatNobodyVouchesForDoesNotMakeEventsWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	t.Run("a refused token is a failed attempt each time", func(t *testing.T) {
		t.Parallel()
		o := w.oneToken(t)
		o.answer(t, fault.JSON(401, refusedToken))
		for range 5 {
			out := o.run(t, w, "invented")
			require.ErrorIs(t, out.Err, ghlapi.ErrBadToken)
			assert.Equal(t, "LocationUnknown", out.Reason)
			assert.NotEqual(t, destination.Permanent, destination.ClassOf(out.Err), "a real location may have its first token yet to come")
			assert.Zero(t, out.Wait, "the attempt counts")
		}
		assert.Empty(t, o.changes)
		down, _ := destination.Outages(o.api.Breakers.All()...)
		assert.Empty(t, down)
	})
	t.Run("a location that the token has no access to is a refusal", func(t *testing.T) {
		t.Parallel()
		o := w.oneToken(t)
		o.answer(t, fault.JSON(403, wrongLocation))
		for _, at := range []string{"invented", location, "invented", location, "invented"} {
			out := o.run(t, w, at)
			require.ErrorIs(t, out.Err, ghlapi.ErrWrongLocation)
			assert.Equal(t, "LocationUnknown", out.Reason)
			assert.Equal(t, destination.Permanent, destination.ClassOf(out.Err))
		}
		assert.Empty(t, o.changes, "no breaker opens, not even that of a location that was named with another's contact")
	})
	t.Run("an outage of the API makes it wait, and is reported under one name", func(t *testing.T) {
		t.Parallel()
		o := w.oneToken(t)
		o.answer(t, fault.Status(503))
		for _, at := range []string{"invented1", "invented2", "invented3"} {
			for range 2 {
				out := o.run(t, w, at)
				require.Error(t, out.Err)
			}
			assert.Positive(t, o.run(t, w, at).Wait, "no attempt is spent on an outage")
		}
		assert.Equal(t, []string{operation.OtherLocations + " down"}, o.changes)
	})
}

func TestALocationThatHasAnsweredWaitsForANewToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, restart := range map[string]bool{"in the same process": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := w.oneToken(t)
			o.meet(t, w)
			if restart {
				w.restart(t, o)
			}
			o.answer(t, fault.JSON(401, refusedToken))
			for range 2 {
				_ = o.run(t, w, location)
			}
			out := o.run(t, w, location)
			require.Error(t, out.Err)
			assert.Positive(t, out.Wait)
			assert.NotEqual(t, "LocationUnknown", out.Reason)
			assert.Equal(t, []string{"ghl:loc1 down"}, o.changes)
		})
	}
	t.Run("not one whose contact is another location's", func(t *testing.T) {
		t.Parallel()
		o := w.oneToken(t)
		x := w.contact()
		o.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location})
		_, err := o.api.API.GetContact(t.Context(), "liar", x.ghl)
		require.NoError(t, err)
		o.answer(t, fault.JSON(401, refusedToken))
		for range 3 {
			assert.Equal(t, "LocationUnknown", o.run(t, w, "liar").Reason)
		}
		assert.Empty(t, o.changes)
	})
}

// TestInventedLocationsHaveOneSeries opens more breakers than are kept.
func TestInventedLocationsHaveOneSeries(t *testing.T) {
	t.Parallel()
	var changes []string
	own := []string{"loc1", "loc2"}
	breakers := operation.NewLocationBreakers(destination.BreakerOptions{Failures: 1, Changed: func(name string, up bool) {
		changes = append(changes, name+map[bool]string{true: " up", false: " down"}[up])
	}}, func(id string) bool { return slices.Contains(own, id) })
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
	assert.Same(t, known, breakers.Of("loc1"), "an invented location drives no known one out")
}
