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

const startTimeout = 5 * time.Minute

// shared is the control plane of all tests except those that change cluster-wide objects. It starts empty.
var shared struct {
	sync.Once
	*controlplane.ControlPlane
	err error
}

func TestMain(m *testing.M) {
	if root := os.Getenv(runtimeVariable); root != "" {
		runContainer(root)
	}
	// The errors of clients say all that their log says.
	log.SetLogger(logr.Discard())
	testenv.Main(m)
}

// sharedServer starts it at the first call. It ends with the test binary.
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

// ownServer starts a control plane for one test.
func ownServer(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	server, err := controlplane.Start(ctx, controlplane.Options{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	return server
}
