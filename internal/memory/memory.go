// Package memory reads the memory limit of the process, and sets the Go runtime's limit from it.
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

// share is the Go runtime's part of the container's memory, in percent. The rest is for what the runtime does not count: the program
// itself, and the kernel's buffers of its connections.
const share = 90

// SetLimit sets the garbage collector's limit from the memory of the container, and returns it in bytes. GOMEMLIMIT overrides the
// container's limit. Without either, the result is math.MaxInt64.
func SetLimit() int64 {
	if os.Getenv("GOMEMLIMIT") == "" {
		if container := limitOf(os.DirFS("/")); container < math.MaxInt64 {
			debug.SetMemoryLimit(container / 100 * share)
		}
	}
	return debug.SetMemoryLimit(-1)
}

// limitOf returns the smallest memory limit of the process's control group and its parents; math.MaxInt64 if there is none. root is the
// file system of /.
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

// smallest returns the smallest limit of a group and its parents. In a container, the group's directory is often the mount itself, whatever
// its path is.
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
