package install

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
)

const (
	startTimeout = 5 * time.Minute
	eventually   = 2 * time.Minute
	tick         = 20 * time.Millisecond
)

// shared is the control plane of all tests but those that change what is cluster-wide. It begins with nothing.
var shared struct {
	sync.Once
	*controlplane.ControlPlane
	err error
}

func TestMain(m *testing.M) {
	if root := os.Getenv(runtimeVariable); root != "" {
		runContainer(root)
	}
	// What clients log is of no use that their errors are not.
	log.SetLogger(logr.Discard())
	testenv.Main(m)
}

// sharedServer starts it for the first who asks. It ends with the test binary.
func sharedServer(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	shared.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		shared.ControlPlane, shared.err = controlplane.Start(ctx, controlplane.Options{NoSync: true})
	})
	require.NoError(t, shared.err)
	return shared.ControlPlane
}

// ownServer is one whose cluster-wide objects are the test's own.
func ownServer(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	server, err := controlplane.Start(ctx, controlplane.Options{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	return server
}
