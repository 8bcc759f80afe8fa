package store_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReleaseForPlaces(t *testing.T) {
	t.Parallel()
	const aloware, ghl = "places:aloware", "places:ghl"
	for name, test := range map[string]struct {
		heldBy []string
		free   int
		due    []string
		more   bool
	}{
		"the oldest go, as many as there are places":    {[]string{aloware, aloware, aloware}, 2, []string{"apt0", "apt1"}, true},
		"all go where there is room for all":            {[]string{aloware, aloware}, 3, []string{"apt0", "apt1"}, false},
		"what waits for another place stays":            {[]string{ghl, aloware}, 5, []string{"apt1"}, false},
		"what waits for a destination stays":            {[]string{"aloware", aloware}, 5, []string{"apt1"}, false},
		"what waits for something else as well stays":   {[]string{"verity-http," + aloware, aloware}, 5, []string{"apt1"}, false},
		"what waits for two kinds of places stays":      {[]string{aloware + "," + ghl}, 5, nil, false},
		"nothing goes where nothing waits for a place":  {[]string{"verity-http"}, 5, nil, false},
		"nothing goes where nothing is free, but might": {[]string{aloware}, 0, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := held(t, test.heldBy...)
			released, more, err := b.ReleaseForPlaces(t.Context(), aloware, test.free)
			require.NoError(t, err)
			assert.Len(t, released, len(test.due))
			assert.Equal(t, test.more, more)
			assert.ElementsMatch(t, test.due, b.due())
		})
	}

	t.Run("what was released and is not claimed yet takes up its place", func(t *testing.T) {
		t.Parallel()
		b := held(t, aloware, aloware, aloware)
		_, _, err := b.ReleaseForPlaces(t.Context(), aloware, 1)
		require.NoError(t, err)
		released, more, err := b.ReleaseForPlaces(t.Context(), aloware, 1)
		require.NoError(t, err)
		assert.Empty(t, released)
		assert.True(t, more, "it may go when that one is claimed")
		_, _, err = b.ReleaseForPlaces(t.Context(), aloware, 2)
		require.NoError(t, err)
		assert.Equal(t, []string{"apt0", "apt1"}, b.due())
	})
	t.Run("the release of what waits for destinations leaves it alone", func(t *testing.T) {
		t.Parallel()
		b := held(t, aloware, "verity-http,"+aloware, "aloware,"+aloware)
		released, _ := b.release(10, "aloware", aloware)
		assert.Len(t, released, 1)
		assert.Equal(t, []string{"apt1"}, b.due(), "it waits for a destination that is up")
	})
}
