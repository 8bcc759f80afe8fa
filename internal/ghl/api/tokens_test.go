package ghlapi_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	simghl "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

func TestStaticToken(t *testing.T) {
	t.Parallel()
	for _, location := range []string{"loc1", ""} {
		got, err := ghlapi.StaticToken(token).Token(location)
		require.NoError(t, err)
		assert.Equal(t, token, got)
	}
	_, err := ghlapi.StaticToken("").Token("loc1")
	require.ErrorIs(t, err, ghlapi.ErrLocationUnknown)
}

// secret is a mounted Secret: its files are links into ..data, which is a link to the directory of the latest version.
type secret struct {
	t        *testing.T
	dir      string
	versions int
}

func mount(t *testing.T, tokens map[string]string) *secret {
	s := &secret{t: t, dir: t.TempDir()}
	s.publish(tokens)
	for location := range tokens {
		require.NoError(t, os.Symlink(filepath.Join("..data", location), filepath.Join(s.dir, location)))
	}
	return s
}

// publish replaces ..data and removes its previous target, as the kubelet does.
func (s *secret) publish(tokens map[string]string) {
	old, err := os.Readlink(filepath.Join(s.dir, "..data"))
	if err == nil {
		defer func() { require.NoError(s.t, os.RemoveAll(filepath.Join(s.dir, old))) }()
	}
	s.versions++
	version := fmt.Sprint("..version", s.versions)
	require.NoError(s.t, os.Mkdir(filepath.Join(s.dir, version), 0o700))
	for location, token := range tokens {
		s.write(filepath.Join(version, location), token)
	}
	next := filepath.Join(s.dir, "..data_tmp")
	require.NoError(s.t, os.Symlink(version, next))
	require.NoError(s.t, os.Rename(next, filepath.Join(s.dir, "..data")))
}

func (s *secret) write(name, token string) {
	require.NoError(s.t, os.WriteFile(filepath.Join(s.dir, name), []byte(token), 0o600))
}

func TestTokenDir(t *testing.T) {
	t.Parallel()
	s := mount(t, map[string]string{"loc1": "first\n", "loc2": " second \r\n"})
	require.NoError(t, os.Mkdir(filepath.Join(s.dir, "folder"), 0o700))
	require.NoError(t, os.Symlink("/etc/hostname", filepath.Join(s.dir, "outside")))
	require.NoError(t, os.Symlink("outside", filepath.Join(s.dir, "detour")))
	d, err := ghlapi.NewTokenDir(s.dir, nil, logr.Discard())
	require.NoError(t, err)

	for location, want := range map[string]string{"loc1": "first", "loc2": "second"} {
		got, err := d.Token(location)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for name, location := range map[string]string{
		"no location": "", "an unknown location": "loc3", "the directory": ".", "its parent": "..", "a path": "folder/../loc1",
		"a path to elsewhere": "../../../etc/hostname", "an absolute path": s.dir + "/loc1", "the kubelet's own link": "..data",
		"a NUL": "loc1\x00", "far too long a name": strings.Repeat("x", 10_000), "the wrong case": "LOC1",
	} {
		t.Run(name+" is unknown", func(t *testing.T) {
			t.Parallel()
			_, err := d.Token(location)
			require.ErrorIs(t, err, ghlapi.ErrLocationUnknown)
		})
	}
	for name, location := range map[string]string{"a folder": "folder", "a link out of the directory": "outside", "a link to one": "detour"} {
		t.Run(name+" is no token", func(t *testing.T) {
			t.Parallel()
			_, err := d.Token(location)
			require.Error(t, err)
			assert.NotErrorIs(t, err, ghlapi.ErrLocationUnknown)
		})
	}
}

func TestTokenDirFallsBack(t *testing.T) {
	t.Parallel()
	s := mount(t, map[string]string{"loc1": "first"})
	d, err := ghlapi.NewTokenDir(s.dir, ghlapi.StaticToken("single"), logr.Discard())
	require.NoError(t, err)
	for location, want := range map[string]string{"loc1": "first", "loc2": "single", "": "single"} {
		got, err := d.Token(location)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	_, err = d.Token("../loc1")
	require.ErrorIs(t, err, ghlapi.ErrLocationUnknown)
}

func TestTokenDirFollowsChanges(t *testing.T) {
	t.Parallel()
	var logged []string
	log := funcr.New(func(_, line string) { logged = append(logged, line) }, funcr.Options{})
	s := mount(t, map[string]string{"loc1": "first"})
	d, err := ghlapi.NewTokenDir(s.dir, nil, log)
	require.NoError(t, err)
	expect := func(want, why string) {
		t.Helper()
		for range 2 {
			got, err := d.Token("loc1")
			require.NoError(t, err, why)
			assert.Equal(t, want, got, why)
		}
	}

	expect("first", "as it was mounted")
	s.publish(map[string]string{"loc1": "second"})
	expect("second", "the link was replaced")
	assert.Empty(t, logged)

	for why, half := range map[string]string{
		"an empty file": "", "a blank one": " \n", "two lines": "sec\nond", "a NUL": "sec\x00", "more than any token": strings.Repeat("x", 20_000),
	} {
		s.publish(map[string]string{"loc1": half})
		expect("second", why)
		require.Len(t, logged, 1, why)
		assert.Contains(t, logged[0], `"location"="loc1"`)
		assert.Contains(t, logged[0], "its last valid token is used")
		s.publish(map[string]string{"loc1": "second"})
		expect("second", "the file is complete again")
		logged = nil
	}

	require.NoError(t, os.Rename(s.dir, s.dir+"-away"))
	expect("second", "the directory is missing")
	require.Len(t, logged, 1)
	_, err = d.Token("loc2")
	require.Error(t, err)
	assert.NotErrorIs(t, err, ghlapi.ErrLocationUnknown, "the directory may have a file for it")
	assert.Len(t, logged, 1, "the error is logged once for all locations")
	require.NoError(t, os.Rename(s.dir+"-away", s.dir))
	expect("second", "the directory exists again")

	require.NoError(t, os.Remove(filepath.Join(s.dir, "loc1")))
	_, err = d.Token("loc1")
	require.ErrorIs(t, err, ghlapi.ErrLocationUnknown, "a removed token is no longer used")
	for _, line := range logged {
		assert.NotContains(t, line, "second", "tokens are not logged")
	}
}

func TestTokenDirIsReadWhileItChanges(t *testing.T) {
	t.Parallel()
	s := mount(t, map[string]string{"loc1": "token0"})
	d, err := ghlapi.NewTokenDir(s.dir, nil, logr.Discard())
	require.NoError(t, err)
	_, err = d.Token("loc1")
	require.NoError(t, err)
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if got, err := d.Token("loc1"); err != nil || !strings.HasPrefix(got, "token") {
				<-stop
				done <- fmt.Errorf("read %q: %w", got, err)
				return
			}
		}
	}()
	for i := range 300 {
		s.publish(map[string]string{"loc1": fmt.Sprint("token", i)})
	}
	close(stop)
	require.NoError(t, <-done)
}

