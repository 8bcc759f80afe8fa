package controllers

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// reportAttempt reports a recorded attempt: in the metrics, in one log line, and in a Kubernetes Event if it is the first failure or the
// last.
func (r *WebhookEventReconciler) reportAttempt(ctx context.Context, s *scope, result store.AttemptResult, results []operationResult) {
	r.countAttempt(s.claimed, result, results)
	r.logAttempt(ctrl.LoggerFrom(ctx), s.claimed, result, results)
	failed := result.Status != store.StatusDone && result.Reason != v1alpha1.WaitingForCapacityReason
	if failed && (result.Status == store.StatusError || s.claimed.Attempts == 1) {
		r.publishWarning(s.object, result.Reason, "Attempt", result.Message)
	}
}

func (r *WebhookEventReconciler) countAttempt(c *store.Attempt, result store.AttemptResult, results []operationResult) {
	r.Metrics.Transition(string(store.StatusProcessing), string(result.Status))
	if result.Status == store.StatusDone {
		r.Metrics.Done(c.At(time.Now()).Sub(c.ReceivedAt))
	}
	for _, o := range results {
		if o.alreadyDone || o.limit() != "" {
			continue // It did not run.
		}
		r.Metrics.Attempt(o.spec.Name, o.label())
		if o.spec.Name == store.OperationLead && !o.failed() {
			r.Metrics.Lead(o.Result)
		}
	}
}

func (*WebhookEventReconciler) logAttempt(log logr.Logger, c *store.Attempt, result store.AttemptResult, results []operationResult) {
	fields := []any{
		"event", c.ID, "type", c.Event.Type, "entity", c.Event.EntityID, "location", c.Event.LocationID,
		"attempt", c.Attempts, "run", c.Run, "status", result.Status, "reason", result.Reason, "result", result.Result,
		"seconds", time.Since(c.ClaimedAt).Seconds(),
	}
	for _, o := range results {
		fields = append(fields, o.spec.Name, o.label())
	}
	if result.Message != "" {
		fields = append(fields, "error", result.Message)
	}
	switch {
	case result.Status == store.StatusDone:
		log.V(1).Info("event is done", fields...)
	case result.Status == store.StatusError:
		log.Info("event ended in Error; no further attempt is made", fields...)
	case result.Reason == v1alpha1.WaitingForCapacityReason:
		log.V(1).Info("concurrency limit reached; the event waits for a free slot", fields...)
	default:
		log.Info("attempt failed; another one follows", append(fields, "retrySeconds", result.Delay.Seconds())...)
	}
}

// publishWarning publishes a Kubernetes Event about the object, without its version: so repeated failures, for instance during an outage,
// increase the count of one Event.
func (r *WebhookEventReconciler) publishWarning(object *v1alpha1.WebhookEvent, reason, action, message string) {
	object = object.DeepCopy()
	object.ResourceVersion = ""
	r.Recorder.Eventf(object, nil, corev1.EventTypeWarning, reason, action, "%s", event.Visible(message))
}

// statusRefusedReason is the reason of the Kubernetes Event about an object whose status cannot be written.
const statusRefusedReason = "StatusRefused"

// reportStatusRefused reports that the API server refuses every status of an object. The event continues.
func (r *WebhookEventReconciler) reportStatusRefused(ctx context.Context, s *scope, err error) {
	const message = "the API server refuses every status of this WebhookEvent, because of its other content. The event continues, but " +
		"the status is not updated. Delete the WebhookEvent: the WebhookEvent of an unfinished event is recreated"
	ctrl.LoggerFrom(ctx).Info(message, "event", s.id, "error", err.Error())
	r.publishWarning(s.object, statusRefusedReason, "WriteStatus", message)
}
