package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// asProgram makes the test binary run verity-sync, so that tests have real processes, signals and exit codes.
const asProgram = "VERITY_SYNC_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	testenv.Main(m)
}

const (
	eventually = 2 * time.Minute
	tick       = 5 * time.Millisecond
)

// process is a running verity-sync.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}

	mu     sync.Mutex
	stdout bytes.Buffer
	stderr bytes.Buffer
}

// start starts verity-sync with these environment variables only, and kills it at the end of the test.
func start(t *testing.T, environ []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], args...), exited: make(chan struct{})}
	p.cmd.Env = append([]string{asProgram + "=1"}, environ...)
	p.cmd.Stdout = lockedWriter{&p.mu, &p.stdout}
	p.cmd.Stderr = lockedWriter{&p.mu, &p.stderr}
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // The method exitCode returns the result.
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // It may have exited.
		<-p.exited
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(args, " "), p.log())
		}
	})
	return p
}

type lockedWriter struct {
	mu *sync.Mutex
	to io.Writer
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// address waits until a receiver listens and returns its address.
func (p *process) address(t *testing.T) string {
	t.Helper()
	var address string
	require.Eventually(t, func() bool {
		for line := range strings.Lines(p.log()) {
			var entry struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening for webhooks" {
				address = entry.Address
			}
		}
		return address != ""
	}, eventually, tick)
	return "http://" + address
}

func (p *process) signal(t *testing.T, signal os.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(signal))
}

// exitCode waits for the end of the process.
func (p *process) exitCode(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(eventually):
		require.Fail(t, "the process does not end")
		return -1
	}
}

// withoutCluster is the flag for an API server that is down. The receiver accepts webhooks without one.
func withoutCluster(t *testing.T) string {
	t.Helper()
	port, err := proc.FreePort(t.Context())
	require.NoError(t, err)
	config := clientcmdapi.NewConfig()
	config.Clusters["down"] = &clientcmdapi.Cluster{Server: "http://127.0.0.1:" + strconv.Itoa(port)}
	config.Contexts["down"] = &clientcmdapi.Context{Cluster: "down"}
	config.CurrentContext = "down"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, file))
	return "--kubeconfig=" + file
}

