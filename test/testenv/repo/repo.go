// Package repo finds the files of the repository from wherever below it a program or a test was started.
package repo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const module = "module github.com/dfmiddleware/verity-sync\n"

// Path returns the absolute path of a file of the repository, whether it exists or not.
func Path(elem ...string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(content), module) {
			return filepath.Join(append([]string{dir}, elem...)...), nil
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return "", errors.New("find the repository: no go.mod of this project above the working directory")
	}
}
