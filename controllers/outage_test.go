package controllers_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/plan"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// memoryRows has rows in memory, because the clock of Postgres cannot be changed. Methods that the test does not need panic.
type memoryRows struct {
	controllers.EventRows

	mu   sync.Mutex
	rows map[uuid.UUID]*memoryRow
	// claims counts the attempts.
	claims int
}

type memoryRow struct {
	status   store.Status
	attempts int32
	next     *time.Time
	finished *time.Time
}

// claimed returns how many attempts were made.
func (m *memoryRows) claimed() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.claims
}

func (*memoryRows) AcquireTerm(context.Context, string) (int64, error) { return 1, nil }

func (m *memoryRows) Load(_ context.Context, id uuid.UUID) (store.EventState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := m.rows[id]
	state := store.EventState{
		ID: id, Source: event.SourceGHL, Status: row.status, Attempts: row.attempts, NextAttemptAt: row.next, ProcessedAt: row.finished,
	}
	if row.next != nil {
		state.DueIn = time.Until(*row.next)
	}
	return state, nil
}

func (m *memoryRows) Claim(_ context.Context, id uuid.UUID, term int64) (*store.Attempt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := m.rows[id]
	if row.status.Finished() || row.next != nil && time.Until(*row.next) > 0 {
		return nil, store.ErrNotClaimable
	}
	m.claims++
	row.status, row.next = store.StatusProcessing, nil
	row.attempts++
	return &store.Attempt{
		ID: id, Event: event.Event{Source: event.SourceGHL, Type: "note.created", EntityType: "note"}, Payload: []byte(`{}`),
		Headers: map[string]string{"Content-Type": "application/json"}, ReceivedAt: time.Now(), StartedAt: time.Now(), ClaimedAt: time.Now(),
		Attempts: row.attempts, Forward: true, Term: term,
	}, nil
}

func (m *memoryRows) FinishAttempt(_ context.Context, c *store.Attempt, f store.AttemptResult) (store.RecordedResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := m.rows[c.ID]
	now := time.Now()
	row.status, row.attempts, row.next, row.finished = f.Status, f.Attempts, nil, nil
	if f.Status.Finished() {
		row.finished = &now
	} else {
		next := now.Add(f.Delay)
		row.next = &next
	}
	return store.RecordedResult{Status: row.status, Attempts: row.attempts, NextAttemptAt: row.next, ProcessedAt: row.finished}, nil
}

// fakeNetwork is the transport of the calls of Verity. It records their times.
type fakeNetwork struct {
	latency time.Duration

	mu             sync.Mutex
	down           bool
	calls          []time.Time
	inFlight, most int
}

