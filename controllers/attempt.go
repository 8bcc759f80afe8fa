package controllers

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Planner says what an event asks for: a forward and a sync, in the order in which they are done. A nil operation comes
// with the reason for which there is none.
type Planner interface {
	Plan(e *store.Attempt) Plan
}

// Plan is what an event asks for.
type Plan struct {
	// Forward is nil where there is nothing to forward; NoForward says why, as a reason of the condition Forwarded.
	Forward   operation.Operation
	NoForward string
	// Unparseable says why the event cannot be read; empty where it can. Nothing can be done with it: it ends in error.
	Unparseable string
	// Syncs are done one after the other, each only if the one before succeeded; NoSync says why there are none.
	Syncs  []operation.Operation
	NoSync string
}

// done is what one operation of an attempt came to.
type done struct {
	operation.Outcome
	name      string
	direction string
	started   time.Time
	finished  time.Time
	// known is true where the ledger had it already: it was not run in this attempt.
	known bool
}

func (d done) failed() bool { return d.Err != nil }

// waits returns the name of the places that it waits for, "" where it does not. It was not run then, and is not counted.
func (d done) waits() string { return destination.PlacesOf(d.Err) }

// permanent reports whether it was refused for good, in this attempt or an earlier one.
func (d done) permanent() bool {
	return d.failed() && (d.known || destination.ClassOf(d.Err) == destination.Permanent)
}

// word says how it ended, in logs and metrics.
func (d done) word() string {
	switch {
	case d.waits() != "":
		return "waiting"
	case d.permanent():
		return destination.Permanent.String()
	case d.failed():
		return destination.ClassOf(d.Err).String()
	case d.known:
		return "known"
	case d.Skipped != "":
		return store.LedgerSkipped
	default:
		return store.LedgerSuccess
	}
}

