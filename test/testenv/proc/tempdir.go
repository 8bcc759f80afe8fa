package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// janitor waits for the end of its input, which is the end of the process that holds the other side of the pipe, and removes the directory.
// It tries again for five seconds, because those who lived in the directory may still be writing their last files.
const janitor = `cat >/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" 2>/dev/null && exit; sleep 0.5; done`

// TempDir makes a directory that only this user can read. It is removed by the function returned, once, and also when this process dies
// without having called it. Children that use the directory must have ended before.
func TempDir(pattern string) (dir string, remove func() error, err error) {
	dir, err = os.MkdirTemp("", pattern)
	if err != nil {
		return "", nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	cmd := exec.Command("/bin/sh", "-c", janitor, "janitor", dir) //nolint:noctx // it outlives everything
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	alive, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("start the janitor of %s: %w", dir, err), os.RemoveAll(dir))
	}
	remove = sync.OnceValue(func() error {
		return errors.Join(os.RemoveAll(dir), alive.Close(), cmd.Wait())
	})
	return dir, remove, nil
}
