package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// HousekeepingRows is what the Housekeeper needs of the database.
type HousekeepingRows interface {
	AuditRequestedAt(ctx context.Context) (time.Time, error)
	ListDispatched(ctx context.Context, grace time.Duration, after store.DispatchedEvent, limit int) ([]store.DispatchedEvent, error)
	Statuses(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]store.Status, error)
	Undispatch(ctx context.Context, ids ...uuid.UUID) (int64, error)
	Park(ctx context.Context, ids []uuid.UUID) ([]uuid.UUID, error)
}

// Housekeeper keeps the number of WebhookEvents bounded, and corrects differences from the database: rows without a WebhookEvent, and
// WebhookEvents whose status differs from the row. All fields except the durations are required.
type Housekeeper struct {
	Reconciler *WebhookEventReconciler
	Rows       HousekeepingRows
	Namespace  string
	// FinishedLimit bounds the finished WebhookEvents of each kind: Done, Error, and Error of bodies that do not parse. The oldest are
	// deleted first.
	FinishedLimit int
	// MaxWaiting bounds the WebhookEvents that wait for a later attempt; the others are parked in the database.
	MaxWaiting int
	// PruneEvery is the interval at which the bounds are checked; 2 s by default.
	PruneEvery time.Duration
	// AuditEvery is the interval of the audits; 1 min by default. A requested audit starts within PruneEvery.
	AuditEvery time.Duration
	// Grace is how long a WebhookEvent may take to reach the cache; 10 s by default.
	Grace time.Duration
	Log   logr.Logger

	// lastAudit is when the last audit succeeded, and lastRequest when the last audit that ran was requested.
	lastAudit, lastRequest time.Time
	// lost and forgotten are those of the last audit, so that a leader logs a loss once.
	lost, forgotten int
}

const (
	housekeepingPage    = 500
	housekeepingDeletes = 8
)

// NeedLeaderElection makes the manager run it on the leader only.
func (*Housekeeper) NeedLeaderElection() bool { return true }

// Start audits and prunes until ctx ends.
func (h *Housekeeper) Start(ctx context.Context) error {
	h.AuditEvery = cmp.Or(h.AuditEvery, time.Minute)
	h.Grace = cmp.Or(h.Grace, 10*time.Second)
	wait.NonSlidingUntilWithContext(ctx, func(ctx context.Context) {
		h.auditIfDue(ctx)
		h.logFailure(ctx, "prune WebhookEvents", h.prune(ctx))
	}, cmp.Or(h.PruneEvery, 2*time.Second))
	return nil
}

func (h *Housekeeper) auditIfDue(ctx context.Context) {
	requested, err := h.Rows.AuditRequestedAt(ctx)
	h.logFailure(ctx, "check for a requested audit", err)
	if !requested.After(h.lastRequest) && time.Since(h.lastAudit) < h.AuditEvery {
		return
	}
	h.lastRequest = requested
	if err := h.audit(ctx); err != nil {
		h.logFailure(ctx, "audit", err)
		return
	}
	h.lastAudit = time.Now()
}

func (h *Housekeeper) logFailure(ctx context.Context, task string, err error) {
	if err != nil && ctx.Err() == nil {
		h.Log.Info("housekeeping failed; retrying", "task", task, "error", err.Error())
	}
}

// prune deletes the oldest finished events beyond the limit, and parks the waiting events with the latest next attempt.
func (h *Housekeeper) prune(ctx context.Context) error {
	all, err := h.list(ctx)
	if err != nil {
		return err
	}
	kinds := map[kind][]*v1alpha1.WebhookEvent{}
	var waiting []*v1alpha1.WebhookEvent
	for i := range all {
		e := &all[i]
		if foreign, err := h.Reconciler.labelledForeign(ctx, e); err != nil {
			return err
		} else if foreign {
			continue
		}
		switch {
		case e.DeletionTimestamp != nil: // A finalizer keeps it.
		case rowLost(e): // It stays until a user deletes it.
		case e.Status.Phase.Finished() && e.ReplayRequest() == "": // With a request, it runs again.
			k := kind{e.Status.Phase, e.Spec.EventType == event.TypeUnparseable}
			kinds[k] = append(kinds[k], e)
		case e.Status.NextAttemptTime != nil && !e.Spec.Suspend && time.Until(e.Status.NextAttemptTime.Time) > 0:
			waiting = append(waiting, e)
		}
	}
	var surplus []*v1alpha1.WebhookEvent
	for _, events := range kinds {
		surplus = append(surplus, beyond(events, h.FinishedLimit, completed)...)
	}
	parked, err := h.park(ctx, beyond(waiting, h.MaxWaiting, nextAttempt))
	return errors.Join(err, h.deleteAll(ctx, append(surplus, parked...)))
}

