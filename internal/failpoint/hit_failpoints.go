//go:build failpoints

package failpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// holdPoll is how often a held process checks whether it is still held.
const holdPoll = 5 * time.Millisecond

// Hit marks a point. If the point is armed, the process dies here, at once or when it is no longer held.
func Hit(p Point) {
	dir := os.Getenv(Variable)
	if dir == "" {
		return
	}
	// If several goroutines or processes reach the point, the rename succeeds for one of them.
	err := os.Rename(filepath.Join(dir, string(p)), filepath.Join(dir, string(p)+HitSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		panic(fmt.Errorf("take the failpoint %s: %w", p, err))
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, string(p)+HoldSuffix)); err != nil {
			break
		}
		time.Sleep(holdPoll)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // Do nothing more until the signal arrives.
}
