package system

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// Build builds verity-sync into the file path: with the race detector where the program that calls it has it, else as it is released, so
// that the compiler has done most of it before. flags are further ones of go build.
func Build(ctx context.Context, path string, flags ...string) error {
	return build(ctx, path, buildEnv, slices.Concat(buildFlags, flags))
}

// BuildReleased builds verity-sync as it is released, whatever the program that calls it has: the race detector multiplies memory.
func BuildReleased(ctx context.Context, path string) error {
	return build(ctx, path, []string{"CGO_ENABLED=0"}, []string{"-trimpath"})
}

func build(ctx context.Context, path string, env, flags []string) error {
	root, err := repo.Path()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"build"}, flags, []string{"-o", path, "./cmd"})...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build verity-sync: %w: %s", err, proc.Tail(output))
	}
	return nil
}

func (s *System) build(ctx context.Context) error {
	if s.Binary != "" {
		var err error
		s.Binary, err = filepath.Abs(s.Binary) // The processes run in another directory.
		return err
	}
	s.say("building verity-sync")
	s.Binary = filepath.Join(s.Dir, "verity-sync")
	return Build(ctx, s.Binary, s.options.BuildFlags...)
}

func (s *System) migrate(ctx context.Context) error {
	s.say("migrating the middleware database: verity-sync migrate")
	cmd := exec.CommandContext(ctx, s.Binary, "migrate")
	cmd.Env = environ(map[string]string{"DATABASE_URL": s.DatabaseURL})
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("verity-sync migrate: %w: %s", err, proc.Tail(output))
	}
	return nil
}
