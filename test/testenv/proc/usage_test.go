package proc

import (
	"math"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheTimeOfAProcessIsThatOfItsChildrenAsWell(t *testing.T) {
	t.Parallel()
	const line = "4711 (a (strange) name) S 42 1 1 0 -1 4194560 100 200 0 0 7 11 13 17 20 0 1 0 500 1000 100"
	total, err := parseTime([]byte(line))
	require.NoError(t, err)
	assert.Equal(t, (7+11+13+17)*clockTick, total)

	_, err = parseTime([]byte("4711 (short) S 42"))
	require.Error(t, err)
}

func TestWhatThisProcessUsesIsRead(t *testing.T) {
	t.Parallel()
	before, err := CPU(os.Getpid())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		for range 1_000_000 {
			_ = math.Sqrt(2)
		}
		after, err := CPU(os.Getpid())
		return err == nil && after > before
	}, time.Minute, time.Millisecond)

	now, err := Memory(os.Getpid(), "VmRSS")
	require.NoError(t, err)
	assert.Greater(t, now, int64(1e6))
	most, err := Memory(os.Getpid(), "VmHWM")
	require.NoError(t, err)
	assert.Greater(t, most, int64(1e6))
}
