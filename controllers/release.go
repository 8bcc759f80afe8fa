package controllers

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// HeldRows is what the Releaser needs of the database.
type HeldRows interface {
	ReleaseHeld(ctx context.Context, down []string, limit int) (released []store.Released, more bool, err error)
	ReleaseForSlots(ctx context.Context, limit string, free int) (released []store.Released, more bool, err error)
	ReleaseForTrial(ctx context.Context, destinations []string) ([]store.Released, error)
}

// Outages returns the destinations that are down, and those among them that allow a trial call.
type Outages func() (down, allowTrial []string)

// Capacity describes the concurrency limits of the destinations.
type Capacity struct {
	// Slots returns the state of each limit.
	Slots func() []destination.Slots
	// Released receives after a call has released its slot. Calls that end at the same time may share one receive.
	Released <-chan struct{}
}

// Releaser makes held events due before their next attempt. While a destination's breaker is half open, it releases one event at a time.
// When the destination is up again, it releases all events, the oldest first, as fast as they are claimed. So an outage of hours is over
// shortly after the backlog is processed. It also releases an event that waits for a concurrency limit when a slot is free, the oldest
// first. Reconciler, Rows, Namespace and Outages are required.
type Releaser struct {
	Reconciler *WebhookEventReconciler
	Rows       HeldRows
	Namespace  string
	Outages    Outages
	// Capacity is zero if no destination has a concurrency limit.
	Capacity Capacity
	// Every is the interval at which the Releaser checks for changes; 500 ms by default. A check without a change does not query the
	// database.
	Every time.Duration
	// Batch is the maximum number of released events that are due and not claimed; 256 by default. So capacity remains for new events, and
	// few events wait again if the destination fails again.
	Batch int
	// Recheck is the interval at which the Releaser queries the database without a change; 30 s by default. It finds attempts that were
	// recorded after their destination had recovered.
	Recheck time.Duration
	Log     logr.Logger

	// lastDown has the destinations that were down at the last query, and queried its time. more is true if more events may be held.
	lastDown []string
	queried  time.Time
	more     bool
	// queues has the state of each concurrency limit, by its name.
	queues map[string]*queueState
}

// queueState is the state of the queue of one concurrency limit.
type queueState struct {
	// queried is the time of the last query, and more is true if more events may be queued.
	queried time.Time
	more    bool
	// pending counts the released events whose call has not started. Each of them needs one of the free slots. requests is the number of
	// requests for a slot until the last check.
	pending, requests int
}

// free returns how many further events can be released.
func (q *queueState) free(s destination.Slots) int {
	q.pending = max(0, q.pending-(s.Requests-q.requests))
	if time.Since(q.queried) > refusalRecorded {
		q.pending = 0 // They do not call, for instance because they were suspended.
	}
	q.requests = s.Requests
	return max(0, s.Free-q.pending)
}

// refusalRecorded is the time within which the attempt of a refused call is surely recorded.
const refusalRecorded = 10 * time.Second

// NeedLeaderElection makes the manager run it on the leader only.
func (*Releaser) NeedLeaderElection() bool { return true }

// Start releases until ctx ends. A new leader starts with closed breakers, so it releases the events that the previous leader held.
func (r *Releaser) Start(ctx context.Context) error {
	r.Batch = cmp.Or(r.Batch, 256)
	r.Recheck = cmp.Or(r.Recheck, 30*time.Second)
	r.queues = map[string]*queueState{}
	ticker := time.NewTicker(cmp.Or(r.Every, 500*time.Millisecond))
	defer ticker.Stop()
	next := r.releaseAll
	for {
		if err := next(ctx); err != nil && ctx.Err() == nil {
			r.Log.Info("failed to release held events; they retry at nextAttemptTime", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			next = r.releaseAll
		case <-r.Capacity.Released:
			next = r.releaseQueued
		}
	}
}

func (r *Releaser) releaseAll(ctx context.Context) error {
	down, allowTrial := r.Outages()
	return errors.Join(r.releaseRecovered(ctx, down), r.releaseForTrial(ctx, allowTrial), r.releaseQueued(ctx))
}

// releaseRecovered releases the events whose destination is up again.
func (r *Releaser) releaseRecovered(ctx context.Context, down []string) error {
	slices.Sort(down)
	if slices.Equal(down, r.lastDown) && !r.more && time.Since(r.queried) < r.Recheck {
		return nil
	}
	held := slices.Clone(down)
	for _, s := range r.slots() {
		held = append(held, s.Limit) // An event that waits for a slot is released only by releaseQueued.
	}
	released, more, err := r.Rows.ReleaseHeld(ctx, held, r.Batch)
	if err != nil {
		return err
	}
	r.lastDown, r.queried, r.more = down, time.Now(), more
	r.wake(ctx, released)
	return nil
}

// releaseForTrial releases one event for each destination that allows a trial call.
func (r *Releaser) releaseForTrial(ctx context.Context, destinations []string) error {
	if len(destinations) == 0 {
		return nil
	}
	released, err := r.Rows.ReleaseForTrial(ctx, destinations)
	if err != nil {
		return err
	}
	r.wake(ctx, released)
	return nil
}

// releaseQueued releases as many events as each concurrency limit has free slots.
func (r *Releaser) releaseQueued(ctx context.Context) error {
	for _, s := range r.slots() {
		q := r.queues[s.Limit]
		if q == nil {
			q = &queueState{}
			r.queues[s.Limit] = q
		}
		free := q.free(s)
		if free == 0 || !q.more && time.Since(s.Refused) > refusalRecorded && time.Since(q.queried) < r.Recheck {
			continue
		}
		released, more, err := r.Rows.ReleaseForSlots(ctx, s.Limit, free)
		if err != nil {
			return err
		}
		q.queried, q.more = time.Now(), more
		q.pending += len(released)
		r.wake(ctx, released)
	}
	return nil
}

func (r *Releaser) slots() []destination.Slots {
	if r.Capacity.Slots == nil {
		return nil
	}
	return r.Capacity.Slots()
}

// wake reconciles released events. If the process dies before, the next leader reconciles all events. The relay recreates the WebhookEvent
// of a parked event, which triggers a reconcile. But the old WebhookEvent can still exist, if it changed before the Housekeeper deleted it.
func (r *Releaser) wake(ctx context.Context, released []store.Released) {
	for _, e := range released {
		name := types.NamespacedName{Namespace: r.Namespace, Name: v1alpha1.NameOf(e.Source, e.ID.String())}
		if e.Dispatched || r.Reconciler.Client.Get(ctx, name, &v1alpha1.WebhookEvent{}) == nil {
			r.Reconciler.wake(ctx, name.Namespace, name.Name)
		}
	}
}
