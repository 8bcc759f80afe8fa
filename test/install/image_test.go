package install

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// TestTheImageNeedsNothing runs the program without a container engine in a read-only copy of the files of its image. It does not
// even run in a cluster.
func TestTheImageNeedsNothing(t *testing.T) {
	t.Parallel()
	image := here(t)
	ctx := t.Context()

	output, err := newContainer(t, image, nil, "--version").run(ctx)
	require.NoError(t, err)
	assert.Equal(t, "verity-sync "+release["VERSION"]+" (commit "+release["COMMIT"]+", "+release["DATE"]+", "+runtime.Version()+")\n", output)

	database := "DATABASE_URL=" + testenv.Postgres(t)
	output, err = newContainer(t, image, []string{database}, "migrate").run(ctx)
	require.NoError(t, err)
	assert.Contains(t, output, "is up to date\n")
	output, err = newContainer(t, image, []string{database}, "migrate", "status").run(ctx)
	require.NoError(t, err)
	assert.NotContains(t, output, "pending")

	sender := ghlsender.New(nil)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))
	receiver := newContainer(t, image, []string{
		database, "GHL_WEBHOOK_PUBLIC_KEYS=" + sender.PublicKey(),
		// Webhooks are accepted while the API server is away.
		"KUBERNETES_SERVICE_HOST=127.0.0.1", "KUBERNETES_SERVICE_PORT=" + strconv.Itoa(freePort(t)),
	}, "receiver", "--listen-address="+address, "--health-probe-bind-address=0", "--drain-delay=0s")
	token := filepath.Join(receiver.root, serviceAccountDir, "token")
	require.NoError(t, os.MkdirAll(filepath.Dir(token), 0o755))
	require.NoError(t, os.WriteFile(token, []byte("unknown"), 0o644))
	receiver.Ready = func(ctx context.Context) error {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			err = connection.Close()
		}
		return err
	}
	start(t, receiver)
	assertRestricted(t, receiver)
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusOK} {
		response, err := http.Get("http://" + address + path)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, want, response.StatusCode, path)
	}
	answer, err := sender.Send(ctx, "http://"+address+"/api/webhooks/ghl", sender.Marketplace("NoteCreate", nil))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, answer.Status, "%s", answer.Body)
	require.NoError(t, receiver.stop())
}

// newContainer returns a container that belongs to no pod.
func newContainer(t *testing.T, image image, variables []string, args ...string) *pod {
	t.Helper()
	p := &pod{
		root: image.unpack(t), args: args, environ: append(image.environ("container"), variables...), grace: time.Minute,
	}
	p.Service = proc.Service{
		Name: args[0], Command: p.command, LogPath: filepath.Join(t.TempDir(), "log"), OnDeath: syscall.SIGKILL,
	}
	t.Cleanup(func() {
		require.NoError(t, p.Kill())
		if t.Failed() {
			t.Logf("%s:\n%s", p.Name, p.log(t))
		}
	})
	return p
}

// TestNothingIsLinkedThatTheImageLacks looks at the program itself.
func TestNothingIsLinkedThatTheImageLacks(t *testing.T) {
	t.Parallel()
	output, err := exec.CommandContext(t.Context(), "go", "version", "-m", here(t).program).CombinedOutput()
	require.NoError(t, err, "%s", output)
	assert.Contains(t, string(output), "CGO_ENABLED=0")
	assert.Contains(t, string(output), "-trimpath=true")
}

func TestTheDockerfileMakesTheImageThatIsTested(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(file(t, "Dockerfile"))
	require.NoError(t, err)
	_, last, found := strings.Cut(string(content), "\nFROM gcr.io/distroless/static-debian12:nonroot\n")
	require.True(t, found, "the last stage has certificate authorities, and no shell")
	var instructions []string
	for line := range strings.Lines(last) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			instructions = append(instructions, line)
		}
	}
	assert.Equal(t, []string{"COPY --from=build /verity-sync /verity-sync", "USER 65532:65532", `ENTRYPOINT ["/verity-sync"]`}, instructions)
	assert.Equal(t, 65532, imageUser)
	assert.Regexp(t, `CGO_ENABLED=0 .*go build -trimpath`, string(content))
	assert.Regexp(t, `RUN --mount=type=cache,target=/go/cache \\\n +GOCACHE=/go/cache .*go build`, string(content), "a change of a source compiles no dependency")
	assert.Len(t, regexp.MustCompile(`-X (\S+)=\$(VERSION|COMMIT|DATE)\b`).FindAllString(string(content), -1), len(release))
}
