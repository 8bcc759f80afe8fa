// Package controllers drives WebhookEvents from Pending to Done or Error. The row in Postgres is the truth: every step
// that has an effect is claimed and recorded there under the leader's term, and the status of a WebhookEvent is its
// projection, which may be lost or late without harm.
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
	"k8s.io/utils/ptr"
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

// Rows is what the controller needs of the store.
type Rows interface {
	Installation(ctx context.Context) (string, error)
	AcquireTerm(ctx context.Context, holder string) (int64, error)
	Load(ctx context.Context, id uuid.UUID) (store.EventState, error)
	Claim(ctx context.Context, id uuid.UUID, term int64) (*store.Attempt, error)
	FinishAttempt(ctx context.Context, c *store.Attempt, f store.AttemptResult) (store.RecordedResult, error)
	SetSuspended(ctx context.Context, id uuid.UUID, suspended bool) (string, error)
	Replay(ctx context.Context, id uuid.UUID, request string, fromStart bool, term int64) (bool, error)
	RefuseReplay(ctx context.Context, id uuid.UUID, request string, term int64) error
	Undispatch(ctx context.Context, ids ...uuid.UUID) (int64, error)
	Park(ctx context.Context, ids []uuid.UUID) ([]uuid.UUID, error)
	ReleaseHeld(ctx context.Context, down []string, limit int) (released []store.Released, more bool, err error)
	ReleaseForPlaces(ctx context.Context, places string, free int) (released []store.Released, more bool, err error)
	ReleaseToTry(ctx context.Context, destinations []string) ([]store.Released, error)
	ListDispatched(ctx context.Context, grace time.Duration, after store.DispatchedEvent, limit int) ([]store.DispatchedEvent, error)
	Statuses(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]store.Status, error)
	RequestAudit(ctx context.Context) error
	AuditRequestedAt(ctx context.Context) (time.Time, error)
	Beat(ctx context.Context, term int64, known time.Time) (store.Heartbeat, error)
}

// TTL is how long finished WebhookEvents stay.
type TTL struct {
	Done  time.Duration
	Error time.Duration
}

// WebhookEventReconciler reconciles WebhookEvents. All fields but Concurrency and Recheck are required.
type WebhookEventReconciler struct {
	Client client.Client
	// APIReader reads past the cache.
	APIReader client.Reader
	Rows      Rows
	Plan      Planner
	Recorder  events.EventRecorder
	Backoff   Backoff
	TTL       TTL
	Metrics   *metrics.Controller
	// Identity names this process in the leader's term, for instance its pod.
	Identity string
	// Concurrency is how many events are worked on at a time; the work waits on networks. 32 by default.
	Concurrency int
	// Recheck is how often an event that waits for another one, or is suspended, is looked at though nothing woke it: a safety net. 30 s by
	// default.
	Recheck time.Duration
	// Retention is how long finished rows stay in the database: a WebhookEvent whose row is gone sooner is of an event that is lost. Zero
	// takes none for lost.
	Retention time.Duration
	// OnFenced is called when the database has the term of another leader: the process must end.
	OnFenced func(error)

	term leaderTerm
	// busy counts the attempts under way.
	busy  atomic.Int32
	wakes chan event.TypedGenericEvent[types.NamespacedName]
}

const (
	conflictPause = 100 * time.Millisecond
	// attemptTimeout bounds an attempt; each call in it has a shorter bound of its own.
	attemptTimeout = 90 * time.Second
)

// SetupWithManager checks the fields and registers the controller.
func (r *WebhookEventReconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Client == nil || r.APIReader == nil || r.Rows == nil || r.Plan == nil || r.Recorder == nil || r.Metrics == nil ||
		r.Identity == "" || r.OnFenced == nil {
		return errors.New("controllers: Client, APIReader, Rows, Plan, Recorder, Metrics, Identity and OnFenced are required")
	}
	if r.Concurrency == 0 {
		r.Concurrency = 32
	}
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
			// First come, first served: with priorities, what was there at start would give way to new events for ever.
			UsePriorityQueue: ptr.To(false),
		}).
		Complete(r)
}

