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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Housekeeper keeps the number of WebhookEvents bounded, and mends what does not agree with the database: rows whose
// WebhookEvent is missing, and WebhookEvents whose row says otherwise. All fields but the durations are required.
type Housekeeper struct {
	Reconciler *WebhookEventReconciler
	Namespace  string
	// FinishedLimit bounds the finished WebhookEvents of each kind, Done, Error, and Error of bodies that cannot be read; the
	// oldest go first.
	FinishedLimit int
	// MaxWaiting bounds the WebhookEvents that wait for a later attempt; the surplus is parked in the database.
	MaxWaiting int
	// PruneEvery is how often the bounds are looked after; 2 s by default.
	PruneEvery time.Duration
	// AuditEvery is how often all is compared with the database; 1 min by default. An audit that is asked for begins
	// within PruneEvery.
	AuditEvery time.Duration
	// Grace is how long a WebhookEvent may take to reach the cache; 10 s by default.
	Grace time.Duration
	Log   logr.Logger

	// forgotten is how many WebhookEvents the last audit found done without a row.
	forgotten int
}

const (
	housekeepingPage    = 500
	housekeepingDeletes = 8
)

// NeedLeaderElection makes the manager run it on the leader only.
func (*Housekeeper) NeedLeaderElection() bool { return true }

// Start keeps house until ctx ends.
func (h *Housekeeper) Start(ctx context.Context) error {
	h.PruneEvery = cmp.Or(h.PruneEvery, 2*time.Second)
	h.AuditEvery = cmp.Or(h.AuditEvery, time.Minute)
	h.Grace = cmp.Or(h.Grace, 10*time.Second)
	ticker := time.NewTicker(h.PruneEvery)
	defer ticker.Stop()
	var lastAudit, lastRequest time.Time
	for {
		requested, err := h.Reconciler.Rows.AuditRequestedAt(ctx)
		h.note(ctx, "see whether an audit was asked for", err)
		if requested.After(lastRequest) || time.Since(lastAudit) >= h.AuditEvery {
			lastRequest = requested
			if err := h.audit(ctx); err != nil {
				h.note(ctx, "audit", err)
			} else {
				lastAudit = time.Now()
			}
		}
		h.note(ctx, "keep the number of WebhookEvents bounded", h.prune(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (h *Housekeeper) note(ctx context.Context, doing string, err error) {
	if err != nil && ctx.Err() == nil {
		h.Log.Info("housekeeping did not succeed and is tried again", "doing", doing, "error", err.Error())
	}
}

// prune deletes the oldest finished events beyond the limit, and parks the waiting ones whose next attempt is farthest.
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
		case e.DeletionTimestamp != nil: // Somebody's finalizer keeps it.
		case rowLost(e): // It stays until somebody has seen to it.
		case e.Status.Phase.Finished() && e.ReplayRequest() == "": // Else it is about to run again.
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

// kind is a history of its own: many bodies that cannot be read push no other error out.
type kind struct {
	phase       v1alpha1.WebhookEventPhase
	unparseable bool
}

// beyond returns the events that are too many: for finished ones the oldest, for waiting ones those due last.
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

// park takes waiting events back into the database and returns those whose objects can go.
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
	ids, err := h.Reconciler.Rows.Park(ctx, ids)
	var out []*v1alpha1.WebhookEvent
	for _, id := range ids {
		out = append(out, byID[id])
	}
	if len(out) > 0 {
		failpoint.Hit(failpoint.Parked)
		h.Log.Info("events that wait for a later attempt were parked in the database until then", "count", len(out))
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
				return nil // It is looked at again.
			}
			return err
		})
	}
	return group.Wait()
}

func (h *Housekeeper) list(ctx context.Context) ([]v1alpha1.WebhookEvent, error) {
	var all v1alpha1.WebhookEventList
	// Nothing here changes an object, so that the cache need not copy them.
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

// auditRows asks for the WebhookEvents that are missing.
func (h *Housekeeper) auditRows(ctx context.Context) error {
	var last store.DispatchedEvent
	for {
		rows, err := h.Reconciler.Rows.ListDispatched(ctx, h.Grace, last, housekeepingPage)
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
				return fmt.Errorf("look for WebhookEvent %s: %w", name.Name, err)
			}
			last = row
		}
		if len(missing) > 0 {
			n, err := h.Reconciler.Rows.Undispatch(ctx, missing...)
			if err != nil {
				return err
			}
			h.Log.Info("WebhookEvents of unfinished rows were missing; they come back", "count", n)
		}
		if len(rows) < housekeepingPage {
			return nil
		}
	}
}

