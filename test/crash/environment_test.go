// Package crash has the processes of verity-sync die by SIGKILL at every point between two steps (package failpoint has the list), and
// checks what comes of the webhook that was on its way: two receivers, two controllers, a real API server, a real Postgres, and simulators
// of everything else. The processes are built with the tag failpoints, and started again as a kubelet does.
package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

const (
	// startTimeout leaves time to build verity-sync.
	startTimeout = 10 * time.Minute
	eventually   = 90 * time.Second
	tick         = 20 * time.Millisecond
	// relayPoll is how often a receiver looks for orphaned rows (the default of relay.Options).
	relayPoll = 500 * time.Millisecond

	// retryDelay is how long an event waits after a failed attempt: longer than housekeeping takes to look at it.
	retryDelay = 4 * time.Second
	// doneTTL lets a watch see what is done before it goes.
	doneTTL = 2 * time.Second

	tag = "booked"
)

// environment is a system whose processes die at points that are armed.
type environment struct {
	*system.System
	points   failpoint.Dir
	replicas []*replica
	// expected is how many deaths there must have been.
	expected int
	// begun counts contacts, each of which has a phone number of its own.
	begun atomic.Int32

	mu sync.Mutex
	// done are the events that a watch has shown as Done.
	done map[string]bool
}

var built struct {
	sync.Once
	dir, path string
	err       error
}

// binary builds verity-sync with its failpoints, once for all tests.
func binary(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "verity-sync-failpoints-"); built.err != nil { //nolint:usetesting // It serves all tests.
			return
		}
		built.path = filepath.Join(built.dir, "verity-sync")
		built.err = system.Build(context.Background(), built.path, "-tags=failpoints")
	})
	require.NoError(t, built.err)
	return built.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := os.RemoveAll(built.dir); err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func startEnvironment(t *testing.T) *environment {
	t.Helper()
	e := &environment{points: failpoint.Dir(t.TempDir()), done: map[string]bool{}}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	var err error
	e.System, err = system.Start(ctx, system.Options{
		Receivers: 2, Controllers: 2, Binary: binary(t),
		DatabaseURL: os.Getenv(testenv.DatabaseURLVariable), Kubeconfig: os.Getenv(testenv.KubeconfigVariable),
		Env: map[string]string{
			failpoint.Variable: string(e.points),
			"RETRY_BASE_DELAY": retryDelay.String(), "RETRY_MAX_DELAY": retryDelay.String(),
			"DONE_TTL": doneTTL.String(), "MAX_WAITING_EVENTS": "1", "GHL_APPOINTMENT_TAGS": tag,
		},
	})
	require.NoError(t, err)
	var looking sync.WaitGroup
	looked, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(func() {
		stop()
		looking.Wait()
		if t.Failed() {
			e.showLogs(t)
		}
		assert.NoError(t, e.Close())
	})
	for _, p := range slices.Concat(e.Receivers, e.Controllers) {
		r := &replica{Process: p, environment: e, leads: slices.Contains(e.Controllers, p)}
		e.replicas = append(e.replicas, r)
		looking.Go(func() { r.lookAfter(looked) })
	}
	looking.Go(func() { e.watch(looked) })
	return e
}

func (e *environment) showLogs(t *testing.T) {
	t.Helper()
	const most = 10 << 10
	for _, r := range e.replicas {
		log, err := r.Log()
		t.Logf("the end of the log of %s (%v):\n%s", r.Name, err, log[max(0, len(log)-most):])
	}
}

// replica is a process with one that looks after it, as a kubelet does: what has ended is started again.
type replica struct {
	*system.Process
	environment *environment
	// leads says that it is a controller.
	leads bool
	// mu is held by whoever ends or starts the process.
	mu sync.Mutex
	// deaths counts the times that it was started again.
	deaths atomic.Int32
	// trouble is why it could not be started the last time.
	trouble error
}

func (r *replica) lookAfter(ctx context.Context) {
	for pause(ctx) {
		r.mu.Lock()
		if !r.Running() {
			if r.trouble = r.restart(ctx); r.trouble == nil {
				r.deaths.Add(1)
			}
		}
		r.mu.Unlock()
	}
}

// restart starts a process that is not there. Nobody waits for the lease of a dead leader to run out: how long that takes
// is tested elsewhere, and here it would be most of the time.
func (r *replica) restart(ctx context.Context) error {
	if err := r.Kill(); err != nil { // It takes note that the process has ended.
		return err
	}
	if r.leads {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "verity-sync-controller", Namespace: r.environment.Namespace}}
		if err := r.environment.Kubernetes.Delete(ctx, lease); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return r.Start(ctx)
}

// end kills the process.
func (r *replica) end() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Kill()
}

// endControllers kills all controllers, so that whoever comes back has to begin to lead.
func (e *environment) endControllers() error {
	var failures []error
	for _, r := range e.replicas {
		if r.leads {
			e.expected++
			failures = append(failures, r.end())
		}
	}
	return errors.Join(failures...)
}

// deaths returns how often processes were started again.
func (e *environment) deaths() (n int) {
	for _, r := range e.replicas {
		n += int(r.deaths.Load())
	}
	return n
}

// watch notes what is shown as Done.
func (env *environment) watch(ctx context.Context) {
	for pause(ctx) {
		stream, err := env.Kubernetes.Watch(ctx, &v1alpha1.WebhookEventList{}, client.InNamespace(env.Namespace))
		if err != nil {
			continue
		}
		for change := range stream.ResultChan() {
			if e, ok := change.Object.(*v1alpha1.WebhookEvent); ok && e.Status.Phase == v1alpha1.PhaseDone {
				env.mu.Lock()
				env.done[e.Spec.EventID] = true
				env.mu.Unlock()
			}
		}
	}
}

func (e *environment) shownDone(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.done[id]
}

// pause waits for a tick, and reports whether ctx lasts.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(tick):
		return true
	}
}
