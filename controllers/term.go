package controllers

import (
	"context"
	"sync"

	"github.com/dfmiddleware/verity-sync/internal/failpoint"
)

// acquiredTerm is this process's term of leadership. It is acquired at the first use, because only the leader reconciles.
type acquiredTerm struct {
	mu     sync.Mutex
	number int64
}

// leaderTerm returns this process's term, under which it claims and records.
func (r *WebhookEventReconciler) leaderTerm(ctx context.Context) (int64, error) {
	r.term.mu.Lock()
	defer r.term.mu.Unlock()
	if r.term.number == 0 {
		number, err := r.Rows.AcquireTerm(ctx, r.Identity)
		if err != nil {
			return 0, err
		}
		failpoint.Hit(failpoint.TermAcquired)
		r.term.number = number
	}
	return r.term.number, nil
}
