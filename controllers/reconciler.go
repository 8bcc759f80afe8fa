// Package controllers takes WebhookEvents from Pending to Done or Error. The row in Postgres is the source of truth: each step that has an
// effect is claimed and recorded there, under the leader's term. The status of a WebhookEvent is a projection of the row; a lost or late
// status write does no harm.
package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// EventRows is what the reconciler needs of the database.
type EventRows interface {
	// Installation returns the id of the database.
	Installation(ctx context.Context) (string, error)
	AcquireTerm(ctx context.Context, identity string) (int64, error)
	Load(ctx context.Context, id uuid.UUID) (store.EventState, error)
	Claim(ctx context.Context, id uuid.UUID, term int64) (*store.Attempt, error)
	FinishAttempt(ctx context.Context, c *store.Attempt, result store.AttemptResult) (store.RecordedResult, error)
	SetSuspended(ctx context.Context, id uuid.UUID, suspended bool) (next string, err error)
	Replay(ctx context.Context, id uuid.UUID, request string, fromStart bool, term int64) (started bool, err error)
	RefuseReplay(ctx context.Context, id uuid.UUID, request string, term int64) error
	Undispatch(ctx context.Context, ids ...uuid.UUID) (int64, error)
}

// TTL is how long finished WebhookEvents stay.
type TTL struct {
	Done  time.Duration
	Error time.Duration
}

func (t TTL) of(phase v1alpha1.WebhookEventPhase) time.Duration {
	if phase == v1alpha1.PhaseError {
		return t.Error
	}
	return t.Done
}

// WebhookEventReconciler reconciles WebhookEvents. All fields except Concurrency, Recheck and Retention are required.
type WebhookEventReconciler struct {
	Client client.Client
	// APIReader reads from the API server, without the cache.
	APIReader client.Reader
	Rows      EventRows
	Plan      Planner
	Recorder  events.EventRecorder
	Backoff   Backoff
	TTL       TTL
	Metrics   *metrics.Controller
	// Identity names this process, for instance its pod, in the leader's term.
	Identity string
	// Concurrency is the number of workers; 32 by default. A worker mostly waits for networks.
	Concurrency int
	// Recheck is the interval at which suspended events, and events that wait for an older one, are reconciled without a trigger, as a
	// safety net. 30 s by default.
	Recheck time.Duration
	// Retention is how long finished rows stay in the database. If the row of a younger WebhookEvent is missing, its event is lost. With
	// zero, no event counts as lost.
	Retention time.Duration
	// OnFenced is called when the leader is fenced: the database has another term. The process must then end.
	OnFenced func(error)

	term acquiredTerm
	// busy counts the attempts in progress.
	busy  atomic.Int32
	wakes chan event.TypedGenericEvent[types.NamespacedName]
}

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

const (
	// conflictPause is the pause before a reconcile that follows a conflict.
	conflictPause = 100 * time.Millisecond
	// attemptTimeout bounds an attempt. Each call in it has a shorter timeout.
	attemptTimeout = 90 * time.Second
)

// SetupWithManager checks the fields and registers the controller.
func (r *WebhookEventReconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Client == nil || r.APIReader == nil || r.Rows == nil || r.Plan == nil || r.Recorder == nil || r.Metrics == nil ||
		r.Identity == "" || r.OnFenced == nil {
		return errors.New("controllers: Client, APIReader, Rows, Plan, Recorder, Metrics, Identity and OnFenced are required")
	}
	r.Concurrency = cmp.Or(r.Concurrency, 32)
	r.Recheck = cmp.Or(r.Recheck, 30*time.Second)
	r.wakes = make(chan event.TypedGenericEvent[types.NamespacedName], 1024)
	return ctrl.NewControllerManagedBy(mgr).
		Named("webhookevent").
		For(&v1alpha1.WebhookEvent{}, builder.WithPredicates(changes())).
		WatchesRawSource(source.Channel(r.wakes, handler.TypedFuncs[types.NamespacedName, ctrl.Request]{
			GenericFunc: func(_ context.Context, e event.TypedGenericEvent[types.NamespacedName], q queue) {
				q.Add(ctrl.Request{NamespacedName: e.Object})
			},
		})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: r.Concurrency,
			ReconciliationTimeout:   attemptTimeout + 30*time.Second,
			// First come, first served. With priorities, new events would overtake the backlog of the start for ever.
			UsePriorityQueue: new(false),
		}).
		Complete(r)
}

