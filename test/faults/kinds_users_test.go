package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
)

// userKinds are what people do to WebhookEvents.
func userKinds() []kind {
	deletes := Fault{Deletes: true}
	return []kind{
		{name: "all WebhookEvents are deleted", lane: laneKubernetes, does: deleteAll, marks: deletes, first: true},
		{name: "all WebhookEvents are deleted in the middle of a call", does: midCall(deleteAll), marks: deletes},
		{name: "a user deletes WebhookEvents one by one", lane: laneKubernetes, does: editing(whatever, deleteOne), marks: deletes},
		{name: "a user sets an unfinished event to Done", does: midCall(editing(unfinished, say(v1alpha1.PhaseDone))), marks: Fault{Edits: true}},
		{name: "a user sets an unfinished event to Error", does: midCall(editing(unfinished, say(v1alpha1.PhaseError))), marks: Fault{Edits: true}},
		{name: "a user sets a finished event to Pending", lane: laneKubernetes, does: editing(finished, say(v1alpha1.PhasePending)), marks: Fault{Edits: true}},
		{name: "a user delays the next attempt by a year", does: midCall(editing(unfinished, putOff)), marks: Fault{Edits: true}},
		{name: "a user changes labels all the time", lane: laneKubernetes, does: editing(whatever, relabel), first: true},
	}
}

func deleteAll(ctx context.Context, b *breaking) error {
	return b.system.Kubernetes.DeleteAllOf(ctx, &v1alpha1.WebhookEvent{}, client.InNamespace(b.system.Namespace))
}

// Which WebhookEvents are edited.
func whatever(*v1alpha1.WebhookEvent) bool     { return true }
func finished(e *v1alpha1.WebhookEvent) bool   { return e.Status.Phase.Finished() }
func unfinished(e *v1alpha1.WebhookEvent) bool { return !finished(e) }

// editing edits some WebhookEvents repeatedly for a while. It ignores conflicts, as a user does.
func editing(which func(*v1alpha1.WebhookEvent) bool, edit func(context.Context, *breaking, *v1alpha1.WebhookEvent) error,
) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		const most = 30
		for end := time.Now().Add(b.long); ; {
			var all v1alpha1.WebhookEventList
			if err := b.system.Kubernetes.List(ctx, &all, client.InNamespace(b.system.Namespace)); err != nil {
				return fmt.Errorf("list WebhookEvents: %w", err)
			}
			some := slices.DeleteFunc(all.Items, func(e v1alpha1.WebhookEvent) bool { return !which(&e) })
			rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
			for i := range some[:min(most, len(some))] {
				err := edit(ctx, b, &some[i])
				if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
					return err
				}
			}
			if time.Now().After(end) || !pause(ctx, tick) {
				return nil
			}
		}
	}
}

func deleteOne(ctx context.Context, b *breaking, e *v1alpha1.WebhookEvent) error {
	return b.system.Kubernetes.Delete(ctx, e)
}

func say(phase v1alpha1.WebhookEventPhase) func(context.Context, *breaking, *v1alpha1.WebhookEvent) error {
	return func(ctx context.Context, b *breaking, e *v1alpha1.WebhookEvent) error {
		e.Status.Phase = phase
		return b.system.Kubernetes.Status().Update(ctx, e)
	}
}

func putOff(ctx context.Context, b *breaking, e *v1alpha1.WebhookEvent) error {
	later := metav1.NewTime(time.Now().AddDate(1, 0, 0))
	e.Status.NextAttemptTime = &later
	return b.system.Kubernetes.Status().Update(ctx, e)
}

// relabel changes labels that only users read, which is enough to make the next write of the status a conflict.
func relabel(ctx context.Context, b *breaking, e *v1alpha1.WebhookEvent) error {
	before := e.DeepCopy()
	delete(e.Labels, v1alpha1.EntityTypeLabel)
	e.Labels["seen"] = time.Now().Format("150405.000000")
	return b.system.Kubernetes.Patch(ctx, e, client.MergeFrom(before))
}
