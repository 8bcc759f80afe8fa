package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// sweepUntilDone searches for orphaned rows and, while it holds the lease, relays them.
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
			r.backlogged.Store(true)
			r.opts.Log.Info("failed to relay events; they are stored, and the relay tries again",
				"retrySeconds", pause.Seconds(), "error", err.Error())
		} else {
			failures = 0
		}
		timer.Reset(pause)
	}
}

// sweep does one round and returns the delay of the next.
func (r *Relay) sweep(ctx context.Context, leaseUntil *time.Time) (time.Duration, error) {
	found, err := r.findOrphans(ctx)
	if err != nil || (!found.Unparked && !found.Returning && !r.backlogged.Load()) {
		return r.opts.Poll, err
	}
	// New rows do not queue behind parked events.
	if found.Unparked {
		r.backlogged.Store(true)
	}
	for ctx.Err() == nil {
		held, err := r.lease(ctx, leaseUntil)
		if err != nil {
			return r.opts.Poll, err
		}
		if !held {
			r.backlogged.Store(found.Unparked)
			return r.opts.Poll, nil
		}
		failpoint.Hit(failpoint.RelayLeased)
		relayed, err := r.relayOldest(ctx)
		if err != nil {
			return r.opts.Poll / 2, err
		}
		if found, err = r.findOrphans(ctx); err != nil {
			return r.opts.Poll, err
		}
		if !found.Unparked {
			// From now on new rows are relayed at once. Fetch again, for those that were queued in the meantime.
			r.backlogged.Store(false)
			more, err := r.relayOldest(ctx)
			if err != nil || !found.Returning {
				return r.opts.Poll, err
			}
			relayed += more
		}
		if relayed == 0 {
			return r.opts.Poll / 2, nil // No capacity for these rows.
		}
	}
	return r.opts.Poll, nil
}

func (r *Relay) findOrphans(ctx context.Context) (store.Orphans, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.CallTimeout)
	defer cancel()
	return r.opts.Rows.FindOrphans(ctx, r.opts.Grace)
}

// lease acquires the lease, or renews it after half of its time.
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
		r.opts.Log.Info("failed to release the relay lease; it expires by itself", "error", err.Error())
	}
}

// relayOldest relays the oldest rows for which there is capacity, at most a batch, and returns how many.
func (r *Relay) relayOldest(ctx context.Context) (int, error) {
	want, err := r.admitAll(ctx)
	if err != nil || want.Limit == 0 {
		return 0, err
	}
	defer r.settle(want.Limit, store.EventMeta{}, false)
	listCtx, cancel := context.WithTimeout(ctx, r.opts.CallTimeout)
	defer cancel()
	rows, err := r.opts.Rows.ListUndispatched(listCtx, want)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	created, refused, failed := r.createAll(ctx, rows)
	failpoint.Hit(failpoint.RelaySwept)
	if len(created) > 0 {
		markCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opts.CallTimeout)
		defer cancel()
		failed = errors.Join(failed, r.opts.Rows.MarkDispatched(markCtx, created))
	}
	return len(created), errors.Join(failed, r.postpone(ctx, refused))
}

// createAll creates the WebhookEvents of rows, approximately in their order. It starts no more after the first failure. A refusal of one
// object is not a failure: the API server may accept the next.
func (r *Relay) createAll(
	ctx context.Context, rows []store.EventMeta,
) (created []store.EventMeta, refused []store.RefusedEvent, failed error) {
	var mu sync.Mutex
	group, unlessFailed := errgroup.WithContext(ctx)
	group.SetLimit(r.opts.Workers)
	for _, row := range rows {
		if unlessFailed.Err() != nil {
			break
		}
		group.Go(func() error {
			err := r.create(ctx, row) // A failure does not cancel the calls in flight.
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				created = append(created, row)
			case isRefusal(err):
				refused = append(refused, refusedRow(row, err))
			default:
				return err
			}
			return nil
		})
	}
	failed = group.Wait()
	return created, refused, failed
}

// pauseAfter returns the delay after a failure: the one that the API server asks for, otherwise a delay that doubles with each failure.
func pauseAfter(failures int, err error) time.Duration {
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, maxPause)
	}
	return min(250*time.Millisecond<<min(failures, 10), maxPause)
}