// changes lets through what asks for work: new objects, a changed spec or annotation, one that was finished and is no more, one whose run
// has ended and that is asked to run again, and the deletion of an unfinished one. Other status writes of our own must not wake an event
// out of its backoff.
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

// scope is one event on its way through the steps.
type scope struct {
	id uuid.UUID
	// object is the WebhookEvent as it was last read or written.
	object *v1alpha1.WebhookEvent
	// claimed is the attempt under way.
	claimed *store.Attempt
	// refused is true where the API server refuses every status of the object.
	refused bool
}

// step does one thing for an event. It returns nil where the next step follows.
type step struct {
	name string
	do   func(ctx context.Context, s *scope) (*ctrl.Result, error)
}

// superseded reports whether the object was changed or deleted since it was read: the next reconcile sees that, and nothing has failed.
func superseded(err error) bool { return apierrors.IsConflict(err) || apierrors.IsNotFound(err) }

func (r *WebhookEventReconciler) steps() []step {
	return []step{{"replay", r.replay}, {"expire", r.expire}, {"hold", r.hold}, {"claim", r.claim}, {"attempt", r.attempt}}
}

// Reconcile brings one event forward by as much as can be done now.
func (r *WebhookEventReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	object := &v1alpha1.WebhookEvent{}
	if err := r.Client.Get(ctx, req.NamespacedName, object); apierrors.IsNotFound(err) {
		return ctrl.Result{}, r.bringBack(ctx, req.Name)
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
		r.Metrics.Step(step.name, err != nil && !superseded(err), time.Since(start))
		switch {
		case errors.Is(err, store.ErrFenced):
			r.OnFenced(err)
			return ctrl.Result{}, nil
		case apierrors.IsConflict(err):
			// The cache has yet to see our own last write, or somebody edited the object: look again shortly.
			return ctrl.Result{RequeueAfter: conflictPause}, nil
		case apierrors.IsNotFound(err):
			return ctrl.Result{}, nil // Deleted meanwhile; its deletion is an event of its own.
		case err != nil:
			return ctrl.Result{}, fmt.Errorf("event %s: %w", s.id, err)
		case result != nil:
			return *result, nil
		}
	}
	return ctrl.Result{}, nil
}

// foreign reports whether an object is that of another installation in this namespace: it is labelled so, and this database has no row
// for it. The label alone could have been edited.
func (r *WebhookEventReconciler) foreign(ctx context.Context, id uuid.UUID, object *v1alpha1.WebhookEvent) (bool, error) {
	if labelled, err := r.labelledForeign(ctx, object); err != nil || !labelled {
		return false, err
	}
	_, err := r.Rows.Load(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return false, err
}

func (r *WebhookEventReconciler) labelledForeign(ctx context.Context, object *v1alpha1.WebhookEvent) (bool, error) {
	label := object.Labels[v1alpha1.InstallationLabel]
	if label == "" {
		return false, nil
	}
	installation, err := r.Rows.Installation(ctx)
	return label != installation, err
}

// bringBack asks for the WebhookEvent of an unfinished row again: its deletion loses nothing.
func (r *WebhookEventReconciler) bringBack(ctx context.Context, name string) error {
	id, ok := idOf(name)
	if !ok {
		return nil
	}
	n, err := r.Rows.Undispatch(ctx, id)
	if n > 0 {
		failpoint.Hit(failpoint.Undispatched)
		ctrl.LoggerFrom(ctx).Info("an unfinished WebhookEvent was deleted; it comes back", "event", id)
	}
	return err
}

// wake has the WebhookEvent called name reconciled now.
func (r *WebhookEventReconciler) wake(ctx context.Context, namespace, name string) {
	if name == "" {
		return
	}
	select {
	case r.wakes <- event.TypedGenericEvent[types.NamespacedName]{Object: types.NamespacedName{Namespace: namespace, Name: name}}:
	case <-ctx.Done():
	}
}