// migrated returns the URL of a migrated database.
func migrated(t *testing.T) string {
	t.Helper()
	url := testenv.Postgres(t)
	_, err := run(t, []string{"DATABASE_URL=" + url}, "migrate")
	require.NoError(t, err)
	return url
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	resp, err := http.Post(url+"/api/webhooks/ghl?token=workflow-secret", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(answer)
}

func TestMigrateReportsItsSteps(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	environ := []string{"DATABASE_URL=" + url}

	out, err := run(t, environ, "migrate", "--dry-run")
	require.NoError(t, err)
	assert.Contains(t, out, "would apply 1: ")
	out, err = run(t, environ, "migrate", "status")
	require.NoError(t, err)
	assert.Regexp(t, `VERSION +NAME +APPLIED\n1 .+ pending\n`, out, "the dry run changed nothing")

	out, err = run(t, environ, "migrate")
	require.NoError(t, err)
	assert.Contains(t, out, "applied 1: ")
	assert.Contains(t, out, "is up to date\n")
	out, err = run(t, environ, "migrate", "--dry-run")
	require.NoError(t, err)
	assert.NotContains(t, out, "would apply")
	assert.Contains(t, out, "is up to date\n")
	out, err = run(t, environ, "migrate", "status")
	require.NoError(t, err)
	assert.NotContains(t, out, "pending")
}

func TestTheReceiverStoresAWebhookAndStopsOnSIGTERM(t *testing.T) {
	t.Parallel()
	database := migrated(t)
	port, err := proc.FreePort(t.Context())
	require.NoError(t, err)
	metricsAddress := "127.0.0.1:" + strconv.Itoa(port)
	p := start(t, []string{"DATABASE_URL=" + database, "GHL_WEBHOOK_SECRETS=workflow-secret", "JOBS_SECRET=jobs-secret"},
		"receiver", "--listen-address=127.0.0.1:0", "--health-probe-bind-address=0", "--drain-delay=100ms", "--metrics-bind-address="+metricsAddress, "--metrics-secure=false",
		"--zap-log-level=debug", withoutCluster(t))
	url := p.address(t)

	code, body := get(t, url+"/readyz")
	assert.Equal(t, 200, code, body)
	const webhook = `{"contact_id":"contact-1", "phone":"+15555550100"}`
	code, body = post(t, url, webhook)
	require.Equal(t, 200, code, body)
	var answer struct{ ID, Status string }
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	assert.Equal(t, "accepted", answer.Status)
	_, metrics := get(t, "http://"+metricsAddress+"/metrics")
	assert.Contains(t, metrics, `verity_sync_webhook_requests_total{code="200",source="ghl"} 1`)

	p.signal(t, syscall.SIGTERM)
	assert.Zero(t, p.exitCode(t))

	conn, err := pgx.Connect(t.Context(), database)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	var payload string
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT payload_json::text FROM webhook_events WHERE id = $1", answer.ID).Scan(&payload))
	assert.Equal(t, webhook, payload)

	for line := range strings.Lines(p.log()) {
		assert.True(t, json.Valid([]byte(line)), "away from a terminal, logs are JSON: %s", line)
	}
	for _, secret := range []string{"workflow-secret", "jobs-secret", "5555550100"} {
		assert.NotContains(t, p.log(), secret)
	}
}

func TestTheReceiverStartsWithoutItsDatabase(t *testing.T) {
	t.Parallel()
	port, err := proc.FreePort(t.Context())
	require.NoError(t, err)
	database := "postgres://nobody:hunter2@127.0.0.1:" + strconv.Itoa(port) + "/nothing"
	p := start(t, []string{"DATABASE_URL=" + database, "GHL_WEBHOOK_SECRETS=workflow-secret"},
		"receiver", "--listen-address=127.0.0.1:0", "--health-probe-bind-address=0", "--drain-delay=0s", withoutCluster(t))
	url := p.address(t)

	code, _ := get(t, url+"/readyz")
	assert.Equal(t, 200, code)
	code, _ = post(t, url, "{}")
	assert.Equal(t, 429, code)
	p.signal(t, syscall.SIGINT)
	assert.Zero(t, p.exitCode(t))
	assert.NotContains(t, p.log(), "hunter2")
}

func TestTheReceiverRefusesADatabaseThatIsNotMigrated(t *testing.T) {
	t.Parallel()
	p := start(t, []string{"DATABASE_URL=" + testenv.Postgres(t), "GHL_WEBHOOK_SECRETS=workflow-secret"}, "receiver")
	assert.Equal(t, 1, p.exitCode(t))
	assert.Contains(t, p.log(), "verity-sync migrate")
}

// An older process starts during a rollout, and after a rollback.
func TestTheReceiverServesOnANewerSchemaUnlessThatIsIncompatible(t *testing.T) {
	t.Parallel()
	database := migrated(t)
	conn, err := pgx.Connect(t.Context(), database)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	for _, later := range []string{
		"ALTER TABLE webhook_events ADD COLUMN of_a_later_version text NOT NULL DEFAULT ''",
		"INSERT INTO verity_sync_schema_version (version_id, is_applied) VALUES (999, true)",
	} {
		_, err = conn.Exec(t.Context(), later)
		require.NoError(t, err)
	}
	arguments := []string{"receiver", "--listen-address=127.0.0.1:0", "--health-probe-bind-address=0", "--drain-delay=0s", withoutCluster(t)}
	environ := []string{"DATABASE_URL=" + database, "GHL_WEBHOOK_SECRETS=workflow-secret"}
	p := start(t, environ, arguments...)
	code, body := post(t, p.address(t), "{}")
	assert.Equal(t, 200, code, body)
	p.signal(t, syscall.SIGTERM)
	assert.Zero(t, p.exitCode(t))

	_, err = conn.Exec(t.Context(), "UPDATE verity_sync_schema_compatibility SET oldest_version = 999")
	require.NoError(t, err)
	p = start(t, environ, arguments...)
	assert.Equal(t, 1, p.exitCode(t))
	assert.Contains(t, p.log(), "too new for this binary")
	assert.Contains(t, p.log(), "run the version of verity-sync that migrated it")
}

func TestASecondSignalEndsTheProcessAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t, []string{"DATABASE_URL=" + migrated(t), "GHL_WEBHOOK_SECRETS=workflow-secret"},
		"receiver", "--listen-address=127.0.0.1:0", "--health-probe-bind-address=0", "--drain-delay=1h", withoutCluster(t))
	url := p.address(t)
	p.signal(t, syscall.SIGTERM)
	require.Eventually(t, func() bool {
		resp, err := http.Get(url + "/readyz")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusServiceUnavailable
	}, eventually, tick)
	p.signal(t, syscall.SIGTERM)
	assert.Equal(t, 1, p.exitCode(t))
}
