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

// held is how often a process that is to wait at a point looks whether it still has to.
const held = 5 * time.Millisecond

// Hit says that a point is reached. Where it is armed, the process dies here and now, or as soon as it is held no more.
func Hit(p Point) {
	dir := os.Getenv(Variable)
	if dir == "" {
		return
	}
	// Of all that reach the point at the same time one has the file: a rename takes it from all others.
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
		time.Sleep(held)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // The signal is on its way, and nothing may happen any more.
}
