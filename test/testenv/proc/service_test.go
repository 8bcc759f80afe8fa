package proc_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// shell is a service that is ready when its script has made the file "ready" in its directory.
func shell(t *testing.T, script string) *proc.Service {
	t.Helper()
	dir := t.TempDir()
	service := &proc.Service{
		Name: "shell",
		Command: func() *exec.Cmd {
			cmd := exec.Command("/bin/sh", "-c", script)
			cmd.Dir = dir
			return cmd
		},
		LogPath: filepath.Join(dir, "log"),
		Ready: func(context.Context) error {
			_, err := os.Stat(filepath.Join(dir, "ready"))
			return err
		},
		OnDeath: syscall.SIGKILL,
	}
	t.Cleanup(func() { assert.NoError(t, service.Kill()) })
	return service
}

func TestAServiceThatEndsEarlySaysHowAndWhatItPrinted(t *testing.T) {
	t.Parallel()
	service := shell(t, "echo no such luck >&2; exit 3")

	err := service.Start(t.Context())

	require.ErrorContains(t, err, "exit status 3")
	assert.ErrorContains(t, err, "no such luck")
}

func TestAServiceThatDoesNotGetReadyIsGivenUp(t *testing.T) {
	t.Parallel()
	service := shell(t, "echo working on it; exec sleep 600")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()

	err := service.Start(ctx)

	require.ErrorIs(t, err, os.ErrNotExist, "the reason why it was not ready")
	require.NoError(t, service.Kill(), "it does not run")
}

func TestAServiceThatIgnoresItsSignalIsKilled(t *testing.T) {
	t.Parallel()
	service := shell(t, `trap "" TERM; touch ready; while :; do sleep 0.1; done`)
	require.NoError(t, service.Start(t.Context()))
	require.Error(t, service.Start(t.Context()), "it runs already")

	err := service.Stop(syscall.SIGTERM, 100*time.Millisecond)

	require.ErrorContains(t, err, "was killed")
	require.NoError(t, service.Start(t.Context()), "it can be started again")
}

func TestAServiceStopsOnItsSignal(t *testing.T) {
	t.Parallel()
	service := shell(t, `trap "touch stopped; exit" TERM; touch ready; while :; do sleep 0.1; done`)
	require.NoError(t, service.Start(t.Context()))

	require.NoError(t, service.Stop(syscall.SIGTERM, time.Minute))

	assert.FileExists(t, filepath.Join(filepath.Dir(service.LogPath), "stopped"))
}
