package install

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// What the images of the tests say of themselves.
var release = map[string]string{
	"VERSION": "v0.2.0-test", "COMMIT": "0123456789abcdef0123456789abcdef01234567", "DATE": "2026-11-25T12:00:00Z",
}

// image is what a Dockerfile makes, without a container engine: a program and what the base of its last stage has.
type image struct {
	// program is the file on this machine.
	program string
}

// environ is what a container runtime sets, and the base of the image.
func (image) environ(hostname string) []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
		"HOME=/", "HOSTNAME=" + hostname,
	}
}

// unpack makes a root file system of the image.
func (i image) unpack(t testing.TB) string {
	t.Helper()
	root, err := os.MkdirTemp(filepath.Dir(i.program), "root-") //nolint:usetesting // Where the program can be linked into it.
	require.NoError(t, err)
	require.NoError(t, os.Chmod(root, 0o755))
	for _, dir := range []string{"proc", "tmp", "etc/ssl/certs"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	require.NoError(t, os.Link(i.program, filepath.Join(root, "verity-sync")))
	authorities, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err == nil { // What these tests talk to needs none.
		require.NoError(t, os.WriteFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"), authorities, 0o644))
	}
	return root
}

// images are built once. They lie in a directory that goes with this process.
var images struct {
	sync.Mutex
	dir    string
	remove func() error // Kept, because the directory goes with it.
	built  map[string]image
}

// imageOf builds the image of a tree of the project.
func imageOf(t testing.TB, tree string) image {
	t.Helper()
	images.Lock()
	defer images.Unlock()
	if built, found := images.built[tree]; found {
		return built
	}
	if images.dir == "" {
		var err error
		images.dir, images.remove, err = proc.TempDir("verity-sync-install-")
		require.NoError(t, err)
		images.built = map[string]image{}
	}
	built := image{filepath.Join(images.dir, fmt.Sprintf("verity-sync-%d", len(images.built)))}
	require.NoError(t, build(t.Context(), tree, built.program))
	images.built[tree] = built
	return built
}

// here is the image of this version.
func here(t testing.TB) image {
	t.Helper()
	return imageOf(t, file(t))
}

// build runs the go build of a tree's Dockerfile.
func build(ctx context.Context, tree, program string) error {
	dockerfile, err := os.ReadFile(filepath.Join(tree, "Dockerfile"))
	if err != nil {
		return err
	}
	flags := "-s -w"
	for _, found := range regexp.MustCompile(`-X (\S+)=\$(VERSION|COMMIT|DATE)\b`).FindAllStringSubmatch(string(dockerfile), -1) {
		flags += fmt.Sprintf(" -X %s=%s", found[1], release[found[2]])
	}
	// An earlier version may have its program in another folder.
	folder := regexp.MustCompile(`-o /verity-sync (\S+)`).FindSubmatch(dockerfile)
	if folder == nil {
		return fmt.Errorf("the Dockerfile of %s builds no /verity-sync", tree)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", flags, "-o", program, string(folder[1]))
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "PWD="+tree)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build verity-sync of %s: %w: %s", tree, err, proc.Tail(output))
	}
	return nil
}

// file returns the path of a file of the repository.
func file(t testing.TB, elem ...string) string {
	t.Helper()
	path, err := repo.Path(elem...)
	require.NoError(t, err)
	return path
}
