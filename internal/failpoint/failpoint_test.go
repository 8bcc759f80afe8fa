package failpoint_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

func TestTheReleasedProgramHasNoPoints(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "verity-sync")
	require.NoError(t, system.Build(t.Context(), path, "-ldflags=-s -w"))
	program, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, point := range failpoint.All() {
		assert.False(t, bytes.Contains(program, []byte(point)), point)
	}
	assert.False(t, bytes.Contains(program, []byte(failpoint.Variable)))
}

func TestPointsHaveDistinctNames(t *testing.T) {
	t.Parallel()
	names := map[failpoint.Point]bool{}
	for _, point := range failpoint.All() {
		assert.False(t, names[point], point)
		names[point] = true
	}
}

func TestArmingAPointAgainClearsItsHit(t *testing.T) {
	t.Parallel()
	dir := failpoint.Dir(t.TempDir())
	hit := filepath.Join(string(dir), string(failpoint.Claimed)+failpoint.HitSuffix)
	require.NoError(t, os.WriteFile(hit, nil, 0o600))
	require.True(t, dir.Hit(failpoint.Claimed))

	require.NoError(t, dir.Arm(failpoint.Claimed))

	assert.False(t, dir.Hit(failpoint.Claimed))
	require.Error(t, dir.Release(failpoint.Claimed), "the point is not held")
}
