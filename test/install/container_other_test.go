//go:build !linux

package install

import (
	"errors"
	"os/exec"
)

const (
	imageUser       = 65532
	runtimeVariable = "VERITY_SYNC_TEST_CONTAINER_ROOT"
)

func containerCommand(string, []string, []string) (*exec.Cmd, error) {
	return nil, errors.New("containers can be run on Linux only")
}

func runContainer(string) {}
