// Package capacity tests verity-sync under load: a backlog, a destination that is down while thousands of events wait for it, an entity with a
// long queue. It runs real processes on a real API server and a real Postgres, with simulators around them.
//
// By default the tests do as much as a busy machine of two cores does in a minute. With CAPACITY=full they do as much as the promises say:
// `make capacity`.
package capacity

import (
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

const (
	receivers = 2
	// batch is how far each receiver may exceed MAX_LIVE_EVENTS.
	batch = 100
	// maxRSS is how much memory a process may use with the race detector, which multiplies it.
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

func TestMain(m *testing.M) { systemtest.Main(m) }

// machine is locked by the test that runs: tests that ran at the same time would measure each other.
var machine sync.Mutex

// start starts a system on the shared servers, with two receivers and a controller.
func start(t *testing.T, env map[string]string) *system.System {
	t.Helper()
	machine.Lock()
	t.Cleanup(machine.Unlock)
	return systemtest.Start(t, system.Options{Receivers: receivers, Controllers: 1, Env: env})
}

func exec(t *testing.T, s *system.System, query string, args ...any) {
	t.Helper()
	_, err := s.Database.Exec(t.Context(), query, args...)
	require.NoError(t, err)
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

// dueEvents counts the events that are due, independently of the store's own count.
const dueEvents = `
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
	p.due = systemtest.Value[int](t, s, dueEvents)
	p.parked = systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE parked AND dispatched_at IS NULL AND status = 'pending'`)
	p.done = systemtest.Value[int](t, s, `SELECT count(*) FROM webhook_events WHERE status = 'done'`)
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

// watch takes a sample a second until one is as wanted, and returns them.
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

// most returns the greatest value of of.
func most(samples []sample, of func(sample) int) int {
	greatest := 0
	for _, p := range samples {
		greatest = max(greatest, of(p))
	}
	return greatest
}

// assertMemoryIsFlat compares the memory of each process in the first half of the time with that in the last quarter.
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
