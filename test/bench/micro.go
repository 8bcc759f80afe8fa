package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// microPackages are those whose Go benchmarks are about the way of an event: reading and verifying it, taking it in, committing a batch,
// reconciling.
var microPackages = []string{"./internal/ghl", "./internal/receiver", "./internal/store", "./controllers"}

// micro runs the Go benchmarks once and keeps what they say.
func (e *environment) micro(ctx context.Context, _ record) error {
	root, err := repo.Path()
	if err != nil {
		return err
	}
	arguments := append([]string{"test", "-run=^$", "-bench=.", "-benchmem", "-count=1", "-timeout=10m"}, microPackages...)
	cmd := exec.CommandContext(ctx, "go", arguments...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "DATABASE_URL="+e.postgres.URL())
	output, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go test -bench: %w: %s", err, proc.Tail(output))
	}
	e.microOutput = append(e.microOutput, output...)
	return nil
}

// renderMicro has benchstat say what they came to.
func renderMicro(ctx context.Context, e *environment, _ record) (string, error) {
	file := filepath.Join(e.dir, "micro.txt")
	if err := os.WriteFile(file, e.microOutput, 0o600); err != nil {
		return "", err
	}
	var failure bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(e.options.binaries, "benchstat"), "-ignore=cpu", filepath.Base(file))
	cmd.Dir, cmd.Stderr = e.dir, &failure
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("benchstat: %w: %s", err, failure.Bytes())
	}
	return "```\n" + string(output) + "```\n", nil
}
