package system

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/testenv/proc"
)

func TestAPortIsReservedUntilItsSystemIsClosed(t *testing.T) {
	t.Parallel()
	port, err := proc.FreePort(t.Context())
	require.NoError(t, err)
	var one, two System

	reserved, err := one.reserve(t.Context(), port)
	require.NoError(t, err)
	assert.True(t, reserved)
	reserved, err = two.reserve(t.Context(), port)
	require.NoError(t, err)
	assert.Equal(t, runtime.GOOS != "linux", reserved, "elsewhere nothing is reserved")

	require.NoError(t, one.closeReservations())
	reserved, err = two.reserve(t.Context(), port)
	require.NoError(t, err)
	assert.True(t, reserved)
	require.NoError(t, two.closeReservations())
}
