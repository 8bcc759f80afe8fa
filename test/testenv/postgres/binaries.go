package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// ErrNotInstalled means that the machine has no Postgres server programs.
var ErrNotInstalled = errors.New("no Postgres server programs (initdb, postgres) in PATH or " + debianDirs + ": " +
	"install them (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; macOS: brew install postgresql), " +
	"or set DATABASE_URL to a database that may be used")

// Debian keeps the programs out of PATH, in one directory a major version.
const debianDirs = "/usr/lib/postgresql/*/bin"

// binDir returns the directory that initdb and postgres are in: that of the one in PATH, else the newest of those that match pattern.
func binDir(pattern string) (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		// Distributions link single programs into PATH.
		if path, err = filepath.EvalSymlinks(path); err == nil && isFile(filepath.Join(filepath.Dir(path), "postgres")) {
			return filepath.Dir(path), nil
		}
	}
	dirs, err := filepath.Glob(pattern)
	if err != nil {
		return "", fmt.Errorf("look for Postgres: %w", err)
	}
	dirs = slices.DeleteFunc(dirs, func(dir string) bool {
		return !isFile(filepath.Join(dir, "initdb")) || !isFile(filepath.Join(dir, "postgres"))
	})
	if len(dirs) == 0 {
		return "", ErrNotInstalled
	}
	return slices.MaxFunc(dirs, func(a, b string) int { return majorVersion(a) - majorVersion(b) }), nil
}

func majorVersion(dir string) int {
	version, err := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	if err != nil {
		return 0
	}
	return version
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
