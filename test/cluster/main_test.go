// Package cluster tests the installation of `make cluster` in a real Kubernetes node: pods with their probes, Services, rollouts and evictions. Its
// tests run in the node's namespaces, one after the other, because each of them disturbs the whole installation. `make test-cluster` runs them.
package cluster

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	startTimeout = 2 * time.Minute
	eventually   = 3 * time.Minute
	tick         = 100 * time.Millisecond
)

// shared is the environment of all tests.
var shared *environment

func TestMain(m *testing.M) {
	state := os.Getenv("CLUSTER_STATE")
	if state == "" {
		fmt.Fprintln(os.Stderr, "these tests need a cluster: run `make test-cluster`")
		os.Exit(1)
	}
	log.SetLogger(logr.Discard())
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	var err error
	shared, err = newEnvironment(ctx, state)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "connect to the cluster:", err)
		os.Exit(1)
	}
	code := m.Run()
	shared.database.Close()
	os.Exit(code)
}
