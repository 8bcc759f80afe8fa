package controllers

import (
	"cmp"
	"context"
	"time"

	"github.com/go-logr/logr"

	"github.com/dfmiddleware/verity-sync/internal/failpoint"
)

// Remover removes old finished rows batch by batch.
type Remover interface {
	DeleteFinished(ctx context.Context, retention time.Duration) (deleted int64, more bool, err error)
}

// Retention removes rows that were finished long ago, a small batch at a time.
type Retention struct {
	Rows Remover
	// Keep is how long finished rows stay.
	Keep time.Duration
	// Every is how often it looks; 10 min by default. Pause is how long it rests between two batches; 200 ms by default.
	Every, Pause time.Duration
	Log          logr.Logger
}

// NeedLeaderElection makes the manager run it on the leader only.
func (*Retention) NeedLeaderElection() bool { return true }

// Start removes what is old until ctx ends.
func (r *Retention) Start(ctx context.Context) error {
	r.Every = cmp.Or(r.Every, 10*time.Minute)
	r.Pause = cmp.Or(r.Pause, 200*time.Millisecond)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var total int64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		deleted, more, err := r.Rows.DeleteFinished(ctx, r.Keep)
		if err != nil && ctx.Err() == nil {
			r.Log.Info("old rows could not be removed; that is tried again", "error", err.Error())
		}
		total += deleted
		if more {
			failpoint.Hit(failpoint.RetentionRemoved)
			timer.Reset(r.Pause)
			continue
		}
		if total > 0 {
			r.Log.Info("removed rows that were finished longer ago than they are kept", "count", total)
			total = 0
		}
		timer.Reset(r.Every)
	}
}
