package memory_test

import (
	"math"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"

	"github.com/dfmiddleware/verity-sync/internal/memory"
)

func TestTheLimitIsTheContainers(t *testing.T) {
	t.Parallel()
	const unlimited = math.MaxInt64
	for name, test := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"version 2, in a container":  {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "67108864\n"}, 64 << 20},
		"version 2, without a limit": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, unlimited},
		"version 2, in a group": {map[string]string{
			"proc/self/cgroup": "0::/pod/container\n", "sys/fs/cgroup/pod/container/memory.max": "100\n",
		}, 100},
		"version 2, in a group whose parent is smaller": {map[string]string{
			"proc/self/cgroup": "0::/pod/container\n", "sys/fs/cgroup/pod/container/memory.max": "100\n", "sys/fs/cgroup/pod/memory.max": "50\n",
		}, 50},
		"version 1, in a container that sees the path of its host": {map[string]string{
			"proc/self/cgroup":                           "5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "134217728\n",
		}, 128 << 20},
		"version 1, without a limit": {map[string]string{
			"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 9223372036854771712},
		"both versions": {map[string]string{
			"proc/self/cgroup": "4:memory:/a\n0::/\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "100\n",
		}, 100},
		"no control groups": {map[string]string{}, unlimited},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := fstest.MapFS{}
			for path, text := range test.files {
				root[path] = &fstest.MapFile{Data: []byte(text)}
			}
			assert.Equal(t, test.want, memory.LimitOf(root))
		})
	}
}
