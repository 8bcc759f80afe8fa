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
func (w *world) machine(ctx context.Context) string {
	var memoryKiB float64
	_, _ = fmt.Sscanf(lineOf("/proc/meminfo", "MemTotal:"), "%f kB", &memoryKiB)
	_, processor, _ := strings.Cut(lineOf("/proc/cpuinfo", "model name"), ":")
	return fmt.Sprintf("- %d cores of %s, %.0f GiB of memory, Linux %s\n- Go %s, %s, Node %s\n",
		runtime.NumCPU(), strings.TrimSpace(processor),
		memoryKiB/(1<<20), strings.TrimSpace(lineOf("/proc/sys/kernel/osrelease", "")), strings.TrimPrefix(runtime.Version(), "go"),
		said(ctx, "psql", "--version"), said(ctx, "node", "--version"))
}

// stamp says when, of what, and how often a row was measured.
func stamp(ctx context.Context, repetitions int) string {
	return fmt.Sprintf("Measured on %s at commit %s: medians of %d repetitions (least–most).\n\n", time.Now().UTC().Format(time.DateOnly),
		said(ctx, "git", "describe", "--tags", "--always", "--dirty", "--exclude=*"), repetitions)
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