// kind is a group of finished events with a separate limit: so many bodies that do not parse do not displace other errors.
type kind struct {
	phase       v1alpha1.WebhookEventPhase
	unparseable bool
}

// beyond returns the events beyond the limit: the oldest of the finished events, or the waiting events that are due last.
func beyond(events []*v1alpha1.WebhookEvent, limit int, at func(*v1alpha1.WebhookEvent) time.Time) []*v1alpha1.WebhookEvent {
	if len(events) <= limit {
		return nil
	}
	slices.SortFunc(events, func(a, b *v1alpha1.WebhookEvent) int { return at(a).Compare(at(b)) })
	if events[0].Status.Phase.Finished() {
		return events[:len(events)-limit]
	}
	return events[limit:]
}

func completed(e *v1alpha1.WebhookEvent) time.Time {
	if e.Status.CompletionTime == nil {
		return e.CreationTimestamp.Time
	}
	return e.Status.CompletionTime.Time
}

func nextAttempt(e *v1alpha1.WebhookEvent) time.Time { return e.Status.NextAttemptTime.Time }

// park parks waiting events in the database, and returns those whose objects can be deleted.
func (h *Housekeeper) park(ctx context.Context, events []*v1alpha1.WebhookEvent) ([]*v1alpha1.WebhookEvent, error) {
	if len(events) == 0 {
		return nil, nil
	}
	byID := map[uuid.UUID]*v1alpha1.WebhookEvent{}
	var ids []uuid.UUID
	for _, e := range events {
		if id, ok := idOf(e.Name); ok {
			ids, byID[id] = append(ids, id), e
		}
	}
	ids, err := h.Rows.Park(ctx, ids)
	var out []*v1alpha1.WebhookEvent
	for _, id := range ids {
		out = append(out, byID[id])
	}
	if len(out) > 0 {
		failpoint.Hit(failpoint.Parked)
		h.Log.Info("parked events in the database until their next attempt is due", "count", len(out))
	}
	return out, err
}

func (h *Housekeeper) deleteAll(ctx context.Context, events []*v1alpha1.WebhookEvent) error {
	var group errgroup.Group
	group.SetLimit(housekeepingDeletes)
	for _, e := range events {
		group.Go(func() error {
			err := deleteUnchanged(ctx, h.Reconciler.Client, e)
			if apierrors.IsConflict(err) {
				return nil // The object changed; the next run checks it again.
			}
			return err
		})
	}
	return group.Wait()
}

func (h *Housekeeper) list(ctx context.Context) ([]v1alpha1.WebhookEvent, error) {
	var all v1alpha1.WebhookEventList
	// The Housekeeper does not change the objects, so the cache need not copy them.
	err := h.Reconciler.Client.List(ctx, &all, client.InNamespace(h.Namespace), client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list WebhookEvents: %w", err)
	}
	return slices.Clone(all.Items), nil
}

// audit compares rows and WebhookEvents, both ways.
func (h *Housekeeper) audit(ctx context.Context) error {
	return errors.Join(h.auditRows(ctx), h.auditObjects(ctx))
}

// auditRows requests the WebhookEvents that are missing.
func (h *Housekeeper) auditRows(ctx context.Context) error {
	var last store.DispatchedEvent
	for {
		rows, err := h.Rows.ListDispatched(ctx, h.Grace, last, housekeepingPage)
		if err != nil {
			return err
		}
		var missing []uuid.UUID
		for _, row := range rows {
			name := types.NamespacedName{Namespace: h.Namespace, Name: v1alpha1.NameOf(row.Source, row.ID.String())}
			err := h.Reconciler.Client.Get(ctx, name, &v1alpha1.WebhookEvent{})
			if apierrors.IsNotFound(err) {
				missing = append(missing, row.ID)
			} else if err != nil {
				return fmt.Errorf("read WebhookEvent %s: %w", name.Name, err)
			}
			last = row
		}
		if len(missing) > 0 {
			n, err := h.Rows.Undispatch(ctx, missing...)
			if err != nil {
				return err
			}
			h.Log.Info("WebhookEvents of unfinished rows were missing; the relay recreates them", "count", n)
		}
		if len(rows) < housekeepingPage {
			return nil
		}
	}
}

