package hack

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// TestTheNodeNamesWhatTheMachineLacks takes away from this machine what a node needs. In a container without privileges, more is missing.
func TestTheNodeNamesWhatTheMachineLacks(t *testing.T) {
	t.Parallel()
	check, err := repo.Path("hack", "node", "check.sh")
	require.NoError(t, err)
	isRoot := os.Getuid() == 0
	for name, test := range map[string]struct {
		without []string
		says    string
		root    bool
	}{
		"without root":         {[]string{"unshare", "--user"}, "  - root\n", false},
		"without capabilities": {[]string{"setpriv", "--bounding-set=-sys_admin"}, "  - Linux namespaces", true},
		"without writable cgroups": {
			[]string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs none /sys/fs/cgroup && exec "$0"`}, "hierarchy memory in /sys/fs/cgroup/memory\n", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := append(test.without, check)
			says := test.says
			if test.root && !isRoot {
				command, says = []string{check}, "  - root\n"
			}
			output, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, "%s", output)
			assert.Equal(t, 3, exit.ExitCode(), "%s", output)
			assert.Contains(t, string(output), "this machine cannot run a Kubernetes node. Missing:\n")
			assert.Contains(t, string(output), says)
		})
	}
}

// TestTheClusterNamesWhatTheMachineLacks takes away Docker's daemon and root.
func TestTheClusterNamesWhatTheMachineLacks(t *testing.T) {
	t.Parallel()
	script, err := repo.Path("hack", "cluster", "cluster.sh")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "unshare", "--user", script)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=tcp://127.0.0.1:1")
	output, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", output)
	assert.Equal(t, 3, exit.ExitCode(), "%s", output)
	assert.Contains(t, string(output), "this machine cannot run a Kubernetes node. Missing:\nnode:   - root\n")
	assert.Contains(t, string(output), "this machine cannot run a cluster of kind. Missing:\n")
	assert.Contains(t, string(output), "cluster:   - a Docker daemon that answers (docker info)\n")
}
