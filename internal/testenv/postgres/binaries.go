package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
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

// account returns whom the server must run as: nil for this user, another one for root, whom Postgres refuses.
func account() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("look up user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("postgres refuses to run as root, and there is neither a user postgres nor a user nobody to run it as")
}
