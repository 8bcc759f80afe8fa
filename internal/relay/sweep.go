package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// sweepUntilDone looks for rows that were left behind and, while it holds the lease, relays them.
func (r *Relay) sweepUntilDone(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var leaseUntil time.Time
	var failures int
	for {
		select {
		case <-ctx.Done():
			r.release(ctx, leaseUntil)
			return
		case <-timer.C:
		case <-r.wake:
		}
		pause, err := r.sweep(ctx, &leaseUntil)
		if err != nil && ctx.Err() == nil {
			failures++
			pause = max(pause, pauseAfter(failures, err))
			r.behind.Store(true)
			r.opts.Log.Info("rows wait to be relayed", "nextTryIn", pause.String(), "error", err.Error())
		} else {
			failures = 0
		}
		timer.Reset(pause)
	}
}

// sweep does one round and says how long to wait for the next.
func (r *Relay) sweep(ctx context.Context, leaseUntil *time.Time) (time.Duration, error) {
	found, err := r.leftBehind(ctx)
	if err != nil || (!found.Unparked && !found.Returning && !r.behind.Load()) {
		return r.opts.Poll, err
	}
	// New rows need not queue behind those that return.
	if found.Unparked {
		r.behind.Store(true)
	}
	for ctx.Err() == nil {
		held, err := r.lease(ctx, leaseUntil)
		if err != nil {
			return r.opts.Poll, err
		}
		if !held {
			r.behind.Store(found.Unparked)
			return r.opts.Poll, nil
		}
		failpoint.Hit(failpoint.RelayLeased)
		relayed, err := r.relayOldest(ctx)
		if err != nil {
			return r.opts.Poll / 2, err
		}
		if found, err = r.leftBehind(ctx); err != nil {
			return r.opts.Poll, err
		}
		if !found.Unparked {
			// New rows are relayed at once again; those that came while they still queued are fetched once more.
			r.behind.Store(false)
			more, err := r.relayOldest(ctx)
			if err != nil || !found.Returning {
				return r.opts.Poll, err
			}
			relayed += more
		}
		if relayed == 0 {
			return r.opts.Poll / 2, nil // There is no room for what there is.
		}
	}
	return r.opts.Poll, nil
}

func (r *Relay) leftBehind(ctx context.Context) (store.Orphans, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.CallTimeout)
	defer cancel()
	return r.opts.Rows.FindOrphans(ctx, r.opts.Grace)
}

// lease takes the lease, or renews it when half of it is over.
func (r *Relay) lease(ctx context.Context, until *time.Time) (bool, error) {
	if time.Until(*until) > leaseTTL/2 {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, leaseTTL/2)
	defer cancel()
	start := time.Now()
	held, err := r.opts.Rows.TakeRelayLease(ctx, r.opts.Identity, leaseTTL)
	if err != nil || !held {
		*until = time.Time{}
		return false, err
	}
	*until = start.Add(leaseTTL)
	return true, nil
}

func (r *Relay) release(ctx context.Context, until time.Time) {
	if time.Now().After(until) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTTL)
	defer cancel()
	if err := r.opts.Rows.ReleaseRelayLease(ctx, r.opts.Identity); err != nil {
		r.opts.Log.Info("the relay lease runs out by itself", "error", err.Error())
	}
}

// relayOldest relays the oldest rows that there is room for, at most a batch, and returns how many it relayed.
func (r *Relay) relayOldest(ctx context.Context) (int, error) {
	room, err := r.admitAll(ctx)
	if err != nil || room.Limit == 0 {
		return 0, err
	}
	defer r.settle(room.Limit, store.EventMeta{}, false)
	listCtx, cancel := context.WithTimeout(ctx, r.opts.CallTimeout)
	defer cancel()
	rows, err := r.opts.Rows.ListUndispatched(listCtx, room)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	made, refused, failed := r.createAll(ctx, rows)
	failpoint.Hit(failpoint.RelaySwept)
	if len(made) > 0 {
		markCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opts.CallTimeout)
		defer cancel()
		failed = errors.Join(failed, r.opts.Rows.MarkDispatched(markCtx, made))
	}
	return len(made), errors.Join(failed, r.postpone(ctx, refused))
}

// createAll creates the WebhookEvents of rows, in their order as far as several at a time have one. It begins no more
// after the first failure; that the API server refuses one object is none, since it may well accept the next.
func (r *Relay) createAll(
	ctx context.Context, rows []store.EventMeta,
) (made []store.EventMeta, refused []store.RefusedEvent, failed error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan store.EventMeta)
	for range min(r.opts.Workers, len(rows)) {
		wg.Go(func() {
			for row := range next {
				err := r.create(ctx, row)
				mu.Lock()
				switch {
				case err == nil:
					made = append(made, row)
				case isRefusal(err):
					refused = append(refused, refusedRow(row, err))
				default:
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	for _, row := range rows {
		mu.Lock()
		stop := failed != nil
		mu.Unlock()
		if stop || ctx.Err() != nil {
			break
		}
		next <- row
	}
	close(next)
	wg.Wait()
	return made, refused, failed
}

// pauseAfter returns how long to leave the API server or the database alone: what it asked for, else twice as long each
// time.
func pauseAfter(failures int, err error) time.Duration {
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, maxPause)
	}
	return min(250*time.Millisecond<<min(failures, 10), maxPause)
}