// found counts what an audit has found of a database that has lost something.
type found struct {
	// lost events were not done and have no row, forgotten ones were done and have no row, and repeated ones were finished and run again.
	lost, forgotten, repeated int
}

// auditObjects shows anew what does not agree with its row.
func (h *Housekeeper) auditObjects(ctx context.Context) error {
	all, err := h.list(ctx)
	if err != nil {
		return err
	}
	var found found
	for page := range slices.Chunk(all, housekeepingPage) {
		if err := h.auditPage(ctx, page, &found); err != nil {
			return err
		}
	}
	h.report(found)
	return nil
}

func (h *Housekeeper) auditPage(ctx context.Context, page []v1alpha1.WebhookEvent, found *found) error {
	ids := make([]uuid.UUID, len(page))
	for i := range page {
		var err error
		if ids[i], err = h.Reconciler.rowOf(ctx, &page[i]); err != nil {
			return err
		}
	}
	statuses, err := h.Reconciler.Rows.Statuses(ctx, ids)
	if err != nil {
		return err
	}
	for i := range page {
		status, hasRow := statuses[ids[i]]
		if hasRow && agree(status, page[i].Status.Phase) {
			continue
		}
		if !hasRow {
			if seen, err := h.auditMissing(ctx, ids[i], &page[i], found); err != nil {
				return err
			} else if seen {
				continue
			}
		}
		repeated, err := h.repair(ctx, ids[i], &page[i])
		if err != nil {
			return err
		}
		if repeated {
			found.repeated++
		}
	}
	return nil
}

// auditMissing counts an object without a row, and reports whether nothing has to be shown on it.
func (h *Housekeeper) auditMissing(ctx context.Context, id uuid.UUID, object *v1alpha1.WebhookEvent, found *found) (bool, error) {
	if foreign, err := h.Reconciler.labelledForeign(ctx, object); err != nil || foreign {
		return true, err
	}
	lost, err := h.Reconciler.lost(ctx, id, object)
	switch {
	case err != nil:
		return false, err
	case lost && object.Status.Phase == v1alpha1.PhaseDone:
		found.forgotten++ // All was done, and that is what is shown.
		return true, nil
	case lost:
		found.lost++
		return rowLost(object), nil
	default:
		return object.Status.Phase.Finished(), nil // The row has gone at the end of its time; what is shown was true.
	}
}

// report says what an audit has found.
func (h *Housekeeper) report(found found) {
	h.Reconciler.Metrics.Lost(found.lost)
	h.Reconciler.Metrics.RolledBack(found.repeated)
	if found.repeated > 0 {
		h.Log.Info("the database has lost how events ended; they run again, and are forwarded under the same key", "count", found.repeated)
	}
	if found.forgotten > h.forgotten {
		h.Log.Info("the database has lost events that are done; nothing is repeated", "count", found.forgotten)
	}
	h.forgotten = found.forgotten
}

// agree reports whether a phase shows a status. What is on its way changes all the time, and its own reconciles show it.
func agree(status store.Status, phase v1alpha1.WebhookEventPhase) bool {
	switch status {
	case store.StatusDone:
		return phase == v1alpha1.PhaseDone
	case store.StatusError:
		return phase == v1alpha1.PhaseError
	default:
		return !phase.Finished()
	}
}

// repair shows the row's state on an object that says otherwise. One that is not finished after all is reconciled, as soon as the cache
// has seen it. It reports whether the event runs again because the row has lost how it ended.
func (h *Housekeeper) repair(ctx context.Context, id uuid.UUID, object *v1alpha1.WebhookEvent) (repeated bool, err error) {
	state, err := h.Reconciler.Rows.Load(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		state, err = h.Reconciler.missing(ctx, id, object)
	}
	if err != nil {
		return false, err
	}
	s := &scope{id: id, object: object.DeepCopy()}
	err = h.Reconciler.project(ctx, s, state)
	switch {
	case err == nil:
		return rolledBack(object, state), nil
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return false, nil
	default:
		return false, fmt.Errorf("show the state of event %s: %w", id, err)
	}
}
