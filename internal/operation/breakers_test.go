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

	t.Run("an open breaker blocks no other location", func(t *testing.T) {
		t.Parallel()
		breakers := operation.NewLocationBreakers(destination.BreakerOptions{Failures: 1}, everyLocation)
		failing(t, breakers.Of("loc1"))
		assert.False(t, breakers.Of("loc1").Up())
		assert.True(t, breakers.Of("loc2").Up())
		assert.True(t, breakers.Of("").Up())
	})
	t.Run("a name contains an id or no location", func(t *testing.T) {
		t.Parallel()
		breakers := operation.NewLocationBreakers(destination.BreakerOptions{}, everyLocation)
		for location, name := range map[string]string{
			"": "ghl", "loc-1_A": "ghl:loc-1_A", "a b": "ghl", "ada@example.com": "ghl", "../x": "ghl", strings.Repeat("a", 129): "ghl",
		} {
			assert.Equal(t, name, breakers.Of(location).Name())
		}
	})
	t.Run("open breakers are kept when others are removed", func(t *testing.T) {
		t.Parallel()
		breakers := operation.NewLocationBreakers(destination.BreakerOptions{Failures: 1}, everyLocation)
		down := breakers.Of("down")
		failing(t, down)
		idle := breakers.Of("idle")
		for i := range 2000 {
			breakers.Of(fmt.Sprintf("loc%d", i))
		}
		assert.Same(t, down, breakers.Of("down"))
		assert.NotSame(t, idle, breakers.Of("idle"))
	})
	t.Run("their number is bounded even if all are open", func(t *testing.T) {
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

// everyLocation reports every location as known.
func everyLocation(string) bool { return true }
