package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// machine says in a few lines of Markdown on what was measured.
func (e *environment) machine(ctx context.Context) string {
	var memoryKiB float64
	_, _ = fmt.Sscanf(lineOf("/proc/meminfo", "MemTotal:"), "%f kB", &memoryKiB)
	return fmt.Sprintf("- %s, %.0f GiB of memory, Linux %s\n- Go %s, %s, Node %s\n", cores(), memoryKiB/(1<<20),
		strings.TrimSpace(lineOf("/proc/sys/kernel/osrelease", "")), strings.TrimPrefix(runtime.Version(), "go"),
		said(ctx, "psql", "--version"), said(ctx, "node", "--version"))
}

func cores() string {
	_, processor, _ := strings.Cut(lineOf("/proc/cpuinfo", "model name"), ":")
	return fmt.Sprintf("%d cores of %s", runtime.NumCPU(), strings.TrimSpace(processor))
}

// stamp says when, of what, and how often a row was measured.
func stamp(ctx context.Context, repetitions int) string {
	return fmt.Sprintf("Measured on %s: medians of %d repetitions (least–most).\n\n", dayAndCommit(ctx), repetitions)
}

// stampOnce says the same of a row that is measured in one run, and how busy the machine was: others may have worked on it as well.
func stampOnce(ctx context.Context, what string) string {
	load := "unknown"
	if averages := strings.Fields(lineOf("/proc/loadavg", "")); len(averages) >= 3 {
		load = averages[2]
	}
	return fmt.Sprintf("Measured on %s, on %s: %s. The load average of the last 15 minutes was %s.\n\n",
		dayAndCommit(ctx), cores(), what, load)
}

func dayAndCommit(ctx context.Context) string {
	commit := said(ctx, "git", "describe", "--tags", "--always", "--dirty", "--exclude=*")
	return time.Now().UTC().Format(time.DateOnly) + " at commit " + commit
}

// lineOf returns what follows a word at the beginning of a line of a file, "" where there is none.
func lineOf(path, word string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) {
		if rest, found := strings.CutPrefix(line, word); found {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// said returns what a program prints, "unknown" where it does not run.
func said(ctx context.Context, program string, arguments ...string) string {
	output, err := exec.CommandContext(ctx, program, arguments...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(output))
}
