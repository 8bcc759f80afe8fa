package controllers_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/relay"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// timeout is how long a test waits for what should happen at once, on a machine that has much else to do.
const timeout = 2 * time.Minute

// watchTolerance is how long a watch may fail before the controllers of tests are not ready.
const watchTolerance = 100 * time.Millisecond

// suite is a database, a namespace, a relay and a controller of the test's own, with operations that do as the test says.
type suite struct {
	t         *testing.T
	db        *store.Store
	writer    *store.Writer
	client    client.WithWatch
	namespace string
	cluster   *rest.Config
	scheme    *runtime.Scheme

	forward, sync *scripted
	settings      settings
	// registry and health are those of the controller that was started last.
	registry *prometheus.Registry
	health   *controllers.WatchHealth
	stop     context.CancelFunc
	fenced   chan error
	// mark outlives controllers, as the lease does; rolledBack has what they have found.
	mark       *controllers.Mark
	rolledBack chan [2]time.Time
}

type settings struct {
	backoff       controllers.Backoff
	ttl           controllers.TTL
	finishedLimit int
	maxWaiting    int
	prune, audit  time.Duration
	recheck       time.Duration
	retention     time.Duration
	// heartbeat is how often the controller beats; it does not where it is zero.
	heartbeat time.Duration
	// outages says what is down; without it nothing is let go before its time.
	outages  controllers.Outages
	capacity controllers.Capacity
	paused   bool
	// cluster is the shared API server where it is nil; watchAs whom the controller acts as there, an administrator where it is nil.
	cluster, watchAs *rest.Config
}

func newSuite(t *testing.T, change ...func(*settings)) *suite {
	t.Helper()
	s := &suite{
		t: t, scheme: runtime.NewScheme(), fenced: make(chan error, 10), mark: &controllers.Mark{}, rolledBack: make(chan [2]time.Time, 10),
		forward: &scripted{name: store.OperationForward, direction: store.DirectionToVerity},
		sync:    &scripted{name: store.OperationLead, direction: store.DirectionToVerity, result: v1alpha1.ResultLeadUpdated},
		settings: settings{
			backoff: controllers.Backoff{Base: time.Millisecond, Max: 10 * time.Millisecond, MaxAttempts: 4},
			ttl:     controllers.TTL{Done: time.Hour, Error: time.Hour}, finishedLimit: 100, maxWaiting: 100,
			prune: 50 * time.Millisecond, audit: time.Hour,
		},
	}
	for _, f := range change {
		f(&s.settings)
	}
	if s.cluster = s.settings.cluster; s.cluster == nil {
		s.cluster = testenv.Kubernetes(t)
	}
	s.namespace = testenv.Namespace(t, s.cluster)
	require.NoError(t, clientgoscheme.AddToScheme(s.scheme))
	require.NoError(t, v1alpha1.AddToScheme(s.scheme))
	var err error
	s.client, err = client.NewWithWatch(s.cluster, client.Options{Scheme: s.scheme})
	require.NoError(t, err)

	url := testenv.Postgres(t)
	_, err = store.Migrate(t.Context(), url, store.MigrateOptions{Normalise: func([]byte, time.Time) event.Event { return event.Event{} }})
	require.NoError(t, err)
	s.db, err = store.Open(t.Context(), url, store.Options{Name: t.Name(), MaxConns: 8})
	require.NoError(t, err)
	t.Cleanup(s.db.Close)
	s.startRelay()
	if !s.settings.paused {
		s.start()
	}
	return s
}

func (s *suite) startRelay() {
	r, err := relay.New(relay.Options{
		Rows: s.db, Creator: s.client, Namespace: s.namespace, Identity: "test", Poll: 50 * time.Millisecond, Grace: 300 * time.Millisecond,
		Log: testr.New(s.t),
	})
	require.NoError(s.t, err)
	s.background(func(ctx context.Context) error { return r.Run(ctx) })
	s.writer = store.NewWriter(s.db, store.WriterOptions{Committed: r.Offer})
	s.t.Cleanup(s.writer.Close)
}

