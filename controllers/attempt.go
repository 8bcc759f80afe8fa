package controllers

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Planner returns the operations of an event; *plan.Planner implements it.
type Planner interface {
	Plan(e *store.Attempt) operation.Plan
}

// operationResult is the result of one operation in an attempt.
type operationResult struct {
	operation.Outcome
	spec     operation.Spec
	started  time.Time
	finished time.Time
	// alreadyDone is true if the ledger has the result, a success or a refusal, so that the operation did not run in this attempt.
	alreadyDone bool
}

func (o operationResult) failed() bool { return o.Err != nil }

// limit returns the name of the concurrency limit that kept the operation from running, or "". Such an attempt does not count.
func (o operationResult) limit() string { return destination.LimitOf(o.Err) }

// permanent reports whether the destination refused the operation, in this attempt or an earlier one.
func (o operationResult) permanent() bool {
	return o.failed() && (o.alreadyDone || destination.ClassOf(o.Err) == destination.Permanent)
}

// label is the result in logs and metrics.
func (o operationResult) label() string {
	switch {
	case o.limit() != "":
		return "waiting"
	case o.permanent():
		return destination.Permanent.String()
	case o.failed():
		return destination.ClassOf(o.Err).String()
	case o.alreadyDone:
		return "already done"
	case o.Skipped != "":
		return store.LedgerSkipped
	default:
		return store.LedgerSuccess
	}
}

// attempt runs the operations that the ledger does not have, and records their results. Operations are independent: each runs even if
// others fail, unless it is declared to come after one of them. If the process dies before the record, the next leader repeats the
// operations: a forward has the same idempotency key, and a sync finds its effect.
func (r *WebhookEventReconciler) attempt(ctx context.Context, s *scope) (*ctrl.Result, error) {
	settleStatus := r.showProcessingInTime(ctx, s)
	defer settleStatus()
	failpoint.Hit(failpoint.Shown)
	// A process that stops finishes its attempts: each call has its own timeout.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	plan := r.Plan.Plan(s.claimed)
	results := r.runAll(work, s.claimed, plan)
	failpoint.Hit(failpoint.Attempted)
	result := r.decide(s.claimed, plan, results)
	recorded, err := r.Rows.FinishAttempt(work, s.claimed, result)
	if errors.Is(err, store.ErrNotClaimable) {
		settleStatus() // The row changed during the attempt, for instance because its data was erased.
		return r.projectRow(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	failpoint.Hit(failpoint.Recorded)
	settleStatus()
	r.reportAttempt(ctx, s, result, results)
	r.wake(ctx, s.object.Namespace, recorded.Next)
	// If the process dies before it writes the status, the next reconcile writes it from the row.
	if err := r.showResult(work, s, plan, result, recorded, results); err != nil {
		return nil, err
	}
	failpoint.Hit(failpoint.OutcomeShown)
	if !recorded.Status.Finished() {
		return &ctrl.Result{RequeueAfter: max(result.Delay, time.Millisecond)}, nil
	}
	return r.expire(work, s)
}

// runAll runs the operations of a plan.
func (r *WebhookEventReconciler) runAll(ctx context.Context, c *store.Attempt, plan operation.Plan) []operationResult {
	var results []operationResult
	failed := map[string]bool{}
	for _, op := range plan.Operations {
		spec := op.Spec()
		if failed[spec.After] {
			failed[spec.Name] = true // It did not run, so operations that come after it do not run either.
			continue
		}
		result := r.run(ctx, c, op)
		results = append(results, result)
		failed[spec.Name] = result.failed()
	}
	return results
}

// run runs one operation, unless the ledger has its result.
func (r *WebhookEventReconciler) run(ctx context.Context, c *store.Attempt, op operation.Operation) operationResult {
	o := operationResult{spec: op.Spec(), started: time.Now()}
	if slices.Contains(c.Succeeded, o.spec.Name) {
		o.alreadyDone = true
		return o
	}
	if refusal, ok := c.Refused[o.spec.Name]; ok {
		o.alreadyDone, o.Reason, o.Err = true, refusal.Reason, errors.New(refusal.Message)
		return o
	}
	o.Outcome = op.Run(ctx, c)
	o.finished = time.Now()
	return o
}

const (
	// processingDelay is how long an attempt runs under load before the status shows Processing.
	processingDelay = 200 * time.Millisecond
	// lateStart is the age at which the first attempt of an event counts as late.
	lateStart = 5 * time.Second
)

// underLoad reports whether all workers are busy, or this event starts late while other attempts are in progress. busy counts the attempts
// in progress, including this one.
func (r *WebhookEventReconciler) underLoad(c *store.Attempt, busy int) bool {
	return busy >= r.Concurrency || busy > 1 && c.Attempts == 1 && c.StartedAt.Sub(c.ReceivedAt) > lateStart
}

// showProcessingInTime writes the status Processing: at once, or under load only if the attempt takes longer than processingDelay. A short
// attempt then writes only its result, which halves the load on the API server. The returned function waits until no write is in flight; it
// may be called more than once.
func (r *WebhookEventReconciler) showProcessingInTime(ctx context.Context, s *scope) (settle func()) {
	show := func() {
		if err := r.showProcessing(ctx, s); err != nil {
			// The claim on the row is what counts. The next write corrects the status.
			ctrl.LoggerFrom(ctx).V(1).Info("failed to write the phase Processing; the attempt continues",
				"event", s.claimed.ID, "error", err.Error())
		}
	}
	if busy := int(r.busy.Add(1)); !r.underLoad(s.claimed, busy) {
		show()
		return sync.OnceFunc(func() { r.busy.Add(-1) })
	}
	written := make(chan struct{})
	timer := time.AfterFunc(processingDelay, func() { show(); close(written) })
	return sync.OnceFunc(func() {
		r.busy.Add(-1)
		if !timer.Stop() {
			<-written
		}
	})
}
