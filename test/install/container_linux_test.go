package install

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// The user of the image.
const imageUser = 65532

// runtimeVariable makes the test binary be what a container runtime is between the fork and the program: it names the root file system.
const runtimeVariable = "VERITY_SYNC_TEST_CONTAINER_ROOT"

// Of linux/prctl.h and linux/capability.h.
const (
	prSetDeathSignal = 1
	prSetNoNewPrivs  = 38
	prCapAmbient     = 47
	capAmbientClear  = 4
	capSysChroot     = 18
	capSysAdmin      = 21
)

// containerCommand returns the command that runs the program of an image in a root file system that has nothing but what was put there, and
// that is read-only: as a user without a name or a right, in separate PID and mount namespaces. The network is that of the machine.
//
// Without root, the kernel must let users make user namespaces.
func containerCommand(root string, args, environ []string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append([]string{runtimeVariable + "=" + root}, environ...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: imageUser, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: imageUser, HostID: os.Getgid(), Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{capSysAdmin, capSysChroot}
	}
	return cmd, nil
}

// runContainer never returns: it becomes the program.
func runContainer(root string) {
	runtime.LockOSThread() // What is set for a thread must be set for the one that becomes the program.
	err := enter(root)
	if err == nil {
		err = syscall.Exec("/verity-sync", append([]string{"/verity-sync"}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, "run a container: this needs root, or user namespaces:", err)
	os.Exit(125)
}

func enter(root string) error {
	if err := os.Unsetenv(runtimeVariable); err != nil {
		return err
	}
	const readOnly = syscall.MS_BIND | syscall.MS_REMOUNT | syscall.MS_RDONLY | syscall.MS_NOSUID | syscall.MS_NODEV
	for _, mount := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{root, root, "", syscall.MS_BIND},
		{"proc", filepath.Join(root, "proc"), "proc", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC},
		{"", root, "", readOnly},
	} {
		if err := syscall.Mount(mount.source, mount.target, mount.kind, mount.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", mount.target, err)
		}
	}
	if err := errors.Join(syscall.Chroot(root), os.Chdir("/")); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if os.Getuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(imageUser), syscall.Setuid(imageUser)); err != nil {
			return fmt.Errorf("become the user of the image: %w", err)
		}
	}
	for _, option := range [][2]uintptr{
		{prCapAmbient, capAmbientClear},
		{prSetNoNewPrivs, 1},
		// The change of user has undone what the parent had set.
		{prSetDeathSignal, uintptr(syscall.SIGKILL)},
	} {
		if _, _, failed := syscall.RawSyscall6(syscall.SYS_PRCTL, option[0], option[1], 0, 0, 0, 0); failed != 0 {
			return fmt.Errorf("prctl %d: %w", option[0], failed)
		}
	}
	return nil
}
