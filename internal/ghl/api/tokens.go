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

// TokenSource has the tokens of the locations. Client asks it anew for every call, from many goroutines.
type TokenSource interface {
	// Token returns a location's token, and ErrLocationUnknown where there is none; locationID may be empty. Another
	// location's token is never returned.
	Token(locationID string) (string, error)
}

// StaticToken is the one token of an installation with one location: it serves every location id, since GHL itself
// refuses it for another one, and none.
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

// TokenDir has the tokens in a directory, as a mounted Secret does: one file for each location, named with its id. A
// file is read at every use, so that a token can be replaced at any time; a file that goes away takes its token along.
type TokenDir struct {
	dir      string
	fallback TokenSource
	log      logr.Logger

	mu sync.Mutex
	// good are the last usable tokens, for the moment in which a file is being written.
	good map[string]string
	// warned are the locations whose file is unusable and was complained of, and "" for the whole directory.
	warned map[string]bool
}

// NewTokenDir returns the tokens of a directory that exists. Where it has no file for a location, or no location is
// given, fallback is asked, which may be nil.
func NewTokenDir(dir string, fallback TokenSource, log logr.Logger) (*TokenDir, error) {
	if _, err := os.ReadDir(dir); err != nil {
		return nil, fmt.Errorf("read the directory of GHL tokens: %w", err)
	}
	return &TokenDir{dir: dir, fallback: fallback, log: log, good: map[string]string{}, warned: map[string]bool{}}, nil
}

// Token returns a location's token. The last good one stands in for a file that cannot be read or holds no token, which
// is logged once.
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

// Own reports whether the location had a file of its own when its token was last asked for.
func (d *TokenDir) Own(locationID string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.good[locationID]
	return ok
}

// warn logs what is wrong with a location's file, or with the directory, the first time.
func (d *TokenDir) warn(locationID string, err error, lastGoodUsed bool) {
	subject := locationID
	if errors.Is(err, errNoDir) {
		subject = ""
	}
	if !d.warned[subject] {
		d.warned[subject] = true
		d.log.Error(err, "The token of a GHL location cannot be used", "location", locationID, "lastGoodUsed", lastGoodUsed)
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

// errNoDir says that the directory cannot be opened; errNoFile that it can, and has no file for the location.
var (
	errNoDir  = errors.New("the directory of GHL tokens cannot be opened")
	errNoFile = errors.New("no such file")
)

// read returns the token in a location's file. Links are followed within the directory only.
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
		// The link is there, and what it led to was replaced in this moment.
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
		return "", errors.New("the file holds no token")
	}
	return token, nil
}
