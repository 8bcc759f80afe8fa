package ghlapi_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	simghl "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

func TestALocationIsKnownAfterAnAnswerNamesIt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		call func(*environment) error
		want bool
	}{
		"a contact of it": {func(b *environment) error { _, err := b.GetContact(t.Context(), "loc1", "con1"); return err }, true},
		"an appointment of it": {func(b *environment) error {
			_, err := b.GetAppointment(t.Context(), "loc1", "app1")
			return err
		}, true},
		"a duplicate in it": {func(b *environment) error { _, err := b.FindDuplicate(t.Context(), "loc1", phone, ""); return err }, true},
		"a contact that was searched for": {func(b *environment) error {
			_, err := b.SearchContacts(t.Context(), "loc1", []ghlapi.Filter{{Field: "email", Operator: "eq", Value: "ann@example.com"}})
			return err
		}, true},
		"tags, which name no location":                    {func(b *environment) error { return b.AddTags(t.Context(), "loc1", "con1", []string{"vip"}) }, false},
		"a contact that is requested for an invented one": {func(b *environment) error { _, err := b.GetContact(t.Context(), "invented", "con1"); return err }, false},
		"an appointment that is requested for an invented one": {func(b *environment) error {
			_, err := b.GetAppointment(t.Context(), "invented", "app1")
			return err
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			require.NoError(t, test.call(b))
			assert.Equal(t, test.want, b.LocationKnown("loc1"))
			assert.False(t, b.LocationKnown("invented"))
			assert.Len(t, b.observed.budgets, map[bool]int{true: 1}[test.want], "an invented location has no budget")
		})
	}
	t.Run("not after a refusal", func(t *testing.T) {
		t.Parallel()
		for _, answer := range []fault.Fault{
			said(401, `"loc1"`), said(403, `"loc1"`), fault.JSON(404, `{"contact":{"id":"con1","locationId":"loc1"},"message":"not found"}`),
			fault.JSON(500, `{"contact":{"id":"con1","locationId":"loc1"}}`),
		} {
			b := start(t)
			require.NoError(t, b.sim.Faults.Add(answer))
			_, err := b.GetContact(t.Context(), "loc1", "con1")
			require.Error(t, err)
			assert.False(t, b.LocationKnown("loc1"))
		}
	})
	t.Run("a call without a location needs none", func(t *testing.T) {
		t.Parallel()
		assert.True(t, start(t).LocationKnown(""))
	})
}

func TestALocationWithItsOwnTokenIsKnown(t *testing.T) {
	t.Parallel()
	s := mount(t, map[string]string{"loc1": token})
	d, err := ghlapi.NewTokenDir(s.dir, ghlapi.StaticToken("other"), logr.Discard())
	require.NoError(t, err)
	b := start(t, tokens(d))
	b.sim.PutLocation(simghl.Location{ID: "loc1", Token: "another"})
	for _, location := range []string{"loc1", "loc2"} {
		_, err := b.GetContact(t.Context(), location, "con1")
		require.ErrorIs(t, err, ghlapi.ErrBadToken)
		assert.Equal(t, location == "loc1", b.LocationKnown(location))
	}
	require.NoError(t, os.Remove(filepath.Join(s.dir, "loc1")))
	_, err = b.GetContact(t.Context(), "loc1", "con1")
	require.Error(t, err)
	assert.False(t, b.LocationKnown("loc1"), "its file was removed")
}

// TestInventedLocationsShareOneLimit makes more calls than the shared limit allows within maxWait.
func TestInventedLocationsShareOneLimit(t *testing.T) {
	t.Parallel()
	b := start(t)
	_, err := b.GetContact(t.Context(), "loc1", "con1")
	require.NoError(t, err)
	results := make(chan error, 200)
	for i := range cap(results) {
		go func() {
			_, err := b.GetContact(t.Context(), fmt.Sprintf("invented%d", i), "con1")
			results <- err
		}()
	}
	limited := 0
	for range cap(results) {
		if <-results != nil {
			limited++
		}
	}
	assert.Positive(t, limited, "they share a limit")
	_, err = b.GetContact(t.Context(), "loc1", "con1")
	require.NoError(t, err, "a known location has its own limit")
	assert.Equal(t, []string{"loc1"}, keysOf(b.observed.budgets))
}

func keysOf(m map[string]int) (keys []string) {
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}
