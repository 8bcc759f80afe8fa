package controllers

import (
	"cmp"
	"context"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/dfmiddleware/verity-sync/internal/failpoint"
)

// FinishedRows is what Retention needs of the database.
type FinishedRows interface {
	// DeleteFinished deletes a batch of rows that finished longer than retention ago. It reports whether there may be more.
	DeleteFinished(ctx context.Context, retention time.Duration) (deleted int64, more bool, err error)
}

// Retention deletes rows that finished long ago, in small batches.
type Retention struct {
	Rows FinishedRows
	// Keep is how long finished rows stay.
	Keep time.Duration
	// Every is the time between two runs, 10 min by default. Pause is the time between two batches, 200 ms by default.
	Every, Pause time.Duration
	Log          logr.Logger
}

// NeedLeaderElection makes the manager run it on the leader only.
func (*Retention) NeedLeaderElection() bool { return true }

// Start deletes old rows until ctx ends.
func (r *Retention) Start(ctx context.Context) error {
	r.Pause = cmp.Or(r.Pause, 200*time.Millisecond)
	wait.UntilWithContext(ctx, r.deleteOld, cmp.Or(r.Every, 10*time.Minute))
	return nil
}

// deleteOld deletes all rows that are older than Keep.
func (r *Retention) deleteOld(ctx context.Context) {
	var total int64
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		deleted, more, err := r.Rows.DeleteFinished(ctx, r.Keep)
		if err != nil && ctx.Err() == nil {
			r.Log.Info("failed to delete old rows; the next run retries", "error", err.Error())
		}
		total += deleted
		if !more {
			stop()
			return
		}
		failpoint.Hit(failpoint.RetentionRemoved)
	}, r.Pause)
	if total > 0 {
		r.Log.Info("deleted rows that finished longer than RETENTION ago", "count", total)
	}
}
