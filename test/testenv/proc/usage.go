package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit in which Linux counts the time of processes: sysconf(_SC_CLK_TCK), which is 100 on every platform that Go knows.
const clockTick = 10 * time.Millisecond

// CPU returns the time that a process has used, user and system, with that of its children: those that have ended, which the kernel adds to
// their parent, and those that still run. A Postgres is the postmaster and its backends. On Linux only.
func CPU(pid int) (time.Duration, error) {
	used, err := cpu(pid)
	if err != nil {
		return 0, fmt.Errorf("read the time of process %d: %w", pid, err)
	}
	return used, nil
}

func cpu(pid int) (time.Duration, error) {
	total, err := readTime(pid)
	if err != nil {
		return 0, err
	}
	children, err := childrenOf(pid)
	if err != nil {
		return 0, err
	}
	for _, child := range children {
		used, err := cpu(child)
		if errors.Is(err, os.ErrNotExist) {
			continue // It has ended since it was listed, and is its parent's now.
		}
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}

// readTime reads the time of a process and of its ended children from /proc/<pid>/stat, see proc_pid_stat(5).
func readTime(pid int) (time.Duration, error) {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	return parseTime(content)
}

func parseTime(content []byte) (time.Duration, error) {
	// The name of the program is in parentheses and may hold any byte.
	_, rest, found := cutLast(content, []byte(") "))
	fields := strings.Fields(string(rest))
	// Counted from the state, which is the third field: utime to cstime are the 14th to the 17th.
	const utime, cstime = 14 - 3, 17 - 3
	if !found || len(fields) <= cstime {
		return 0, errors.New("/proc/<pid>/stat is not as it should be")
	}
	var total time.Duration
	for _, field := range fields[utime : cstime+1] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(ticks) * clockTick
	}
	return total, nil
}

func cutLast(s, separator []byte) (before, after []byte, found bool) {
	if i := bytes.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, nil, false
}

func childrenOf(pid int) ([]int, error) {
	lists, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "children"))
	if err != nil {
		return nil, err
	}
	var children []int
	for _, list := range lists {
		content, err := os.ReadFile(list)
		if err != nil {
			continue // A thread that has ended.
		}
		for field := range strings.FieldsSeq(string(content)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, err
			}
			children = append(children, child)
		}
	}
	slices.Sort(children)
	return children, nil
}

// Memory returns a size in bytes from /proc/<pid>/status: VmRSS is what a process has in memory now, VmHWM the most it ever had. On Linux
// only.
func Memory(pid int, name string) (int64, error) {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, name)
}
