package controllers

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Mark is the latest heartbeat that is known. It only grows, and the lease of the leader election keeps it, which does not go back together
// with the database. It is safe for concurrent use; its zero value knows none.
type Mark struct {
	mu sync.Mutex
	at time.Time
}

// Latest returns the latest heartbeat that is known, zero if none is.
func (m *Mark) Latest() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at
}

// Seen records a heartbeat.
func (m *Mark) Seen(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.After(m.at) {
		m.at = at
	}
}

// Heartbeat moves a time forward in the database and in Mark, and so notices a database that has gone back to an earlier moment: it was
// restored, or a failover lost what was committed last. It also ends a leader whose term the database does not have any more, though no
// event is due. Reconciler and Mark are required.
type Heartbeat struct {
	Reconciler *WebhookEventReconciler
	Mark       *Mark
	// RolledBack is called when the database has gone back. It must not block.
	RolledBack func(from, to time.Time)
	// Every is how often it beats; 5 s by default. A database that went back by less may not be noticed here, but by its events only.
	Every time.Duration
	Log   logr.Logger
}

// NeedLeaderElection makes the manager run it on the leader only.
func (*Heartbeat) NeedLeaderElection() bool { return true }

// Start beats until ctx ends.
func (h *Heartbeat) Start(ctx context.Context) error {
	ticker := time.NewTicker(cmp.Or(h.Every, 5*time.Second))
	defer ticker.Stop()
	failing := false
	for {
		err := h.beat(ctx)
		switch {
		case errors.Is(err, store.ErrFenced):
			h.Reconciler.OnFenced(err)
			return nil
		case err != nil && !failing && ctx.Err() == nil:
			h.Log.Info("the heartbeat was not recorded in the database and is tried again", "error", err.Error())
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// beat moves the heartbeat forward. If the process dies right after, the database has recorded that it went back, a new leader audits in
// any case, and only the log line and the Kubernetes Event are missing.
func (h *Heartbeat) beat(ctx context.Context) error {
	term, err := h.Reconciler.term.get(ctx, h.Reconciler.Rows, h.Reconciler.Identity)
	if err != nil {
		return err
	}
	from := h.Mark.Latest()
	beat, err := h.Reconciler.Rows.Beat(ctx, term, from)
	if err != nil {
		return err
	}
	h.Mark.Seen(beat.At)
	if !beat.RolledBack {
		return nil
	}
	h.Log.Info("the database has gone back to an earlier moment, by a restore or a failover: events that were received since are lost "+
		"unless they are sent again, and those finished since run again; docs/operations.md says what to do after a restore",
		"from", from, "to", beat.RolledBackTo)
	if h.RolledBack != nil {
		h.RolledBack(from, beat.RolledBackTo)
	}
	return h.Reconciler.Rows.RequestAudit(ctx)
}
