// Package memory finds out how much memory a process may use, and has the Go runtime keep to it.
package memory

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// share is the part of the container's memory that the Go runtime is given, in percent. The rest is for what it does not
// count: the program itself, and what the kernel holds for its connections.
const share = 90

// SetLimit has the garbage collector keep to the memory of the container, and returns the limit in bytes. GOMEMLIMIT goes
// before the container's; without either the result is math.MaxInt64.
func SetLimit() int64 {
	if os.Getenv("GOMEMLIMIT") == "" {
		if container := limitOf(os.DirFS("/")); container < math.MaxInt64 {
			debug.SetMemoryLimit(container / 100 * share)
		}
	}
	return debug.SetMemoryLimit(-1)
}

// limitOf returns the memory limit of the control group that the process is in, and of those around it; math.MaxInt64
// where there is none. root is the file system from / on.
func limitOf(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return limit
	}
	for line := range strings.Lines(string(groups)) {
		// <hierarchy>:<controllers>:<path>; version 2 has no controllers.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		switch {
		case parts[1] == "":
			limit = min(limit, smallest(root, "sys/fs/cgroup", parts[2], "memory.max"))
		case strings.Contains(","+parts[1]+",", ",memory,"):
			limit = min(limit, smallest(root, "sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes"))
		}
	}
	return limit
}

// smallest reads a limit of a group and of all above it. In a container the group's own directory is often the mounted one,
// whatever its path.
func smallest(root fs.FS, mount, group, file string) int64 {
	limit := int64(math.MaxInt64)
	for at := path.Join("/", group); ; at = path.Dir(at) {
		if text, err := fs.ReadFile(root, path.Join(mount, at, file)); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 {
				limit = min(limit, n)
			}
		}
		if at == "/" {
			return limit
		}
	}
}
