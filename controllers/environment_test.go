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
	"github.com/dfmiddleware/verity-sync/internal/plan"
	"github.com/dfmiddleware/verity-sync/internal/relay"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// timeout is how long a test waits for a condition that holds soon, on a machine under load.
const timeout = 2 * time.Minute

// watchTolerance is how long a watch may fail before a controller is not ready.
const watchTolerance = 100 * time.Millisecond

// environment is a separate database, namespace, relay and controller for one test, with scripted operations.
type environment struct {
	t         *testing.T
	db        *store.Store
	writer    *store.Writer
	client    client.WithWatch
	namespace string
	cluster   *rest.Config
	scheme    *runtime.Scheme

	forward, sync *scripted
	settings      settings
	// registry and health belong to the controller that was started last.
	registry *prometheus.Registry
	health   *controllers.WatchHealth
	// log has the lines of the reconciler and the Housekeeper of all controllers.
	log    logLines
	stop   context.CancelFunc
	fenced chan error
	// mark outlives controllers, as the lease does. rolledBack receives the rollbacks that they detect.
	mark       *controllers.Mark
	rolledBack chan [2]time.Time
}

type settings struct {
	// more are operations that run after the forward and the sync.
	more          []operation.Operation
	backoff       controllers.Backoff
	ttl           controllers.TTL
	finishedLimit int
	maxWaiting    int
	prune, audit  time.Duration
	recheck       time.Duration
	retention     time.Duration
	// heartbeat is the interval of the heartbeat; zero disables it.
	heartbeat time.Duration
	// outages returns the destinations that are down. If it is nil, there is no Releaser.
	outages  controllers.Outages
	capacity controllers.Capacity
	paused   bool
	// noForward is why events are not forwarded; if it is empty, they are.
	noForward string
	// cluster is the API server, the shared one if it is nil. watchAs is the user of the controller there, an administrator if it is nil.
	cluster, watchAs *rest.Config
}

func newEnvironment(t *testing.T, change ...func(*settings)) *environment {
	t.Helper()
	env := &environment{
		t: t, scheme: runtime.NewScheme(), fenced: make(chan error, 10), mark: &controllers.Mark{}, rolledBack: make(chan [2]time.Time, 10),
		forward: &scripted{spec: operation.ForwardSpec},
		sync:    &scripted{spec: operation.LeadSpec, result: v1alpha1.ResultLeadUpdated},
		settings: settings{
			backoff: controllers.Backoff{Base: time.Millisecond, Max: 10 * time.Millisecond, MaxAttempts: 4},
			ttl:     controllers.TTL{Done: time.Hour, Error: time.Hour}, finishedLimit: 100, maxWaiting: 100,
			prune: 50 * time.Millisecond, audit: time.Hour,
		},
	}
	for _, f := range change {
		f(&env.settings)
	}
	if env.cluster = env.settings.cluster; env.cluster == nil {
		env.cluster = testenv.Kubernetes(t)
	}
	env.namespace = testenv.Namespace(t, env.cluster)
	require.NoError(t, clientgoscheme.AddToScheme(env.scheme))
	require.NoError(t, v1alpha1.AddToScheme(env.scheme))
	var err error
	env.client, err = client.NewWithWatch(env.cluster, client.Options{Scheme: env.scheme})
	require.NoError(t, err)

	url := testenv.Postgres(t)
	_, err = store.Migrate(t.Context(), url, store.MigrateOptions{Normalise: func([]byte, time.Time) event.Event { return event.Event{} }})
	require.NoError(t, err)
	env.db, err = store.Open(t.Context(), url, store.Options{Name: t.Name(), MaxConns: 8})
	require.NoError(t, err)
	t.Cleanup(env.db.Close)
	env.startRelay()
	if !env.settings.paused {
		env.start()
	}
	return env
}

