package ghlapi

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/go-logr/logr"
)

// TokenSource has the tokens of the locations. Client calls it for each request, from many goroutines.
type TokenSource interface {
	// Token returns a location's token, ErrLocationUnknown if there is none. locationID may be empty. Token never returns the token of
	// another location.
	Token(locationID string) (string, error)
}

// StaticToken is the only token of an installation with one location. Token returns it for every location id and for none: GHL refuses it
// for another location.
type StaticToken string

// Token returns the token.
func (t StaticToken) Token(string) (string, error) {
	if t == "" {
		return "", ErrLocationUnknown
	}
	return string(t), nil
}

// maxToken bounds a token's file, in bytes. OAuth access tokens have a few kilobytes.
const maxToken = 16 << 10

// TokenDir reads tokens from a directory, usually a mounted Secret: one file for each location, named with its id. It reads the file for
// each request, so that a token can be replaced or removed at any time.
type TokenDir struct {
	dir      string
	fallback TokenSource
	log      logr.Logger

	mu sync.Mutex
	// good are the last valid tokens, for the moment in which a file is being written.
	good map[string]string
	// warned are the locations whose invalid file was logged; "" is the directory.
	warned map[string]bool
}

// NewTokenDir returns the tokens of a directory, which must exist. fallback has the tokens of locations without a file and of calls without
// a location; it may be nil.
func NewTokenDir(dir string, fallback TokenSource, log logr.Logger) (*TokenDir, error) {
	if _, err := os.ReadDir(dir); err != nil {
		return nil, fmt.Errorf("read the directory of GoHighLevel's tokens: %w", err)
	}
	return &TokenDir{dir: dir, fallback: fallback, log: log, good: map[string]string{}, warned: map[string]bool{}}, nil
}

// Token returns a location's token. If the file cannot be read or has no valid token, it returns the last valid one and logs the error
// once.
func (d *TokenDir) Token(locationID string) (string, error) {
	if !idForm.MatchString(locationID) {
		if locationID == "" {
			return d.other(locationID)
		}
		return "", ErrLocationUnknown
	}
	token, err := d.read(locationID)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		d.good[locationID] = token
		d.recovered(locationID)
		return token, nil
	case errors.Is(err, errNoFile):
		delete(d.good, locationID)
		d.recovered(locationID)
		return d.other(locationID)
	}
	last, ok := d.good[locationID]
	d.warn(locationID, err, ok)
	if !ok {
		return "", err
	}
	return last, nil
}

// Own reports whether the location had its own file when its token was read last.
func (d *TokenDir) Own(locationID string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.good[locationID]
	return ok
}

// warn logs the first error of a location's file, or of the directory. lastValid reports whether the last valid token is used.
func (d *TokenDir) warn(locationID string, err error, lastValid bool) {
	subject := locationID
	if errors.Is(err, errNoDir) {
		subject = ""
	}
	if d.warned[subject] {
		return
	}
	d.warned[subject] = true
	if lastValid {
		d.log.Error(err, "failed to read the token of a location; its last valid token is used", "location", locationID)
	} else {
		d.log.Error(err, "failed to read the token of a location; calls to GoHighLevel for it fail until it can be read",
			"location", locationID)
	}
}

func (d *TokenDir) recovered(locationID string) {
	delete(d.warned, locationID)
	delete(d.warned, "")
}

func (d *TokenDir) other(locationID string) (string, error) {
	if d.fallback == nil {
		return "", ErrLocationUnknown
	}
	return d.fallback.Token(locationID)
}

// errNoDir says that the directory cannot be opened, errNoFile that the directory has no file for the location.
var (
	errNoDir  = errors.New("the directory of GoHighLevel's tokens cannot be opened")
	errNoFile = errors.New("no such file")
)

// read returns the token in a location's file. It follows links only within the directory.
func (d *TokenDir) read(locationID string) (string, error) {
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoDir, err)
	}
	defer func() { _ = root.Close() }()
	file, err := root.Open(locationID)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := root.Lstat(locationID); errors.Is(err, fs.ErrNotExist) {
			return "", errNoFile
		}
		// The link exists. Its target has just been replaced.
		file, err = root.Open(locationID)
	}
	if err != nil {
		return "", fmt.Errorf("open the token: %w", err)
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" || len(data) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("the file has no valid token")
	}
	return token, nil
}
