package controllers

import (
	"context"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// What is done with WebhookEvents that have no row: the event was lost together with its row, or never was one.

// missing is the state of an object that has no row.
func (r *WebhookEventReconciler) missing(ctx context.Context, id uuid.UUID, object *v1alpha1.WebhookEvent) (store.EventState, error) {
	lost, err := r.lost(ctx, id, object)
	if err != nil {
		return store.EventState{}, err
	}
	lost = lost && object.Status.Phase != v1alpha1.PhaseDone // What was done cannot be replayed any more, and is not lost.
	now := time.Now()
	state := store.EventState{ID: id, Status: store.StatusError, ProcessedAt: &now, Attempts: object.Status.Attempts}
	if !lost {
		state.Attempts, state.Reason = 0, v1alpha1.RowNotFoundReason
		state.Message = "the database has no row for this event, so there is nothing to do; this object can be deleted"
		return state, nil
	}
	state.Reason = v1alpha1.RowLostReason
	state.Message = "the event was stored, and its row is missing: the database was restored to an earlier moment, a failover lost the " +
		"row, or it was deleted. The payload is lost with it. Send the webhook again, then delete this object; see docs/operations.md, " +
		"After a restore"
	if object.Status.Phase == v1alpha1.PhaseError {
		if object.Status.CompletionTime != nil {
			state.ProcessedAt = &object.Status.CompletionTime.Time
		}
		if !rowLost(object) {
			state.Message += ". It had ended in error before: " + readyReasonOf(object)
		}
	}
	return state, nil
}

// lost reports whether an object without a row is that of an event which this database had: the relay of this installation created it, and
// no row that was received so lately can have been removed at the end of its time.
func (r *WebhookEventReconciler) lost(ctx context.Context, id uuid.UUID, object *v1alpha1.WebhookEvent) (bool, error) {
	label := object.Labels[v1alpha1.InstallationLabel]
	if id == uuid.Nil || label == "" || time.Since(object.Spec.ReceivedAt.Time) >= r.Retention {
		return false, nil
	}
	installation, err := r.Rows.Installation(ctx)
	return label == installation, err
}

// rowLost reports whether an object shows that its event is lost. It is the only trace of an event that was acknowledged: it stays until
// somebody deletes it.
func rowLost(object *v1alpha1.WebhookEvent) bool {
	return object.Status.Phase == v1alpha1.PhaseError && readyReasonOf(object) == v1alpha1.RowLostReason
}

func readyReasonOf(object *v1alpha1.WebhookEvent) string {
	if ready := meta.FindStatusCondition(object.Status.Conditions, v1alpha1.ReadyCondition); ready != nil {
		return ready.Reason
	}
	return ""
}

// rolledBack reports whether a row has lost how an object's event ended: the object shows an attempt that began later than the row's last.
// A replay leaves the row's last attempt as it was.
func rolledBack(object *v1alpha1.WebhookEvent, row store.EventState) bool {
	shown := object.Status.StartTime
	return object.Status.Phase.Finished() && !row.Status.Finished() && shown != nil &&
		(row.StartedAt == nil || shown.After(*row.StartedAt))
}
