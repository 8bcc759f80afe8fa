// Package capacity tests what becomes of verity-sync when there is much to do: a backlog, a destination that is down with thousands of
// events behind it, an entity with a long queue. Real processes on a real API server and a real Postgres, with simulators around them.
//
// By themselves the tests do as much as a busy machine of two cores does in a minute. With CAPACITY=full they do as much as the promises
// speak of: `make capacity`.
package capacity

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

const (
	receivers = 2
	// batch is by how much each receiver may exceed MAX_LIVE_EVENTS.
	batch = 100

	// startTimeout leaves time to build verity-sync.
	startTimeout = 10 * time.Minute
	// patience is for what should happen soon, on a machine that has much else to do.
	patience = 2 * time.Minute
	tick     = 100 * time.Millisecond
	// maxRSS is what a process may take, with the race detector, which makes it several times as much.
	maxRSS = 768 << 20
)

// full is true where the tests take as long as they need.
var full = os.Getenv("CAPACITY") == "full"

// either returns what a short test does, or a full one.
func either(short, all int) int {
	if full {
		return all
	}
	return short
}

// shared has the servers and the program that the systems of the tests run on, and no processes of verity-sync itself.
var shared struct {
	sync.Once
	*system.System
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.System != nil {
		if err := shared.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "capacity:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// machine is held by the test that runs: they measure, and would measure each other.
var machine sync.Mutex

// start starts a system on the shared servers, with two receivers and a controller. If the test fails, the ends of its logs are shown.
func start(t *testing.T, env map[string]string) *system.System {
	t.Helper()
	machine.Lock()
	t.Cleanup(machine.Unlock)
	shared.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		shared.System, shared.err = system.Start(ctx, system.Options{
			DatabaseURL: os.Getenv(testenv.DatabaseURLVariable), Kubeconfig: os.Getenv(testenv.KubeconfigVariable),
		})
	})
	require.NoError(t, shared.err)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	s, err := system.Start(ctx, system.Options{
		Receivers: receivers, Controllers: 1, Env: env,
		Binary: shared.Binary, DatabaseURL: shared.DatabaseURL, Kubeconfig: shared.Kubeconfig,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range slices.Concat(s.Receivers, s.Controllers) {
				const most = 16 << 10
				log, err := p.Log()
				t.Logf("%s (%v)\n%s", p.Name, err, log[max(0, len(log)-most):])
			}
		}
		assert.NoError(t, s.Close())
	})
	return s
}

func exec(t *testing.T, s *system.System, query string, args ...any) {
	t.Helper()
	_, err := s.Database.Exec(t.Context(), query, args...)
	require.NoError(t, err)
}

// value returns what a query with one column and one row says.
func value[T any](t *testing.T, s *system.System, query string, args ...any) T {
	t.Helper()
	var v T
	require.NoError(t, s.Database.QueryRow(t.Context(), query, args...).Scan(&v))
	return v
}

// sample is what is seen of a system at a time.
type sample struct {
	at time.Duration
	// due are the unfinished WebhookEvents that the database has as due, live those that the API server has, finished or not, and
	// parked the rows that are.
	due, live, finished, parked int
	// done is how many rows are.
	done int
	// rss is the memory of each process, in bytes.
	rss map[string]int
}

// house is the store's own count of what is due, put here in words of its own.
const house = `
SELECT count(*) FROM webhook_events e
WHERE e.status IN ('pending', 'processing') AND e.dispatched_at IS NOT NULL AND NOT e.suspended
  AND (e.next_attempt_at IS NULL OR e.next_attempt_at <= now())
  AND NOT EXISTS (
      SELECT 1 FROM webhook_events o
      WHERE o.ordering_key = e.ordering_key AND o.status IN ('pending', 'processing') AND NOT o.suspended
        AND (o.received_at, o.id) < (e.received_at, e.id))`

func look(t *testing.T, s *system.System, began time.Time) sample {
	t.Helper()
	p := sample{at: time.Since(began), rss: map[string]int{}}
	p.due = value[int](t, s, house)
	p.parked = value[int](t, s, `SELECT count(*) FROM webhook_events WHERE parked AND dispatched_at IS NULL AND status = 'pending'`)
	p.done = value[int](t, s, `SELECT count(*) FROM webhook_events WHERE status = 'done'`)
	var list v1alpha1.WebhookEventList
	require.NoError(t, s.Kubernetes.List(t.Context(), &list, client.InNamespace(s.Namespace)))
	for i := range list.Items {
		if list.Items[i].Status.Phase.Finished() {
			p.finished++
		} else {
			p.live++
		}
	}
	for _, process := range slices.Concat(s.Receivers, s.Controllers) {
		if process.Running() {
			resident, err := proc.Memory(process.PID(), "VmRSS")
			require.NoError(t, err)
			p.rss[process.Name] = int(resident)
		}
	}
	return p
}

// watch takes a sample a second until one is what is wanted, and returns them.
func watch(t *testing.T, s *system.System, limit time.Duration, until func(sample) bool) []sample {
	t.Helper()
	began := time.Now()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var samples []sample
	for {
		p := look(t, s, began)
		samples = append(samples, p)
		if until(p) {
			return samples
		}
		require.Less(t, time.Since(began), limit, "%+v", p)
		<-ticker.C
	}
}

// most returns the greatest of what of says.
func most(samples []sample, of func(sample) int) int {
	greatest := 0
	for _, p := range samples {
		greatest = max(greatest, of(p))
	}
	return greatest
}

// assertMemoryIsFlat compares what each process took in the second quarter of the time, when it has got going, with the last.
func assertMemoryIsFlat(t *testing.T, samples []sample) {
	t.Helper()
	const (
		growth = 1.3
		slack  = 32 << 20
	)
	for process := range samples[0].rss {
		of := func(p sample) int { return p.rss[process] }
		early := most(samples[:max(1, len(samples)/2)], of)
		late := most(samples[len(samples)*3/4:], of)
		t.Logf("memory of %s: %d MiB in the first half, %d MiB in the last quarter", process, early>>20, late>>20)
		assert.LessOrEqual(t, late, maxRSS, process)
		assert.LessOrEqual(t, float64(late), float64(early)*growth+slack, "%s grows with the time", process)
	}
}
