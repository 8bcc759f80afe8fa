package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// serverProcessVariable makes a test binary a program that starts a server and does not stop it.
const serverProcessVariable = "TESTENV_START_AND_HANG"

// MainOrServer runs the tests of a package like Main. In a process that StartServerProcess started, it starts a server instead, which
// start does, and hangs until the process is killed.
func MainOrServer(m *testing.M, start func(context.Context) (address, dir string, err error)) {
	if os.Getenv(serverProcessVariable) == "" {
		Main(m)
	}
	address, dir, err := start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(address, dir)
	select {}
}

// StartServerProcess starts this test binary as another process, whose MainOrServer starts a server. It returns the server's address and
// folder, and a function that kills the process, so that it cannot stop the server.
func StartServerProcess(t *testing.T) (address, dir string, kill func()) {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	process := exec.CommandContext(t.Context(), binary)
	process.Env = append(os.Environ(), serverProcessVariable+"=yes")
	process.Stderr = os.Stderr
	output, err := process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, process.Start())
	_, err = fmt.Fscanln(output, &address, &dir)
	require.NoError(t, err)
	return address, dir, func() {
		require.NoError(t, process.Process.Kill())
		require.Error(t, process.Wait(), "it must have been killed")
	}
}
