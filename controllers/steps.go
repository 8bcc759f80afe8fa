package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s.io/client-go/util/workqueue"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

// leaderTerm has this process's term of leadership, which begins at its first claim.
type leaderTerm struct {
	mu   sync.Mutex
	term int64
}

// get returns the term, beginning it the first time. Only the leader reconciles, so whoever asks is the leader.
func (t *leaderTerm) get(ctx context.Context, rows Rows, holder string) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.term == 0 {
		term, err := rows.AcquireTerm(ctx, holder)
		if err != nil {
			return 0, err
		}
		failpoint.Hit(failpoint.TermAcquired)
		t.term = term
	}
	return t.term, nil
}

// replay starts a new run of a finished event that is asked to run again. A request that was made before the run ended is served here as
// well, since the end of such a run wakes the event. If the process dies right after, the request's value is on the row: it is served once.
func (r *WebhookEventReconciler) replay(ctx context.Context, s *scope) (*ctrl.Result, error) {
	request := s.object.ReplayRequest()
	if !s.object.Status.Phase.Finished() || request == "" {
		return nil, nil
	}
	term, err := r.term.get(ctx, r.Rows, r.Identity)
	if err != nil {
		return nil, err
	}
	fromStart, err := v1alpha1.ReplayFrom(s.object.Annotations[v1alpha1.ReplayFromAnnotation])
	if err != nil {
		return nil, r.refuseReplay(ctx, s, request, term, v1alpha1.UnknownReplayFromReason, fmt.Sprintf(
			"annotation %s: %v; set it right, or remove it, and request another replay", v1alpha1.ReplayFromAnnotation, err))
	}
	from := s.object.Status.Phase
	started, err := r.Rows.Replay(ctx, s.id, request, fromStart, term)
	if errors.Is(err, store.ErrErased) {
		return nil, r.refuseReplay(ctx, s, request, term, v1alpha1.ErasedReason, erasedForReplay)
	}
	if err != nil {
		return nil, err
	}
	if started {
		failpoint.Hit(failpoint.ReplayRaised)
		r.Metrics.Transition(strings.ToLower(string(from)), string(store.StatusPending))
	}
	state, err := r.Rows.Load(ctx, s.id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if errors.Is(err, store.ErrNotFound) {
		if state, err = r.missing(ctx, s.id, s.object); err != nil {
			return nil, err
		}
		state.ReplayRequest = request // There is no row to replay; that is the answer to this request.
	}
	return nil, r.project(ctx, s, state)
}

// erasedForReplay says why an erased event does not run again.
const erasedForReplay = "the data of the event was erased, so there is nothing left to forward or to sync; the webhook has to be sent again"

// refuseReplay answers a request that cannot be served. If the process dies between the two writes, it is refused again.
func (r *WebhookEventReconciler) refuseReplay(ctx context.Context, s *scope, request string, term int64, reason, why string) error {
	if err := r.Rows.RefuseReplay(ctx, s.id, request, term); err != nil {
		return err
	}
	message := fmt.Sprintf("the replay %.64q was refused and does not run: %s", request, why)
	ctrl.LoggerFrom(ctx).Info("a replay was refused", "event", s.id, "error", message)
	r.warn(s.object, reason, "Replay", message)
	return r.update(ctx, s, func(st *v1alpha1.WebhookEventStatus) {
		st.LastHandledReplay = request
		condition(st, s.object.Generation, v1alpha1.ReplayRefusedCondition, metav1.ConditionTrue, reason, message)
	})
}

// expire deletes a finished event at the end of its time, unless the database has lost it. If the process dies right after, there is
// nothing left to do.
func (r *WebhookEventReconciler) expire(ctx context.Context, s *scope) (*ctrl.Result, error) {
	status := &s.object.Status
	if !status.Phase.Finished() {
		return nil, nil
	}
	if s.object.ReplayRequest() != "" && !s.refused {
		return &ctrl.Result{RequeueAfter: conflictPause}, nil // The run has just ended; the request is served first.
	}
	if rowLost(s.object) {
		return &ctrl.Result{}, nil
	}
	ttl := r.TTL.Done
	if status.Phase == v1alpha1.PhaseError {
		ttl = r.TTL.Error
	}
	finished := s.object.CreationTimestamp.Time
	if status.CompletionTime != nil {
		finished = status.CompletionTime.Time
	}
	if rest := time.Until(finished.Add(ttl)); rest > 0 {
		return &ctrl.Result{RequeueAfter: rest}, nil
	}
	err := deleteUnchanged(ctx, r.Client, s.object)
	failpoint.Hit(failpoint.Expired)
	return &ctrl.Result{}, err
}

// deleteUnchanged deletes an object, and returns a conflict if it changed since it was read; that it is gone already is no error.
func deleteUnchanged(ctx context.Context, c client.Client, object *v1alpha1.WebhookEvent) error {
	err := c.Delete(ctx, object, client.Preconditions{UID: &object.UID, ResourceVersion: &object.ResourceVersion})
	return client.IgnoreNotFound(err)
}

// hold waits while the event is suspended, or until its next attempt is due. The row knows best when that is: it may have
// been let go since its time was shown. Nothing has been done.
func (r *WebhookEventReconciler) hold(ctx context.Context, s *scope) (*ctrl.Result, error) {
	if s.object.Spec.Suspend {
		next, err := r.Rows.SetSuspended(ctx, s.id, true)
		if err != nil {
			return nil, err
		}
		r.wake(ctx, s.object.Namespace, next)
		return r.projectRow(ctx, s)
	}
	if next := s.object.Status.NextAttemptTime; next != nil {
		if rest := time.Until(next.Time); rest > 0 {
			state, err := r.Rows.Load(ctx, s.id)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return nil, err
			}
			if err == nil && state.DueIn > 0 && !state.Suspended {
				return &ctrl.Result{RequeueAfter: state.DueIn}, nil
			}
		}
	}
	return nil, nil
}