func (env *environment) startRelay() {
	r, err := relay.New(relay.Options{
		Rows: env.db, Creator: env.client, Namespace: env.namespace, Identity: "test", Poll: 50 * time.Millisecond, Grace: 300 * time.Millisecond,
		Log: testr.New(env.t),
	})
	require.NoError(env.t, err)
	env.background(func(ctx context.Context) error { return r.Run(ctx) })
	env.writer = store.NewWriter(env.db, store.WriterOptions{Committed: r.Offer})
	env.t.Cleanup(env.writer.Close)
}

// background runs f until the test ends, or until the returned function is called.
func (env *environment) background(f func(context.Context) error) context.CancelFunc {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f(ctx); err != nil {
			env.t.Errorf("background: %v", err)
		}
	})
	stop := func() { cancel(); wg.Wait() }
	env.t.Cleanup(stop)
	return stop
}

// start starts a controller.
func (env *environment) start() {
	env.registry = prometheus.NewRegistry()
	measures := metrics.NewController(env.registry, plan.Specs())
	env.health = controllers.NewWatchHealth(measures, testr.New(env.t), watchTolerance)
	mgr, err := ctrl.NewManager(cmp.Or(env.settings.watchAs, env.cluster), ctrl.Options{
		Scheme: env.scheme, Logger: env.log.logger(env.t),
		Cache: cache.Options{
			DefaultNamespaces: map[string]cache.Config{env.namespace: {}}, NewInformer: env.health.NewInformer,
		},
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		Controller:              config.Controller{SkipNameValidation: new(true)},
		GracefulShutdownTimeout: new(5 * time.Second),
	})
	require.NoError(env.t, err)
	env.health.Cache = mgr.GetCache()
	require.NoError(env.t, mgr.Add(env.health))
	r := &controllers.WebhookEventReconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Rows: env.db, Plan: env, Recorder: mgr.GetEventRecorder("verity-sync"), Backoff: env.settings.backoff,
		TTL: env.settings.ttl, Metrics: measures, Retention: env.settings.retention,
		Identity: env.t.Name(), Concurrency: 4, Recheck: env.settings.recheck, OnFenced: func(err error) { env.fenced <- err },
	}
	require.NoError(env.t, r.SetupWithManager(mgr))
	require.NoError(env.t, mgr.Add(&controllers.Housekeeper{
		Reconciler: r, Rows: env.db, Namespace: env.namespace, FinishedLimit: env.settings.finishedLimit, MaxWaiting: env.settings.maxWaiting,
		PruneEvery: env.settings.prune, AuditEvery: env.settings.audit, Grace: time.Millisecond, Log: env.log.logger(env.t),
	}))
	if env.settings.heartbeat != 0 {
		require.NoError(env.t, mgr.Add(&controllers.Heartbeat{
			Reconciler: r, Rows: env.db, Mark: env.mark, Every: env.settings.heartbeat, Log: testr.New(env.t),
			RolledBack: func(from, to time.Time) { env.rolledBack <- [2]time.Time{from, to} },
		}))
	}
	if env.settings.outages != nil {
		require.NoError(env.t, mgr.Add(&controllers.Releaser{
			Reconciler: r, Rows: env.db, Namespace: env.namespace, Outages: env.settings.outages, Capacity: env.settings.capacity,
			Every: 20 * time.Millisecond, Batch: 5, Log: testr.New(env.t),
		}))
	}
	env.stop = env.background(mgr.Start)
}

// Plan implements controllers.Planner.
func (env *environment) Plan(e *store.Attempt) operation.Plan {
	if e.Event.Type == event.TypeUnparseable {
		return operation.Plan{Unparseable: "body is not valid JSON at byte 7, in line 1"}
	}
	plan := operation.Plan{Operations: append([]operation.Operation{env.sync}, env.settings.more...), NoForward: env.settings.noForward}
	if plan.NoForward == "" {
		plan.Operations = append([]operation.Operation{env.forward}, plan.Operations...)
	}
	return plan
}

// scripted is an operation whose outcomes the test sets.
type scripted struct {
	spec   operation.Spec
	result string

	mu       sync.Mutex
	answer   func(call int, e *store.Attempt) operation.Outcome
	attempts []*store.Attempt
}

