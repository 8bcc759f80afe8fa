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

// What is appended to the name of a point: to the file of one that was hit, and to that which keeps it from dying.
const (
	HitSuffix  = ".hit"
	HoldSuffix = ".hold"
)

// Dir is the directory of armed points, from the side of a test.
type Dir string

// Arm has the next process that reaches the point die there.
func (d Dir) Arm(p Point) error {
	if err := os.Remove(d.path(p, HitSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget that %s was hit: %w", p, err)
	}
	return d.write(p, "")
}

// Hold has the process that reaches the point stay there, and the rest of it go on, until it is let go.
func (d Dir) Hold(p Point) error { return d.write(p, HoldSuffix) }

// LetGo ends a Hold.
func (d Dir) LetGo(p Point) error {
	if err := os.Remove(d.path(p, HoldSuffix)); err != nil {
		return fmt.Errorf("let go of %s: %w", p, err)
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