// claim begins an attempt. If the process dies right after, the next leader claims the event again, and attempts counts
// it.
func (r *WebhookEventReconciler) claim(ctx context.Context, s *scope) (*ctrl.Result, error) {
	term, err := r.term.get(ctx, r.Rows, r.Identity)
	if err != nil {
		return nil, err
	}
	s.claimed, err = r.Rows.Claim(ctx, s.id, term)
	if errors.Is(err, store.ErrNotClaimable) {
		return r.projectRow(ctx, s)
	}
	if err == nil {
		failpoint.Hit(failpoint.Claimed)
		r.Metrics.Transition(string(store.StatusPending), string(store.StatusProcessing))
	}
	return nil, err
}

// projectRow shows where the row stands, where there is nothing to do for it now, and says when to look again.
func (r *WebhookEventReconciler) projectRow(ctx context.Context, s *scope) (*ctrl.Result, error) {
	state, err := r.Rows.Load(ctx, s.id)
	if errors.Is(err, store.ErrNotFound) {
		state, err = r.missing(ctx, s.id, s.object)
	}
	if err != nil {
		return nil, err
	}
	if state.Suspended && !s.object.Spec.Suspend && !state.Status.Finished() {
		// It is not suspended any more, and its next attempt is yet to come: until then it waits as every other event does.
		if _, err := r.Rows.SetSuspended(ctx, s.id, false); err != nil {
			return nil, err
		}
		state.Suspended = false
	}
	state.Suspended = state.Suspended || (s.object.Spec.Suspend && !state.Status.Finished())
	if err := r.project(ctx, s, state); err != nil {
		return nil, err
	}
	switch {
	case state.Reason == v1alpha1.RowLostReason && state.Status.Finished():
		return &ctrl.Result{}, nil
	case state.Status.Finished():
		ttl := r.TTL.Done
		if state.Status == store.StatusError {
			ttl = r.TTL.Error
		}
		if s.refused {
			return r.expireRefused(ctx, s, ttl)
		}
		return &ctrl.Result{RequeueAfter: ttl}, nil
	case state.DueIn > 0:
		return &ctrl.Result{RequeueAfter: state.DueIn}, nil
	case state.Suspended || state.WaitsFor != "":
		return &ctrl.Result{RequeueAfter: r.Recheck}, nil
	default:
		return &ctrl.Result{RequeueAfter: conflictPause}, nil // It became claimable between the two looks.
	}
}
