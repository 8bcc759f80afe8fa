// Package systemtest starts verity-sync for tests, on real servers and with simulators, and waits for what becomes of events. A test that
// fails shows the logs of its processes.
//
// A package that uses it has
//
//	func TestMain(m *testing.M) { systemtest.Main(m) }
package systemtest

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

const (
	// StartTimeout leaves time to build verity-sync.
	StartTimeout = 10 * time.Minute
	// maxLog is how much of each process's log is shown of a test that fails.
	maxLog = 64 << 10
)

// shared has the servers and the program that the systems of the tests run on, and no processes of verity-sync itself.
var shared struct {
	sync.Once
	*system.System
	err        error
	buildFlags []string
}

// Main runs the tests of a package, stops the servers that they shared, and exits. buildFlags are further flags of go build for
// verity-sync.
func Main(m *testing.M, buildFlags ...string) {
	shared.buildFlags = buildFlags
	testenv.AtExit(func() error {
		if shared.System == nil {
			return nil
		}
		return shared.Close()
	})
	testenv.Main(m)
}

// Shared returns the servers that tests share: those that the variables of testenv name, else new ones. The system has a namespace and
// databases, and no processes of verity-sync.
func Shared(t testing.TB) *system.System {
	t.Helper()
	shared.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), StartTimeout)
		defer cancel()
		shared.System, shared.err = system.Start(ctx, system.Options{
			DatabaseURL: os.Getenv(testenv.DatabaseURLVariable), Kubeconfig: os.Getenv(testenv.KubeconfigVariable),
			BuildFlags: shared.buildFlags,
		})
	})
	require.NoError(t, shared.err)
	return shared.System
}

// Start starts a system on the shared servers.
func Start(t testing.TB, options system.Options) *system.System {
	t.Helper()
	options.DatabaseURL = Shared(t).DatabaseURL
	return StartOnOwnPostgres(t, options)
}

// StartOnOwnPostgres starts a system whose Postgres a test can take down; the control plane is the shared one.
func StartOnOwnPostgres(t testing.TB, options system.Options) *system.System {
	t.Helper()
	options.Kubeconfig, options.Binary = Shared(t).Kubeconfig, Shared(t).Binary
	return StartOnOwnServers(t, options)
}

// StartOnOwnServers starts a system on servers that no other test uses, unless options name some. It is closed at the end of the test.
func StartOnOwnServers(t testing.TB, options system.Options) *system.System {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), StartTimeout)
	defer cancel()
	s, err := system.Start(ctx, options)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, s)
		}
		assert.NoError(t, s.Close())
	})
	return s
}

func showLogs(t testing.TB, s *system.System) {
	t.Helper()
	for _, p := range slices.Concat(s.Receivers, s.Controllers) {
		log, err := p.Log()
		t.Logf("the end of the log of %s (%v):\n%s", p.Name, err, log[max(0, len(log)-maxLog):])
	}
}

// ShortRetries returns the variables with delays of retries that suit tests, unless they have others.
func ShortRetries(variables map[string]string) map[string]string {
	env := map[string]string{"RETRY_BASE_DELAY": "200ms", "RETRY_MAX_DELAY": "2s"}
	maps.Copy(env, variables)
	return env
}
