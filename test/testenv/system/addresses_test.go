package system

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

func TestAPortIsReservedUntilItsSystemIsClosed(t *testing.T) {
	t.Parallel()
	var one, two System
	port, reserved := 0, false
	for !reserved { // Another process of the machine may take the port that was free.
		var err error
		port, err = proc.FreePort(t.Context())
		require.NoError(t, err)
		reserved, err = one.reserve(t.Context(), port)
		require.NoError(t, err)
	}
	reserved, err := two.reserve(t.Context(), port)
	require.NoError(t, err)
	assert.Equal(t, runtime.GOOS != "linux", reserved, "elsewhere nothing is reserved")

	require.NoError(t, one.closeReservations())
	// A process that another test starts at this moment has the closed socket still, from its fork to its exec.
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		reserved, err := two.reserve(t.Context(), port)
		require.NoError(c, err)
		require.True(c, reserved)
	}, time.Minute, time.Millisecond)
	require.NoError(t, two.closeReservations())
}
