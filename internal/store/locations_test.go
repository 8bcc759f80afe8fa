package store_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestALocationThatHasAnsweredIsKept(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	answered := func(id string) bool {
		is, err := b.LocationAnswered(t.Context(), id)
		require.NoError(t, err)
		return is
	}
	assert.False(t, answered("loc1"))
	for range 2 {
		require.NoError(t, b.RecordLocation(t.Context(), "loc1"))
	}
	assert.True(t, answered("loc1"))
	assert.False(t, answered("LOC1"))
	assert.EqualValues(t, 1, value[int64](b, `SELECT count(*) FROM ghl_locations`))
	require.Error(t, b.RecordLocation(t.Context(), strings.Repeat("a", 129)))
}