// attempt forwards and syncs what the ledger does not have yet, and records the outcome. Forward and sync are independent:
// one failing does not keep the other from being tried. If the process dies in between, a forward is sent again with the
// same key and a sync finds its work done.
func (r *WebhookEventReconciler) attempt(ctx context.Context, s *scope) (*ctrl.Result, error) {
	c := s.claimed
	shown := r.showWhileWorking(ctx, s)
	defer shown()
	failpoint.Hit(failpoint.Shown)
	// A process that is asked to stop finishes what it has begun; the calls have bounds of their own.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	plan := r.Plan.Plan(c)
	results := r.carryOut(work, c, plan)
	failpoint.Hit(failpoint.Attempted)
	finish := r.decide(c, plan, results)
	finished, err := r.Rows.FinishAttempt(work, c, finish)
	if errors.Is(err, store.ErrNotClaimable) {
		shown() // The row is not this attempt's any more: its data was erased meanwhile, for instance.
		return r.projectRow(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	failpoint.Hit(failpoint.Recorded)
	shown()
	r.tell(ctx, s, finish, results)
	r.wake(ctx, s.object.Namespace, finished.Next)
	return r.showOutcome(work, s, plan, finish, finished, results)
}

// carryOut runs the operations of a plan.
func (r *WebhookEventReconciler) carryOut(ctx context.Context, c *store.Attempt, plan Plan) []done {
	var results []done
	if plan.Forward != nil {
		results = append(results, r.run(ctx, c, plan.Forward))
	}
	for _, op := range plan.Syncs {
		result := r.run(ctx, c, op)
		results = append(results, result)
		if result.failed() {
			break
		}
	}
	return results
}

const (
	// patienceUnderPressure is how long an attempt may take, while there is more to do than can be done, before it is shown as Processing.
	patienceUnderPressure = 200 * time.Millisecond
	// behind is how long after its receipt an event is begun where there is more to do than can be done.
	behind = 5 * time.Second
)

// underPressure reports whether there is more to do than can be done: all workers are busy, or the event has waited for its first attempt
// while others were, and still are, worked on. busy counts the attempts under way, this one among them.
func (r *WebhookEventReconciler) underPressure(c *store.Attempt, busy int) bool {
	return busy >= r.Concurrency || busy > 1 && c.Attempts == 1 && c.StartedAt.Sub(c.ReceivedAt) > behind
}

// showWhileWorking shows that the attempt is under way, at once if there is time for it. Under pressure the write is put off a little: an
// attempt that ends before has only its outcome to show, which halves what the API server has to take. The function returned waits until
// nothing is being written any more; it may be called again.
func (r *WebhookEventReconciler) showWhileWorking(ctx context.Context, s *scope) (settle func()) {
	show := func() {
		if err := r.showProcessing(ctx, s); err != nil {
			// The row is claimed, so the work goes on; what is shown is mended by the next write.
			ctrl.LoggerFrom(ctx).V(1).Info("status Processing was not shown", "event", s.claimed.ID, "error", err.Error())
		}
	}
	if busy := int(r.busy.Add(1)); !r.underPressure(s.claimed, busy) {
		show()
		return sync.OnceFunc(func() { r.busy.Add(-1) })
	}
	written := make(chan struct{})
	timer := time.AfterFunc(patienceUnderPressure, func() { show(); close(written) })
	return sync.OnceFunc(func() {
		r.busy.Add(-1)
		if !timer.Stop() {
			<-written
		}
	})
}

// run runs one operation, unless the ledger says that it is done or was refused for good.
func (r *WebhookEventReconciler) run(ctx context.Context, c *store.Attempt, op operation.Operation) done {
	d := done{name: op.Name(), direction: op.Direction(), started: time.Now()}
	if slices.Contains(c.Succeeded, d.name) {
		d.known = true
		return d
	}
	if refusal, ok := c.Refused[d.name]; ok {
		d.known, d.Reason, d.Err = true, refusal.Reason, refused(refusal.Message)
		return d
	}
	d.Outcome = op.Run(ctx, c)
	d.finished = time.Now()
	return d
}

// refused is what a destination said in an earlier attempt.
type refused string

func (r refused) Error() string { return string(r) }

// tell logs the attempt in one line and publishes what a person should hear of.
func (r *WebhookEventReconciler) tell(ctx context.Context, s *scope, f store.AttemptResult, results []done) {
	c := s.claimed
	fields := []any{
		"event", c.ID, "type", c.Event.Type, "entity", c.Event.EntityID, "location", c.Event.LocationID, "attempt", c.Attempts,
		"run", c.Run, "status", f.Status, "reason", f.Reason, "result", f.Result, "seconds", time.Since(c.ClaimedAt).Seconds(),
	}
	r.Metrics.Transition(string(store.StatusProcessing), string(f.Status))
	if f.Status == store.StatusDone {
		r.Metrics.Done(c.At(time.Now()).Sub(c.ReceivedAt))
	}
	for _, d := range results {
		fields = append(fields, d.name, d.word())
		if d.known || d.waits() != "" {
			continue
		}
		r.Metrics.Attempt(d.name, d.word())
		if d.name == store.OperationLead && !d.failed() {
			r.Metrics.Lead(d.Result)
		}
	}
	if f.Message != "" {
		fields = append(fields, "error", f.Message)
	}
	log := ctrl.LoggerFrom(ctx)
	switch {
	case f.Status == store.StatusDone:
		log.V(1).Info("event is done", fields...)
	case f.Reason == v1alpha1.WaitingForCapacityReason:
		log.V(1).Info("event waits for its turn at a destination", fields...)
	case f.Status == store.StatusError:
		log.Info("event ends in error", fields...)
		r.warn(s.object, f.Reason, "Attempt", f.Message)
	default:
		log.Info("attempt did not succeed", fields...)
		if c.Attempts == 1 {
			r.warn(s.object, f.Reason, "Attempt", f.Message)
		}
	}
}

// warn publishes what went wrong as a Kubernetes Event about the object, not about one version of it: what goes wrong in the
// same way again, as during an outage, then adds to the Event that is there.
func (r *WebhookEventReconciler) warn(object *v1alpha1.WebhookEvent, reason, action, message string) {
	object = object.DeepCopy()
	object.ResourceVersion = ""
	r.Recorder.Eventf(object, nil, corev1.EventTypeWarning, reason, action, "%s", event.Visible(message))
}
