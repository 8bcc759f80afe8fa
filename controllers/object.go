package controllers

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// What is done with WebhookEvents that the relay did not create: made by hand, or admitted by an earlier custom resource definition.

// statusRefusedReason is the reason of the Kubernetes Event about an object whose status cannot be written.
const statusRefusedReason = "StatusRefused"

// rowOf returns the id of the row that an object shows, and uuid.Nil, which no row has, for an object that shows none. An event has one
// object, whose name follows from the row. The API server refuses other names, but not a source that is not the row's, and an object
// that an earlier custom resource definition admitted may hold anything.
func (r *WebhookEventReconciler) rowOf(ctx context.Context, object *v1alpha1.WebhookEvent) (uuid.UUID, error) {
	id, ok := idOf(object.Name)
	if !ok || object.Spec.EventID != id.String() || object.Name != v1alpha1.NameOf(object.Spec.Source, object.Spec.EventID) {
		return uuid.Nil, nil
	}
	if event.IsOnlySource(object.Spec.Source) {
		return id, nil // The row has no other source.
	}
	state, err := r.Rows.Load(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return uuid.Nil, nil
	case err != nil:
		return uuid.Nil, err
	case state.Source != object.Spec.Source:
		return uuid.Nil, nil
	default:
		return id, nil
	}
}

// idOf returns the event's id that the name of a WebhookEvent ends in.
func idOf(name string) (uuid.UUID, bool) {
	const length = 36
	if len(name) <= length {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(name[len(name)-length:])
	return id, err == nil
}

// reportRefused reports that the API server refuses every status of an object. The row goes on all the same.
func (r *WebhookEventReconciler) reportRefused(ctx context.Context, s *scope, err error) {
	s.refused = true
	ctrl.LoggerFrom(ctx).Info("the API server refuses every status of this WebhookEvent; the event goes on, but where it stands is not "+
		"shown; delete the WebhookEvent: that of an unfinished event is created anew",
		"event", s.id, "name", s.object.Name, "error", err.Error())
	r.warn(s.object, statusRefusedReason, "WriteStatus",
		"the API server refuses every status of this object, because of what the object holds besides; "+
			"delete it: the WebhookEvent of an unfinished event is created anew")
}

// expireRefused deletes an object of a finished or missing row whose status cannot say so, at the end of its time.
func (r *WebhookEventReconciler) expireRefused(ctx context.Context, s *scope, ttl time.Duration) (*ctrl.Result, error) {
	if rest := time.Until(s.object.CreationTimestamp.Add(ttl)); rest > 0 {
		return &ctrl.Result{RequeueAfter: rest}, nil
	}
	return &ctrl.Result{}, deleteUnchanged(ctx, r.Client, s.object)
}
