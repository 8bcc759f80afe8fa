package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// replay starts a new run of a finished event that has a replay request. A request that came before the run ended is served here, too,
// because the end of the run triggers a reconcile. If the process dies right after, the row has the request, so it is served once.
func (r *WebhookEventReconciler) replay(ctx context.Context, s *scope) (*ctrl.Result, error) {
	request := s.object.ReplayRequest()
	if !s.object.Status.Phase.Finished() || request == "" {
		return nil, nil
	}
	term, err := r.leaderTerm(ctx)
	if err != nil {
		return nil, err
	}
	fromStart, err := v1alpha1.ReplayFrom(s.object.Annotations[v1alpha1.ReplayFromAnnotation])
	if err != nil {
		return nil, r.refuseReplay(ctx, s, request, term, v1alpha1.UnknownReplayFromReason, fmt.Sprintf(
			"annotation %s: %v; correct or remove it, then request another replay", v1alpha1.ReplayFromAnnotation, err))
	}
	started, err := r.Rows.Replay(ctx, s.id, request, fromStart, term)
	if errors.Is(err, store.ErrErased) {
		return nil, r.refuseReplay(ctx, s, request, term, v1alpha1.ErasedReason,
			"the data of the event was erased, so it cannot run again; send the webhook again")
	}
	if err != nil {
		return nil, err
	}
	if started {
		failpoint.Hit(failpoint.ReplayRaised)
		r.Metrics.Transition(strings.ToLower(string(s.object.Status.Phase)), string(store.StatusPending))
	}
	state, err := r.stateOf(ctx, s.id, s.object)
	if err != nil {
		return nil, err
	}
	return nil, r.showRow(ctx, s, state)
}

// refuseReplay answers a request that cannot be served. If the process dies between the two writes, the request is refused again.
func (r *WebhookEventReconciler) refuseReplay(ctx context.Context, s *scope, request string, term int64, reason, why string) error {
	if err := r.Rows.RefuseReplay(ctx, s.id, request, term); err != nil {
		return err
	}
	message := fmt.Sprintf("refused the replay request %.64q: %s", request, why)
	ctrl.LoggerFrom(ctx).Info("refused a replay request; the event does not run again", "event", s.id, "reason", reason, "error", message)
	r.publishWarning(s.object, reason, "Replay", message)
	return r.updateStatus(ctx, s, func(st *v1alpha1.WebhookEventStatus) {
		st.LastHandledReplay = request
		setCondition(st, s.object.Generation, v1alpha1.ReplayRefusedCondition, metav1.ConditionTrue, reason, message)
	})
}

// expire deletes a finished event after its TTL, unless the database has lost it. If the process dies right after, nothing is left to do.
func (r *WebhookEventReconciler) expire(ctx context.Context, s *scope) (*ctrl.Result, error) {
	phase := s.object.Status.Phase
	switch {
	case !phase.Finished():
		return nil, nil
	case s.object.ReplayRequest() != "" && !s.refused:
		return &ctrl.Result{RequeueAfter: conflictPause}, nil // The run has just ended. The next reconcile serves the request.
	case rowLost(s.object):
		return &ctrl.Result{}, nil
	default:
		return r.deleteAfter(ctx, s.object, completed(s.object), r.TTL.of(phase))
	}
}

// hold waits while the event is suspended, and until its next attempt is due. The row has the current time of that: the Releaser may have
// made the event due since the status was written. If the process dies right after, nothing was done.
func (r *WebhookEventReconciler) hold(ctx context.Context, s *scope) (*ctrl.Result, error) {
	if s.object.Spec.Suspend {
		next, err := r.Rows.SetSuspended(ctx, s.id, true)
		if err != nil {
			return nil, err
		}
		r.wake(ctx, s.object.Namespace, next)
		return r.projectRow(ctx, s)
	}
	if next := s.object.Status.NextAttemptTime; next == nil || time.Until(next.Time) <= 0 {
		return nil, nil
	}
	state, err := r.stateOf(ctx, s.id, s.object)
	if err != nil {
		return nil, err
	}
	if state.DueIn > 0 && !state.Suspended {
		return &ctrl.Result{RequeueAfter: state.DueIn}, nil
	}
	return nil, nil
}

// claim starts an attempt. If the process dies right after, the next leader claims the event again, and the attempt counts.
func (r *WebhookEventReconciler) claim(ctx context.Context, s *scope) (*ctrl.Result, error) {
	term, err := r.leaderTerm(ctx)
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

// projectRow writes the status from the row of an event that cannot be claimed now, and returns when to look at it again.
func (r *WebhookEventReconciler) projectRow(ctx context.Context, s *scope) (*ctrl.Result, error) {
	state, err := r.stateOf(ctx, s.id, s.object)
	if err != nil {
		return nil, err
	}
	if !state.Status.Finished() {
		if state.Suspended && !s.object.Spec.Suspend {
			// The user resumed the event before its next attempt is due.
			if _, err := r.Rows.SetSuspended(ctx, s.id, false); err != nil {
				return nil, err
			}
		}
		state.Suspended = s.object.Spec.Suspend
	}
	if err := r.showRow(ctx, s, state); err != nil {
		return nil, err
	}
	ttl := r.TTL.of(phaseOf(state.Status))
	switch {
	case state.Status.Finished() && state.Reason == v1alpha1.RowLostReason:
		return &ctrl.Result{}, nil
	case state.Status.Finished() && s.refused:
		return r.deleteAfter(ctx, s.object, s.object.CreationTimestamp.Time, ttl) // Its status has no completion time.
	case state.Status.Finished():
		return &ctrl.Result{RequeueAfter: ttl}, nil
	case state.DueIn > 0:
		return &ctrl.Result{RequeueAfter: state.DueIn}, nil
	case state.Suspended || state.WaitsFor != "":
		return &ctrl.Result{RequeueAfter: r.Recheck}, nil
	default:
		return &ctrl.Result{RequeueAfter: conflictPause}, nil // The event became claimable after the claim.
	}
}