// background runs f until the test ends, or until what is returned is called.
func (s *suite) background(f func(context.Context) error) context.CancelFunc {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f(ctx); err != nil {
			s.t.Errorf("in the background: %v", err)
		}
	})
	stop := func() { cancel(); wg.Wait() }
	s.t.Cleanup(stop)
	return stop
}

// start starts a controller, which takes over from one that was started before.
func (s *suite) start() {
	s.registry = prometheus.NewRegistry()
	measures := metrics.NewController(s.registry)
	s.health = controllers.NewWatchHealth(measures, testr.New(s.t), watchTolerance)
	mgr, err := ctrl.NewManager(cmp.Or(s.settings.watchAs, s.cluster), ctrl.Options{
		Scheme: s.scheme, Logger: testr.NewWithOptions(s.t, testr.Options{}),
		Cache: cache.Options{
			DefaultNamespaces: map[string]cache.Config{s.namespace: {}}, NewInformer: s.health.NewInformer,
		},
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		Controller:              config.Controller{SkipNameValidation: ptr.To(true)},
		GracefulShutdownTimeout: ptr.To(5 * time.Second),
	})
	require.NoError(s.t, err)
	s.health.Cache = mgr.GetCache()
	require.NoError(s.t, mgr.Add(s.health))
	r := &controllers.WebhookEventReconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Rows: s.db, Plan: s, Recorder: mgr.GetEventRecorder("verity-sync"), Backoff: s.settings.backoff,
		TTL: s.settings.ttl, Metrics: measures, Retention: s.settings.retention,
		Identity: s.t.Name(), Concurrency: 4, Recheck: s.settings.recheck, OnFenced: func(err error) { s.fenced <- err },
	}
	require.NoError(s.t, r.SetupWithManager(mgr))
	require.NoError(s.t, mgr.Add(&controllers.Housekeeper{
		Reconciler: r, Rows: s.db, Namespace: s.namespace, FinishedLimit: s.settings.finishedLimit, MaxWaiting: s.settings.maxWaiting,
		PruneEvery: s.settings.prune, AuditEvery: s.settings.audit, Grace: time.Millisecond, Log: testr.New(s.t),
	}))
	if s.settings.heartbeat != 0 {
		require.NoError(s.t, mgr.Add(&controllers.Heartbeat{
			Reconciler: r, Rows: s.db, Mark: s.mark, Every: s.settings.heartbeat, Log: testr.New(s.t),
			RolledBack: func(from, to time.Time) { s.rolledBack <- [2]time.Time{from, to} },
		}))
	}
	if s.settings.outages != nil {
		require.NoError(s.t, mgr.Add(&controllers.Releaser{
			Reconciler: r, Rows: s.db, Namespace: s.namespace, Outages: s.settings.outages, Every: 20 * time.Millisecond, Batch: 5, Log: testr.New(s.t),
			Capacity: s.settings.capacity,
		}))
	}
	s.stop = s.background(mgr.Start)
}

// Plan implements controllers.Planner.
func (s *suite) Plan(e *store.Attempt) controllers.Plan {
	if e.Event.Type == event.TypeUnparseable {
		return controllers.Plan{Unparseable: "body is not valid JSON at byte 7, in line 1"}
	}
	return controllers.Plan{Forward: s.forward, Syncs: []operation.Operation{s.sync}}
}

// scripted is an operation that does as the test says.
type scripted struct {
	name, direction, result string

	mu       sync.Mutex
	answer   func(call int, e *store.Attempt) operation.Outcome
	attempts []*store.Attempt
}

func (o *scripted) Name() string      { return o.name }
func (o *scripted) Direction() string { return o.direction }

func (o *scripted) Run(_ context.Context, e *store.Attempt) operation.Outcome {
	o.mu.Lock()
	o.attempts = append(o.attempts, e)
	answer, call := o.answer, len(o.attempts)
	o.mu.Unlock()
	if answer == nil {
		return operation.Done(o.result)
	}
	return answer(call, e)
}

