package failpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Variable is the environment variable that names the directory of armed points.
const Variable = "FAILPOINTS"

// The suffixes of the file of a point: HitSuffix if it was hit, HoldSuffix if it is held.
const (
	HitSuffix  = ".hit"
	HoldSuffix = ".hold"
)

// Dir is the directory of armed points, for tests.
type Dir string

// Arm makes the next process that reaches the point die there.
func (d Dir) Arm(p Point) error {
	if err := os.Remove(d.path(p, HitSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clear the hit of %s: %w", p, err)
	}
	return d.write(p, "")
}

// Hold blocks the goroutine that reaches the point, until Release. The rest of the process continues.
func (d Dir) Hold(p Point) error { return d.write(p, HoldSuffix) }

// Release ends a Hold.
func (d Dir) Release(p Point) error {
	if err := os.Remove(d.path(p, HoldSuffix)); err != nil {
		return fmt.Errorf("release %s: %w", p, err)
	}
	return nil
}

// Hit reports whether the point was reached since it was armed.
func (d Dir) Hit(p Point) bool {
	_, err := os.Stat(d.path(p, HitSuffix))
	return err == nil
}

func (d Dir) write(p Point, suffix string) error {
	if err := os.WriteFile(d.path(p, suffix), nil, 0o600); err != nil {
		return fmt.Errorf("arm %s: %w", p, err)
	}
	return nil
}

func (d Dir) path(p Point, suffix string) string { return filepath.Join(string(d), string(p)+suffix) }
