package controllers

import (
	"context"
	"time"

	"github.com/google/uuid"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
)

// This file decides which row a WebhookEvent belongs to. The relay creates most objects, but users can create others, and an earlier custom
// resource definition admitted others.

// rowOf returns the id of the row that an object belongs to, or uuid.Nil, which no row has. An event has one object, whose name follows
// from the row. The API server refuses other names, but not a source that differs from the row's; and an object that an earlier custom
// resource definition admitted can have any content.
func (r *WebhookEventReconciler) rowOf(ctx context.Context, object *v1alpha1.WebhookEvent) (uuid.UUID, error) {
	id, ok := idOf(object.Name)
	if !ok || object.Spec.EventID != id.String() || object.Name != v1alpha1.NameOf(object.Spec.Source, object.Spec.EventID) {
		return uuid.Nil, nil
	}
	if event.IsOnlySource(object.Spec.Source) {
		return id, nil // The row has no other source.
	}
	state, err := r.load(ctx, id)
	if err != nil || state == nil || state.Source != object.Spec.Source {
		return uuid.Nil, err
	}
	return id, nil
}

// idOf returns the event's id, which is the end of a WebhookEvent's name.
func idOf(name string) (uuid.UUID, bool) {
	const length = 36
	if len(name) <= length {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(name[len(name)-length:])
	return id, err == nil
}

// foreign reports whether an object belongs to another installation in this namespace: its label says so, and this database has no row for
// it. The label alone is no proof, because users can edit it.
func (r *WebhookEventReconciler) foreign(ctx context.Context, id uuid.UUID, object *v1alpha1.WebhookEvent) (bool, error) {
	if labelled, err := r.labelledForeign(ctx, object); err != nil || !labelled {
		return false, err
	}
	state, err := r.load(ctx, id)
	return err == nil && state == nil, err
}

func (r *WebhookEventReconciler) labelledForeign(ctx context.Context, object *v1alpha1.WebhookEvent) (bool, error) {
	label := object.Labels[v1alpha1.InstallationLabel]
	if label == "" {
		return false, nil
	}
	installation, err := r.Rows.Installation(ctx)
	return label != installation, err
}

// deleteAfter deletes an object when the TTL after since is over, and until then requeues it for that time.
func (r *WebhookEventReconciler) deleteAfter(ctx context.Context, object *v1alpha1.WebhookEvent, since time.Time, ttl time.Duration) (
	*ctrl.Result, error,
) {
	if rest := time.Until(since.Add(ttl)); rest > 0 {
		return &ctrl.Result{RequeueAfter: rest}, nil
	}
	err := deleteUnchanged(ctx, r.Client, object)
	failpoint.Hit(failpoint.Expired)
	return &ctrl.Result{}, err
}

// deleteUnchanged deletes an object. It returns a conflict if the object changed since it was read, and no error if it is already deleted.
func deleteUnchanged(ctx context.Context, c client.Client, object *v1alpha1.WebhookEvent) error {
	err := c.Delete(ctx, object, client.Preconditions{UID: &object.UID, ResourceVersion: &object.ResourceVersion})
	return client.IgnoreNotFound(err)
}