// script says what the operation answers to its nth call, counted from 1.
func (o *scripted) script(answer func(call int, e *store.Attempt) operation.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer = answer
}

// calls returns how often the operation was run for an event, or for any where id is uuid.Nil.
func (o *scripted) calls(id uuid.UUID) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, c := range o.attempts {
		if id == uuid.Nil || c.ID == id {
			n++
		}
	}
	return n
}

// failing returns an outcome of the given class.
func failing(class destination.Class, message string) operation.Outcome {
	return operation.Failed(&destination.Error{Destination: "verity-http", Class: class, Message: message})
}

// post commits an event about an appointment, as the receiver would.
func (s *suite) post(entityID string) uuid.UUID {
	s.t.Helper()
	key := uuid.NewString()
	body := fmt.Sprintf(`{"type":"AppointmentCreate","webhookId":%q}`, key)
	r, err := s.writer.Commit(s.t.Context(), store.Delivery{
		Event: event.Event{
			Source: event.SourceGHL, Type: event.TypeAppointmentCreated, EntityType: event.EntityAppointment, EntityID: entityID,
			LocationID: "loc1", ContactID: "contact1", DedupeKey: "ghl:" + key,
			OrderingKey: event.OrderingKeyOf(event.EntityAppointment, entityID),
		},
		Payload: []byte(body), BodyHash: sha256.Sum256([]byte(body)),
	})
	require.NoError(s.t, err)
	return r.ID
}

// get returns the WebhookEvent of an event, nil if there is none.
func (s *suite) get(id uuid.UUID) *v1alpha1.WebhookEvent {
	s.t.Helper()
	var e v1alpha1.WebhookEvent
	err := s.client.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: v1alpha1.NameOf("ghl", id.String())}, &e)
	if client.IgnoreNotFound(err) != nil {
		require.NoError(s.t, err)
	}
	if err != nil {
		return nil
	}
	return &e
}

// until waits until the WebhookEvent of an event is as wanted, and returns it.
func (s *suite) until(id uuid.UUID, what string, is func(*v1alpha1.WebhookEvent) bool) *v1alpha1.WebhookEvent {
	s.t.Helper()
	var last *v1alpha1.WebhookEvent
	if !eventually(func() bool { last = s.get(id); return last != nil && is(last) }) {
		s.t.Fatalf("WebhookEvent of %s: waited in vain until it is %s; it is %+v", id, what, last)
	}
	return last
}

func (s *suite) untilPhase(id uuid.UUID, phase v1alpha1.WebhookEventPhase) *v1alpha1.WebhookEvent {
	s.t.Helper()
	return s.until(id, string(phase), func(e *v1alpha1.WebhookEvent) bool { return e.Status.Phase == phase })
}

func (s *suite) untilReason(id uuid.UUID, reason string) *v1alpha1.WebhookEvent {
	s.t.Helper()
	return s.until(id, reason, func(e *v1alpha1.WebhookEvent) bool { return readyReason(e) == reason })
}

func eventually(is func() bool) bool { return within(timeout, is) }

func within(timeout time.Duration, is func() bool) bool {
	deadline := time.Now().Add(timeout)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for time.Now().Before(deadline) {
		if is() {
			return true
		}
		<-ticker.C
	}
	return false
}

// change edits a WebhookEvent as a user would.
func (s *suite) change(id uuid.UUID, edit func(*v1alpha1.WebhookEvent)) {
	s.t.Helper()
	before := s.get(id)
	require.NotNil(s.t, before)
	after := before.DeepCopy()
	edit(after)
	require.NoError(s.t, s.client.Patch(s.t.Context(), after, client.MergeFrom(before)))
}

// value returns what a query with one column and one row says.
func value[T any](s *suite, sql string, args ...any) T {
	s.t.Helper()
	var v T
	require.NoError(s.t, s.db.Pool().QueryRow(s.t.Context(), sql, args...).Scan(&v))
	return v
}

func (s *suite) exec(sql string, args ...any) {
	s.t.Helper()
	_, err := s.db.Pool().Exec(s.t.Context(), sql, args...)
	require.NoError(s.t, err)
}
