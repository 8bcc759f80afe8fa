package controllers

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Mark is the latest known heartbeat. It only increases. The lease of the leader election stores it, because a restore of the database does
// not reset the lease. It is safe for concurrent use; its zero value knows no heartbeat.
type Mark struct {
	mu sync.Mutex
	at time.Time
}

// Latest returns the latest known heartbeat, or the zero time.
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

// HeartbeatRows is what the Heartbeat needs of the database.
type HeartbeatRows interface {
	Beat(ctx context.Context, term int64, known time.Time) (store.Heartbeat, error)
	RequestAudit(ctx context.Context) error
}

// Heartbeat increases a time in the database and in Mark. So it detects a database that was rolled back, by a restore or by a failover that
// lost the last commits. It also ends a leader that is fenced, even if no event is due. Reconciler, Rows and Mark are required.
type Heartbeat struct {
	Reconciler *WebhookEventReconciler
	Rows       HeartbeatRows
	Mark       *Mark
	// RolledBack is called when the database was rolled back. It must not block.
	RolledBack func(from, to time.Time)
	// Every is the interval of the heartbeat; 5 s by default. If the database was rolled back by less, the heartbeat may not detect it.
	Every time.Duration
	Log   logr.Logger

	failing bool
}

// NeedLeaderElection makes the manager run it on the leader only.
func (*Heartbeat) NeedLeaderElection() bool { return true }

// Start beats until ctx ends or the leader is fenced.
func (h *Heartbeat) Start(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wait.NonSlidingUntilWithContext(ctx, func(ctx context.Context) {
		err := h.beat(ctx)
		switch {
		case errors.Is(err, store.ErrFenced):
			h.Reconciler.OnFenced(err)
			stop()
		case err != nil && !h.failing && ctx.Err() == nil:
			h.Log.Info("failed to record the heartbeat; retrying, with no further line until it succeeds", "error", err.Error())
		}
		h.failing = err != nil
	}, cmp.Or(h.Every, 5*time.Second))
	return nil
}

// beat increases the heartbeat. If the process dies right after, the database has recorded the rollback and the next leader audits, but the
// log line and the Kubernetes Event are missing.
func (h *Heartbeat) beat(ctx context.Context) error {
	term, err := h.Reconciler.leaderTerm(ctx)
	if err != nil {
		return err
	}
	from := h.Mark.Latest()
	beat, err := h.Rows.Beat(ctx, term, from)
	if err != nil {
		return err
	}
	h.Mark.Seen(beat.At)
	if !beat.RolledBack {
		return nil
	}
	h.Log.Info("the middleware database was rolled back: webhooks received in between are lost unless they are sent again, and events "+
		"finished in between run again; see docs/operations.md, After a restore",
		"from", from, "to", beat.RolledBackTo)
	if h.RolledBack != nil {
		h.RolledBack(from, beat.RolledBackTo)
	}
	return h.Rows.RequestAudit(ctx)
}