// changes selects the changes that need a reconcile: a new object, a changed spec or annotation, a finished object that is no longer
// finished, the end of a run for which there is a replay request, and the deletion of an unfinished object. The controller's own other
// status writes must not trigger a reconcile, because the queue would then cut the backoff of the event short.
func changes() predicate.Predicate {
	phase := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1alpha1.WebhookEvent)
		after, too := e.ObjectNew.(*v1alpha1.WebhookEvent)
		if !ok || !too || before.Status.Phase.Finished() == after.Status.Phase.Finished() {
			return false
		}
		return !after.Status.Phase.Finished() || after.ReplayRequest() != ""
	}}
	return predicate.And(
		predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, phase),
		predicate.Funcs{DeleteFunc: func(e event.DeleteEvent) bool {
			we, ok := e.Object.(*v1alpha1.WebhookEvent)
			return !ok || !we.Status.Phase.Finished()
		}},
	)
}

// scope is the event of one reconcile.
type scope struct {
	id uuid.UUID
	// object is the WebhookEvent as it was last read or written.
	object *v1alpha1.WebhookEvent
	// claimed is the attempt in progress.
	claimed *store.Attempt
	// refused is true if the API server refuses every status of the object.
	refused bool
}

// step is one step of a reconcile. It returns nil if the next step follows.
type step struct {
	name string
	do   func(ctx context.Context, s *scope) (*ctrl.Result, error)
}

// steps lists the steps of a reconcile. The comment of each says what happens if the process dies right after it.
func (r *WebhookEventReconciler) steps() []step {
	return []step{{"replay", r.replay}, {"expire", r.expire}, {"hold", r.hold}, {"claim", r.claim}, {"attempt", r.attempt}}
}

// Reconcile takes one event through the steps.
func (r *WebhookEventReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	object := &v1alpha1.WebhookEvent{}
	if err := r.Client.Get(ctx, req.NamespacedName, object); apierrors.IsNotFound(err) {
		return ctrl.Result{}, r.recreate(ctx, req.Name)
	} else if err != nil {
		return ctrl.Result{}, fmt.Errorf("read WebhookEvent %s: %w", req.Name, err)
	}
	id, err := r.rowOf(ctx, object)
	if err != nil {
		return ctrl.Result{}, err
	}
	if foreign, err := r.foreign(ctx, id, object); err != nil || foreign {
		return ctrl.Result{}, err
	}
	s := &scope{id: id, object: object}
	for _, step := range r.steps() {
		start := time.Now()
		result, err := step.do(ctx, s)
		r.Metrics.Step(step.name, err != nil && !changedSince(err), time.Since(start))
		if err != nil {
			return r.handleError(id, err)
		}
		if result != nil {
			return *result, nil
		}
	}
	return ctrl.Result{}, nil
}

// handleError returns when to reconcile an event again whose step returned err.
func (r *WebhookEventReconciler) handleError(id uuid.UUID, err error) (ctrl.Result, error) {
	switch {
	case errors.Is(err, store.ErrFenced):
		r.OnFenced(err)
		return ctrl.Result{}, nil
	case apierrors.IsConflict(err):
		// The cache does not have our last write yet, or a user edited the object.
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	case apierrors.IsNotFound(err):
		return ctrl.Result{}, nil // The deletion of the object triggers another reconcile.
	default:
		return ctrl.Result{}, fmt.Errorf("event %s: %w", id, err)
	}
}

// changedSince reports whether err says that the object was changed or deleted since it was read. That is no failure: another reconcile
// follows.
func changedSince(err error) bool { return apierrors.IsConflict(err) || apierrors.IsNotFound(err) }

// recreate requests the WebhookEvent of an unfinished row from the relay, after the object was deleted.
func (r *WebhookEventReconciler) recreate(ctx context.Context, name string) error {
	id, ok := idOf(name)
	if !ok {
		return nil
	}
	n, err := r.Rows.Undispatch(ctx, id)
	if n > 0 {
		failpoint.Hit(failpoint.Undispatched)
		ctrl.LoggerFrom(ctx).Info("an unfinished WebhookEvent was deleted; the relay recreates it", "event", id)
	}
	return err
}

// wake reconciles the WebhookEvent with this name now. It does nothing if the name is empty.
func (r *WebhookEventReconciler) wake(ctx context.Context, namespace, name string) {
	if name == "" {
		return
	}
	select {
	case r.wakes <- event.TypedGenericEvent[types.NamespacedName]{Object: types.NamespacedName{Namespace: namespace, Name: name}}:
	case <-ctx.Done():
	}
}
