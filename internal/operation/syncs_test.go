package operation_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/aloware"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// everything is what syncs work with where all is configured.
func everything() operation.Dependencies {
	return operation.Dependencies{
		Known: &store.Store{}, Regions: inUS, Tags: []string{"booked"},
		Leads: &verity.Leads{}, LeadsBreaker: patient("verity-db"),
		Aloware: &aloware.Client{}, AlowareBreaker: patient("aloware"),
		GHL: &operation.GHL{API: &ghlapi.Client{}, Breakers: operation.NewLocationBreakers(destination.BreakerOptions{}, everyLocation)},
	}
}

func TestSyncs(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		without func(*operation.Dependencies)
		entity  string
		want    string
		why     string
	}{
		"an appointment: its lead, then tags": {nil, event.EntityAppointment, "verity.lead ghl.tags", ""},
		"an appointment, without tags": {
			func(d *operation.Dependencies) { d.Tags = nil }, event.EntityAppointment, "verity.lead", "",
		},
		"an appointment, without Verity's database": {
			func(d *operation.Dependencies) { d.Leads, d.Tags = nil, nil }, event.EntityAppointment, "",
			"VERITY_DATABASE_URL is not set: leads are not synced",
		},
		"a contact": {nil, event.EntityContact, "aloware.contact", ""},
		"a contact, without Aloware: it is remembered": {
			func(d *operation.Dependencies) { d.Aloware, d.AlowareBreaker = nil, nil }, event.EntityContact, "aloware.contact", "",
		},
		"anything else": {nil, event.EntityOpportunity, "", "nothing is synced for events of this type"},
		"nobody knows":  {nil, event.EntityUnknown, "", "nothing is synced for events of this type"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := everything()
			if tt.without != nil {
				tt.without(&d)
			}
			syncs, err := operation.NewSyncs(d)
			require.NoError(t, err)
			operations, why := syncs.For(tt.entity)
			var names []string
			for _, op := range operations {
				names = append(names, op.Name())
			}
			assert.Equal(t, tt.want, strings.Join(names, " "))
			assert.Equal(t, tt.why, why)
		})
	}
}

func TestSyncsRefuseWhatDoesNotGoTogether(t *testing.T) {
	t.Parallel()
	for name, without := range map[string]func(*operation.Dependencies){
		"no store":                       func(d *operation.Dependencies) { d.Known = nil },
		"no region":                      func(d *operation.Dependencies) { d.Regions.Default = "" },
		"no breaker before Verity":       func(d *operation.Dependencies) { d.LeadsBreaker = nil },
		"no breaker before Aloware":      func(d *operation.Dependencies) { d.AlowareBreaker = nil },
		"no breakers before GoHighLevel": func(d *operation.Dependencies) { d.GHL.Breakers = nil },
		"tags without GoHighLevel":       func(d *operation.Dependencies) { d.GHL = nil },
		"tags without leads":             func(d *operation.Dependencies) { d.Leads = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := everything()
			without(&d)
			_, err := operation.NewSyncs(d)
			assert.Error(t, err)
		})
	}
}

func TestLocationBreakers(t *testing.T) {
	t.Parallel()
	failing := func(t *testing.T, b *destination.Breaker) {
		t.Helper()
		down := &destination.Error{Destination: b.Name(), Class: destination.Unavailable, Message: "down"}
		require.ErrorIs(t, b.Do(t.Context(), func(context.Context) error { return down }), down)
	}

	t.Run("a location that is down holds up no other", func(t *testing.T) {
		t.Parallel()
		breakers := operation.NewLocationBreakers(destination.BreakerOptions{Failures: 1}, everyLocation)
		failing(t, breakers.Of("loc1"))
		assert.False(t, breakers.Of("loc1").Up())
		assert.True(t, breakers.Of("loc2").Up())
		assert.True(t, breakers.Of("").Up())
	})
	t.Run("names hold nothing but ids", func(t *testing.T) {
		t.Parallel()
		breakers := operation.NewLocationBreakers(destination.BreakerOptions{}, everyLocation)
		for location, name := range map[string]string{
			"": "ghl", "loc-1_A": "ghl:loc-1_A", "a b": "ghl", "ada@example.com": "ghl", "../x": "ghl", strings.Repeat("a", 129): "ghl",
		} {
			assert.Equal(t, name, breakers.Of(location).Name())
		}
	})
	t.Run("those that hold something back are remembered while others come and go", func(t *testing.T) {
		t.Parallel()
		breakers := operation.NewLocationBreakers(destination.BreakerOptions{Failures: 1}, everyLocation)
		down := breakers.Of("down")
		failing(t, down)
		resting := breakers.Of("resting")
		for i := range 2000 {
			breakers.Of(fmt.Sprintf("loc%d", i))
		}
		assert.Same(t, down, breakers.Of("down"))
		assert.NotSame(t, resting, breakers.Of("resting"))
	})
	t.Run("they do not grow without bound where all hold something back", func(t *testing.T) {
		t.Parallel()
		breakers := operation.NewLocationBreakers(destination.BreakerOptions{Failures: 1}, everyLocation)
		all := map[*destination.Breaker]bool{}
		for i := range 1100 {
			b := breakers.Of(fmt.Sprintf("loc%d", i))
			failing(t, b)
			all[b] = true
		}
		kept := 0
		for i := range 1100 {
			if all[breakers.Of(fmt.Sprintf("loc%d", i))] {
				kept++
			}
		}
		assert.LessOrEqual(t, kept, 1024)
	})
}

// everyLocation vouches for every location.
func everyLocation(string) bool { return true }
