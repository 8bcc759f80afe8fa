package controllers

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// This file says where an event stands, also if it has no row: then the database has lost the row, or never had it.

// load returns where an event stands according to its row, or nil if it has none.
func (r *WebhookEventReconciler) load(ctx context.Context, id uuid.UUID) (*store.EventState, error) {
	state, err := r.Rows.Load(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return &state, err
}

// stateOf returns where the event of an object stands, according to its row, or in error if it has none.
func (r *WebhookEventReconciler) stateOf(ctx context.Context, id uuid.UUID, object *v1alpha1.WebhookEvent) (store.EventState, error) {
	state, err := r.load(ctx, id)
	switch {
	case err != nil:
		return store.EventState{}, err
	case state == nil:
		return r.missing(ctx, id, object)
	default:
		return *state, nil
	}
}

// missing is the state of an object without a row. It answers the object's replay request, too: there is no row to replay.
func (r *WebhookEventReconciler) missing(ctx context.Context, id uuid.UUID, object *v1alpha1.WebhookEvent) (store.EventState, error) {
	lost, err := r.lost(ctx, id, object)
	if err != nil {
		return store.EventState{}, err
	}
	lost = lost && object.Status.Phase != v1alpha1.PhaseDone // A done event is not lost, but it cannot be replayed.
	now := time.Now()
	state := store.EventState{
		ID: id, Status: store.StatusError, ProcessedAt: &now,
		ReplayRequest: cmp.Or(object.ReplayRequest(), object.Status.LastHandledReplay),
	}
	if !lost {
		state.Reason = v1alpha1.RowNotFoundReason
		state.Message = "the middleware database has no row for this event, so it is not processed; you can delete this object"
		return state, nil
	}
	state.Reason, state.Attempts = v1alpha1.RowLostReason, object.Status.Attempts
	state.Message = "the event was stored, but its row is missing from the middleware database: a restore or a failover lost it, or " +
		"someone deleted it. The payload is lost, too. Send the webhook again, then delete this object; " +
		"see docs/operations.md, After a restore"
	if object.Status.Phase == v1alpha1.PhaseError {
		if object.Status.CompletionTime != nil {
			state.ProcessedAt = &object.Status.CompletionTime.Time
		}
		if !rowLost(object) {
			state.Message += ". The event had ended in Error: " + readyReasonOf(object)
		}
	}
	return state, nil
}

// lost reports whether an object without a row belongs to an event that this database had: the relay of this installation created the
// object, and the event is too young for its row to have been deleted after RETENTION.
func (r *WebhookEventReconciler) lost(ctx context.Context, id uuid.UUID, object *v1alpha1.WebhookEvent) (bool, error) {
	label := object.Labels[v1alpha1.InstallationLabel]
	if id == uuid.Nil || label == "" || time.Since(object.Spec.ReceivedAt.Time) >= r.Retention {
		return false, nil
	}
	if object.Status.Phase == v1alpha1.PhaseError && readyReasonOf(object) == v1alpha1.RowNotFoundReason {
		return false, nil // It was decided already: the event was done, for instance, and a replay was requested.
	}
	installation, err := r.Rows.Installation(ctx)
	return label == installation, err
}

// rowLost reports whether the status of an object says that its event is lost. The object is the only trace of an acknowledged event, so it
// stays until a user deletes it.
func rowLost(object *v1alpha1.WebhookEvent) bool {
	return object.Status.Phase == v1alpha1.PhaseError && readyReasonOf(object) == v1alpha1.RowLostReason
}

func readyReasonOf(object *v1alpha1.WebhookEvent) string {
	if ready := meta.FindStatusCondition(object.Status.Conditions, v1alpha1.ReadyCondition); ready != nil {
		return ready.Reason
	}
	return ""
}

// rolledBack reports whether a row has lost the result of an object's event: the status shows a later attempt than the row. A replay does
// not change the row's last attempt.
func rolledBack(object *v1alpha1.WebhookEvent, row store.EventState) bool {
	shown := object.Status.StartTime
	return object.Status.Phase.Finished() && !row.Status.Finished() && shown != nil &&
		(row.StartedAt == nil || shown.After(*row.StartedAt))
}
