// Package crash kills the processes of verity-sync by SIGKILL at every point between two steps (package failpoint has the list), and checks
// what happens to the webhook in progress. It runs two receivers, two controllers, a real API server, a real Postgres, and simulators of
// everything else. The processes are built with the tag failpoints, and are restarted as a kubelet does.
package crash

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

const (
	// retryDelay is how long an event waits after a failed attempt: longer than housekeeping takes to look at it.
	retryDelay = 4 * time.Second
	// doneTTL is long enough for a watch to see a WebhookEvent that is Done before it is deleted.
	doneTTL = 2 * time.Second

	tag = "booked"
)

// environment is a system whose processes die at points that are armed.
type environment struct {
	*system.System
	points   failpoint.Dir
	replicas []*replica
	// expected is how often processes must have died.
	expected int
	// begun counts contacts, each of which has its own phone number.
	begun atomic.Int32

	mu sync.Mutex
	// done are the events that a watch has shown as Done.
	done map[string]bool
}

func TestMain(m *testing.M) { systemtest.Main(m, "-tags=failpoints") }

func startEnvironment(t *testing.T) *environment {
	t.Helper()
	e := &environment{points: failpoint.Dir(t.TempDir()), done: map[string]bool{}}
	e.System = systemtest.Start(t, system.Options{
		Receivers: 2, Controllers: 2, WebhookSink: true,
		Env: map[string]string{
			failpoint.Variable: string(e.points),
			"RETRY_BASE_DELAY": retryDelay.String(), "RETRY_MAX_DELAY": retryDelay.String(),
			"DONE_TTL": doneTTL.String(), "MAX_WAITING_EVENTS": "1", "GHL_APPOINTMENT_TAGS": tag,
		},
	})
	var supervising sync.WaitGroup
	supervised, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(func() {
		stop()
		supervising.Wait()
	})
	for _, p := range slices.Concat(e.Receivers, e.Controllers) {
		r := &replica{Process: p, environment: e, leads: slices.Contains(e.Controllers, p)}
		e.replicas = append(e.replicas, r)
		supervising.Go(func() { r.supervise(supervised) })
	}
	supervising.Go(func() { e.watch(supervised) })
	return e
}

// replica is a process that is restarted when it has ended, as a kubelet does.
type replica struct {
	*system.Process
	environment *environment
	// leads says that it is a controller.
	leads bool
	// mu is locked while the process is ended or started.
	mu sync.Mutex
	// deaths counts the restarts.
	deaths atomic.Int32
	// trouble is the error of the last restart.
	trouble error
}

func (r *replica) supervise(ctx context.Context) {
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

// restart starts a process that has ended. It deletes the lease of a dead leader instead of waiting until it expires: how long that takes is
// tested elsewhere, and here it would be most of the time.
func (r *replica) restart(ctx context.Context) error {
	if err := r.Kill(); err != nil { // It records that the process has ended.
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

// endControllers kills all controllers, so that a restarted one has to become the leader.
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

// watch records which events are shown as Done.
func (e *environment) watch(ctx context.Context) {
	for pause(ctx) {
		stream, err := e.Kubernetes.Watch(ctx, &v1alpha1.WebhookEventList{}, client.InNamespace(e.Namespace))
		if err != nil {
			continue
		}
		for change := range stream.ResultChan() {
			if object, ok := change.Object.(*v1alpha1.WebhookEvent); ok && object.Status.Phase == v1alpha1.PhaseDone {
				e.mu.Lock()
				e.done[object.Spec.EventID] = true
				e.mu.Unlock()
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
	case <-time.After(systemtest.Tick):
		return true
	}
}