func (n *fakeNetwork) RoundTrip(*http.Request) (*http.Response, error) {
	n.mu.Lock()
	n.calls = append(n.calls, time.Now())
	n.inFlight++
	n.most = max(n.most, n.inFlight)
	down := n.down
	n.mu.Unlock()
	time.Sleep(n.latency)
	n.mu.Lock()
	n.inFlight--
	n.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{}`))}, nil
}

// since returns the number of calls since start, and the maximum number in a second.
func (n *fakeNetwork) since(start time.Time) (total, inASecond int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	perSecond := map[int]int{}
	for _, at := range n.calls {
		if !at.Before(start) {
			total++
			second := int(at.Sub(start) / time.Second)
			perSecond[second]++
			inASecond = max(inASecond, perSecond[second])
		}
	}
	return total, inASecond
}

// setDown makes the destination fail or succeed, and resets the maximum number of calls in flight. It returns the time.
func (n *fakeNetwork) setDown(down bool) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down, n.most = down, 0
	return time.Now()
}

// forwardOnly implements controllers.Planner.
type forwardOnly struct{ forward operation.Operation }

// Plan implements controllers.Planner.
func (p forwardOnly) Plan(*store.Attempt) operation.Plan {
	return operation.Plan{Operations: []operation.Operation{p.forward}}
}

const (
	outageEvents  = 12
	outageWorkers = 8
	outageLasts   = 2 * time.Hour
	// breakerTrips and breakerTries are defaults of the breaker: the failures that open it, and the interval of its tries.
	breakerTrips = 5
	breakerTries = 10 * time.Second
	// longestWait is the maximum wait that the breaker requests, plus the spread of a half.
	longestWait = 5 * time.Minute * 3 / 2
)

// The reconciler, its decisions, the breaker and the forwarding client are real. The API server, the rows and the network are in memory, so
// the clock can be fast.
func TestOutageOfHoursCostsFewCallsAndEndsWithoutAStampede(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		verityHTTP := &fakeNetwork{latency: 20 * time.Millisecond}
		began := verityHTTP.setDown(true)
		rows := &memoryRows{rows: map[uuid.UUID]*memoryRow{}}
		r, names := outageReconciler(t, rows, verityHTTP)

		var work sync.WaitGroup
		workers := make(chan struct{}, outageWorkers)
		for _, name := range names {
			work.Go(func() { reconcileUntilFinished(t, r, rows, workers, name) })
		}
		time.Sleep(outageLasts)
		calls, _ := verityHTTP.since(began)
		t.Logf("an outage of %s: %d calls, %d attempts of %d events", outageLasts, calls, rows.claimed(), outageEvents)
		assert.LessOrEqual(t, calls, breakerTrips+outageWorkers+int(outageLasts/breakerTries))
		assert.LessOrEqual(t, rows.claimed(), outageEvents*int(outageLasts/(longestWait/3*2)+20), "waiting events cost few attempts")

		ended := verityHTTP.setDown(false)
		work.Wait()
		took := time.Since(ended)
		calls, inASecond := verityHTTP.since(ended)
		t.Logf("after it: %d calls within %s, at most %d in a second and %d at a time", calls, took.Round(time.Second), inASecond, verityHTTP.most)
		assert.LessOrEqual(t, took, longestWait+2*breakerTries)
		assert.Equal(t, outageEvents, calls, "each event is forwarded once")
		assert.LessOrEqual(t, verityHTTP.most, outageWorkers)
		spent := 0
		for id, row := range rows.rows {
			assert.Equal(t, store.StatusDone, row.status, id)
			spent += int(row.attempts) - 1
		}
		assert.LessOrEqual(t, spent, breakerTrips, "only the attempts that opened the breaker count")
	})
}

// outageReconciler returns a reconciler and the names of its events.
func outageReconciler(t *testing.T, rows *memoryRows, verityHTTP *fakeNetwork) (*controllers.WebhookEventReconciler, []client.ObjectKey) {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	cluster := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.WebhookEvent{}).Build()
	var names []client.ObjectKey
	for range outageEvents {
		id := uuid.New()
		e := &v1alpha1.WebhookEvent{
			ObjectMeta: metav1.ObjectMeta{Namespace: "outage", Name: v1alpha1.NameOf(event.SourceGHL, id.String())},
			Spec:       v1alpha1.WebhookEventSpec{EventID: id.String(), Source: event.SourceGHL},
			Status:     v1alpha1.WebhookEventStatus{Phase: v1alpha1.PhasePending},
		}
		require.NoError(t, cluster.Create(t.Context(), e))
		rows.rows[id] = &memoryRow{status: store.StatusPending}
		names = append(names, client.ObjectKeyFromObject(e))
	}
	forwarder, err := verity.NewForwarder(verity.ForwarderConfig{BaseURL: "http://verity.example.com", Client: &http.Client{Transport: verityHTTP}})
	require.NoError(t, err)
	return &controllers.WebhookEventReconciler{
		Client: cluster, APIReader: cluster, Rows: rows, Recorder: &events.FakeRecorder{}, Metrics: metrics.NewController(prometheus.NewRegistry(), plan.Specs()),
		Plan:    forwardOnly{&operation.Forward{Forwarder: forwarder, Breaker: destination.NewBreaker(verity.HTTPDestination, destination.BreakerOptions{})}},
		Backoff: controllers.Backoff{Base: 5 * time.Second, Max: 15 * time.Minute, MaxAttempts: 12},
		TTL:     controllers.TTL{Done: time.Hour, Error: time.Hour}, Identity: "test", Concurrency: outageWorkers,
		OnFenced: func(err error) { t.Error(err) },
	}, names
}

// reconcileUntilFinished reconciles one event as the controller's queue does: with one worker, and again after RequeueAfter.
func reconcileUntilFinished(t *testing.T, r *controllers.WebhookEventReconciler, rows *memoryRows, workers chan struct{}, name client.ObjectKey) {
	t.Helper()
	id := uuid.MustParse(strings.TrimPrefix(name.Name, event.SourceGHL+"-"))
	for {
		workers <- struct{}{}
		result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: name})
		<-workers
		if err != nil {
			t.Error(err)
			return
		}
		state, err := rows.Load(t.Context(), id)
		if err = errors.Join(err, t.Context().Err()); err != nil || state.Status.Finished() {
			return
		}
		time.Sleep(result.RequeueAfter)
	}
}
