package operation_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
)

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