// auditResult counts the events of which the database has lost data.
type auditResult struct {
	// lost events are not done and have no row, forgotten events are done and have no row, and repeated events had finished and run again.
	lost, forgotten, repeated int
}

// auditObjects corrects each object that does not agree with its row.
func (h *Housekeeper) auditObjects(ctx context.Context) error {
	all, err := h.list(ctx)
	if err != nil {
		return err
	}
	var result auditResult
	for page := range slices.Chunk(all, housekeepingPage) {
		if err := h.auditPage(ctx, page, &result); err != nil {
			return err
		}
	}
	h.reportAudit(result)
	return nil
}

func (h *Housekeeper) auditPage(ctx context.Context, page []v1alpha1.WebhookEvent, result *auditResult) error {
	ids := make([]uuid.UUID, len(page))
	for i := range page {
		var err error
		if ids[i], err = h.Reconciler.rowOf(ctx, &page[i]); err != nil {
			return err
		}
	}
	statuses, err := h.Rows.Statuses(ctx, ids)
	if err != nil {
		return err
	}
	for i := range page {
		status, hasRow := statuses[ids[i]]
		if hasRow && agree(status, page[i].Status.Phase) {
			continue
		}
		if !hasRow {
			if correct, err := h.auditWithoutRow(ctx, ids[i], &page[i], result); err != nil {
				return err
			} else if correct {
				continue
			}
		}
		repeated, err := h.repair(ctx, ids[i], &page[i])
		if err != nil {
			return err
		}
		if repeated {
			result.repeated++
		}
	}
	return nil
}

// auditWithoutRow counts an object without a row, and reports whether its status is correct.
func (h *Housekeeper) auditWithoutRow(ctx context.Context, id uuid.UUID, object *v1alpha1.WebhookEvent, result *auditResult) (bool, error) {
	if foreign, err := h.Reconciler.labelledForeign(ctx, object); err != nil || foreign {
		return true, err
	}
	lost, err := h.Reconciler.lost(ctx, id, object)
	switch {
	case err != nil:
		return false, err
	case lost && object.Status.Phase == v1alpha1.PhaseDone:
		result.forgotten++ // It was done, as its status shows.
		return true, nil
	case lost:
		result.lost++
		return rowLost(object), nil
	default:
		return object.Status.Phase.Finished(), nil // Retention deleted the row after the event had finished.
	}
}

// reportAudit reports the result of an audit in metrics and logs.
func (h *Housekeeper) reportAudit(result auditResult) {
	h.Reconciler.Metrics.Lost(result.lost)
	h.Reconciler.Metrics.RolledBack(result.repeated)
	if result.repeated > 0 {
		h.Log.Info("the middleware database has lost the results of finished events; they run again, with the same idempotency keys",
			"count", result.repeated)
	}
	if result.lost > h.lost {
		h.Log.Info("the middleware database has lost unfinished events; their WebhookEvents end in Error with the reason RowLost; "+
			"see docs/operations.md, After a restore", "count", result.lost)
	}
	if result.forgotten > h.forgotten {
		h.Log.Info("the middleware database has lost events that are done; they do not run again", "count", result.forgotten)
	}
	h.lost, h.forgotten = result.lost, result.forgotten
}

// agree reports whether a phase agrees with a row's status. The phases of unfinished events change often, and their reconciles write them.
func agree(status store.Status, phase v1alpha1.WebhookEventPhase) bool {
	if !status.Finished() {
		return !phase.Finished()
	}
	return phase == phaseOf(status)
}

// repair writes the status of an object from its row. If the event is unfinished, the change of the status triggers a reconcile. It reports
// whether the event runs again because the row has lost its result.
func (h *Housekeeper) repair(ctx context.Context, id uuid.UUID, object *v1alpha1.WebhookEvent) (repeated bool, err error) {
	state, err := h.Reconciler.stateOf(ctx, id, object)
	if err != nil {
		return false, err
	}
	s := &scope{id: id, object: object.DeepCopy()}
	err = h.Reconciler.showRow(ctrl.LoggerInto(ctx, h.Log.WithValues("name", object.Name)), s, state)
	switch {
	case err == nil:
		return rolledBack(object, state), nil
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return false, nil
	default:
		return false, fmt.Errorf("write the status of event %s: %w", id, err)
	}
}