func TestNewTokenDirRequiresADirectory(t *testing.T) {
	t.Parallel()
	_, err := ghlapi.NewTokenDir(filepath.Join(t.TempDir(), "missing"), nil, logr.Discard())
	require.Error(t, err)
}

func TestClientUsesTheLocationsToken(t *testing.T) {
	t.Parallel()
	s := mount(t, map[string]string{"loc1": token + "\n", "loc2": "of-loc2", "loc4": ""})
	d, err := ghlapi.NewTokenDir(s.dir, nil, logr.Discard())
	require.NoError(t, err)
	b := start(t, tokens(d))
	b.sim.PutLocation(simghl.Location{ID: "loc2", Token: "of-loc2"})

	_, err = b.GetContact(t.Context(), "loc1", "con1")
	require.NoError(t, err)
	_, err = b.GetContact(t.Context(), "loc2", "con1")
	require.ErrorIs(t, err, ghlapi.ErrWrongLocation)
	sent := b.sim.Requests.Requests("", "")
	require.Len(t, sent, 2)
	assert.Equal(t, "Bearer "+token, sent[0].Header.Get("Authorization"))
	assert.Equal(t, "Bearer of-loc2", sent[1].Header.Get("Authorization"))

	for _, location := range []string{"loc3", ""} {
		_, err = b.GetContact(t.Context(), location, "con1")
		require.ErrorIs(t, err, ghlapi.ErrLocationUnknown)
		assert.Equal(t, destination.Permanent, failure(t, err).Class)
	}
	_, err = b.GetContact(t.Context(), "loc4", "con1")
	require.NotErrorIs(t, err, ghlapi.ErrLocationUnknown, "its file exists and is empty")
	assert.Equal(t, destination.Unavailable, failure(t, err).Class)
	assert.Equal(t, 2, b.sim.Requests.Total(), "the tokens of other locations are not used")
}

// sequence is a token source that returns its tokens one by one, and then always the last one.
type sequence struct{ tokens []string }

func (s *sequence) Token(string) (string, error) {
	next := s.tokens[0]
	if len(s.tokens) > 1 {
		s.tokens = s.tokens[1:]
	}
	return next, nil
}

func TestRefusedTokenIsReadAgain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		tokens   []string
		requests int
		err      error
	}{
		"once, and the new one is used":      {[]string{"old", token}, 2, nil},
		"and not used if it is the same":     {[]string{"old", "old"}, 1, ghlapi.ErrBadToken},
		"and not a third time":               {[]string{"old", "older", token}, 2, ghlapi.ErrBadToken},
		"only if it was refused, not before": {[]string{token, "new"}, 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, tokens(&sequence{tc.tokens}))
			err := b.AddTags(t.Context(), "loc1", "con1", []string{"vip"})
			require.ErrorIs(t, err, tc.err)
			assert.Equal(t, tc.requests, b.sim.Requests.Total())
		})
	}
}
