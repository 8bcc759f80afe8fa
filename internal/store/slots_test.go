package store_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReleaseForSlots(t *testing.T) {
	t.Parallel()
	const aloware, ghl = "places:aloware", "places:ghl"
	for name, test := range map[string]struct {
		heldBy []string
		free   int
		due    []string
		more   bool
	}{
		"the oldest are released, one for each slot":        {[]string{aloware, aloware, aloware}, 2, []string{"apt0", "apt1"}, true},
		"all are released if there are slots for all":       {[]string{aloware, aloware}, 3, []string{"apt0", "apt1"}, false},
		"an event that waits for another slot stays":        {[]string{ghl, aloware}, 5, []string{"apt1"}, false},
		"an event that waits for a destination stays":       {[]string{"aloware", aloware}, 5, []string{"apt1"}, false},
		"an event that also waits for something else stays": {[]string{"verity-http," + aloware, aloware}, 5, []string{"apt1"}, false},
		"an event that waits for two kinds of slots stays":  {[]string{aloware + "," + ghl}, 5, nil, false},
		"none is released if none waits for a slot":         {[]string{"verity-http"}, 5, nil, false},
		"none is released without a free slot":              {[]string{aloware}, 0, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := held(t, test.heldBy...)
			released, more, err := b.ReleaseForSlots(t.Context(), aloware, test.free)
			require.NoError(t, err)
			assert.Len(t, released, len(test.due))
			assert.Equal(t, test.more, more)
			assert.ElementsMatch(t, test.due, b.due())
		})
	}

	t.Run("a released event uses its slot until it is claimed", func(t *testing.T) {
		t.Parallel()
		b := held(t, aloware, aloware, aloware)
		_, _, err := b.ReleaseForSlots(t.Context(), aloware, 1)
		require.NoError(t, err)
		released, more, err := b.ReleaseForSlots(t.Context(), aloware, 1)
		require.NoError(t, err)
		assert.Empty(t, released)
		assert.True(t, more, "the next one is released when that one is claimed")
		_, _, err = b.ReleaseForSlots(t.Context(), aloware, 2)
		require.NoError(t, err)
		assert.Equal(t, []string{"apt0", "apt1"}, b.due())
	})
	t.Run("the release of destinations does not release an event that waits for a slot", func(t *testing.T) {
		t.Parallel()
		b := held(t, aloware, "verity-http,"+aloware, "aloware,"+aloware)
		released, _ := b.release(10, "aloware", aloware)
		assert.Len(t, released, 1)
		assert.Equal(t, []string{"apt1"}, b.due(), "it waits for a destination that is up")
	})
}