func (o *scripted) Spec() operation.Spec { return o.spec }

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

// script sets the outcomes of the operation. call counts from 1.
func (o *scripted) script(answer func(call int, e *store.Attempt) operation.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer = answer
}

// calls returns how often the operation ran for an event, or for all events if id is uuid.Nil.
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

// deliver commits an event of an appointment, as the receiver does.
func (env *environment) deliver(entityID string) uuid.UUID {
	env.t.Helper()
	key := uuid.NewString()
	body := fmt.Sprintf(`{"type":"AppointmentCreate","webhookId":%q}`, key)
	r, err := env.writer.Commit(env.t.Context(), store.Delivery{
		Event: event.Event{
			Source: event.SourceGHL, Type: event.TypeAppointmentCreated, EntityType: event.EntityAppointment, EntityID: entityID,
			LocationID: "loc1", ContactID: "contact1", DedupeKey: "ghl:" + key,
			OrderingKey: event.OrderingKeyOf(event.EntityAppointment, entityID),
		},
		Payload: []byte(body), BodyHash: sha256.Sum256([]byte(body)),
	})
	require.NoError(env.t, err)
	return r.ID
}

// get returns the WebhookEvent of an event, nil if there is none.
func (env *environment) get(id uuid.UUID) *v1alpha1.WebhookEvent {
	env.t.Helper()
	var e v1alpha1.WebhookEvent
	err := env.client.Get(env.t.Context(), client.ObjectKey{Namespace: env.namespace, Name: v1alpha1.NameOf("ghl", id.String())}, &e)
	if client.IgnoreNotFound(err) != nil {
		require.NoError(env.t, err)
	}
	if err != nil {
		return nil
	}
	return &e
}

// waitUntil waits until is holds for the WebhookEvent of an event, and returns the WebhookEvent.
func (env *environment) waitUntil(id uuid.UUID, what string, is func(*v1alpha1.WebhookEvent) bool) *v1alpha1.WebhookEvent {
	env.t.Helper()
	var last *v1alpha1.WebhookEvent
	if !waitFor(func() bool { last = env.get(id); return last != nil && is(last) }) {
		env.t.Fatalf("WebhookEvent of %s: timed out waiting until it is %s; it is %+v", id, what, last)
	}
	return last
}

func (env *environment) waitForPhase(id uuid.UUID, phase v1alpha1.WebhookEventPhase) *v1alpha1.WebhookEvent {
	env.t.Helper()
	return env.waitUntil(id, string(phase), func(e *v1alpha1.WebhookEvent) bool { return e.Status.Phase == phase })
}

func (env *environment) waitForReason(id uuid.UUID, reason string) *v1alpha1.WebhookEvent {
	env.t.Helper()
	return env.waitUntil(id, reason, func(e *v1alpha1.WebhookEvent) bool { return readyReason(e) == reason })
}

func waitFor(is func() bool) bool { return waitForUpTo(timeout, is) }

func waitForUpTo(timeout time.Duration, is func() bool) bool {
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

// edit changes a WebhookEvent as a user does.
func (env *environment) edit(id uuid.UUID, edit func(*v1alpha1.WebhookEvent)) {
	env.t.Helper()
	before := env.get(id)
	require.NotNil(env.t, before)
	after := before.DeepCopy()
	edit(after)
	require.NoError(env.t, env.client.Patch(env.t.Context(), after, client.MergeFrom(before)))
}

// query returns the result of a query with one column and one row.
func query[T any](env *environment, sql string, args ...any) T {
	env.t.Helper()
	var v T
	require.NoError(env.t, env.db.Pool().QueryRow(env.t.Context(), sql, args...).Scan(&v))
	return v
}

func (env *environment) exec(sql string, args ...any) {
	env.t.Helper()
	_, err := env.db.Pool().Exec(env.t.Context(), sql, args...)
	require.NoError(env.t, err)
}
