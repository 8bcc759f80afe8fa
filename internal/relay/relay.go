// Package relay creates WebhookEvents from rows. It relays the rows that this process commits at once. One replica at a time relays
// orphaned rows, oldest first: those of a replica that died, of an outage of the API server, or above the limit. No transaction is open
// during a call to the API server. Answers to webhooks do not depend on the relay: during an outage of the API server, rows wait.
package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Rows is the part of the store that the relay uses.
type Rows interface {
	Installation(ctx context.Context) (string, error)
	TakeRelayLease(ctx context.Context, holder string, ttl time.Duration) (bool, error)
	ReleaseRelayLease(ctx context.Context, holder string) error
	FindOrphans(ctx context.Context, grace time.Duration) (store.Orphans, error)
	ListUndispatched(ctx context.Context, want store.DispatchQuery) ([]store.EventMeta, error)
	MarkDispatched(ctx context.Context, rows []store.EventMeta) error
	MarkUnacceptable(ctx context.Context, id uuid.UUID, reason, message string) error
	PostponeRelay(ctx context.Context, rows []store.RefusedEvent, bounds store.PostponeBounds) error
	CountLive(ctx context.Context) (store.LiveCounts, error)
}

// Creator creates objects on the API server. A client.Client is a Creator.
type Creator interface {
	Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error
}

// Options configure a Relay. Rows, Creator, Namespace and Identity are required. The zero value of any other field is its default.
type Options struct {
	Rows    Rows
	Creator Creator
	// Namespace is where WebhookEvents are created.
	Namespace string
	// Identity identifies this replica in the lease, for instance by its pod.
	Identity string
	// MaxLive bounds the due unfinished WebhookEvents; 1,000 by default. The bound is soft: each replica may exceed it by Batch.
	MaxLive int
	// Batch is how many rows are relayed between two counts of live WebhookEvents; 100 by default.
	Batch int
	// Workers is how many creates are in flight at a time; 8 by default.
	Workers int
	// Grace is the minimum age of an orphaned row, if no other is known; 2 s by default. It is longer than a replica takes to relay its own
	// rows.
	Grace time.Duration
	// Poll is the interval of the search for orphaned rows; 500 ms by default.
	Poll time.Duration
	// CallTimeout bounds a call to the API server or the database; 10 s by default.
	CallTimeout time.Duration
	// Observe gets the time from the receipt to the creation of each WebhookEvent. It must not block.
	Observe func(lag time.Duration)
	Log     logr.Logger
}

const (
	leaseTTL = 5 * time.Second
	// markEvery is how long the relay collects created WebhookEvents before it marks their rows. The controller's claim marks a row, too,
	// so most rows need no separate write.
	markEvery = 250 * time.Millisecond
	maxPause  = 10 * time.Second
	ownQueue  = 4096
	// returningShare bounds the parked events that are recreated at a time, to MaxLive/returningShare: as long as their destination is
	// down, they are parked again.
	returningShare = 4
	// blockedFactor times MaxLive is how many live events may wait for an older event of their entity. Above that, the relay dispatches
	// only the oldest event of each entity. Otherwise thousands of events of one contact, of which one is due, would all become
	// WebhookEvents.
	blockedFactor = 2
)

// Relay creates WebhookEvents from rows while Run is running.
type Relay struct {
	opts Options
	own  chan store.EventMeta
	wake chan struct{}
	// backlogged is true while orphaned rows are known: new rows then queue behind them in the database.
	backlogged atomic.Bool

	mu sync.Mutex
	// capacity is how many WebhookEvents may be created before the next count of live ones.
	capacity int

	reservedMu sync.Mutex
	// reserved counts slots whose rows are not settled: those rows are not marked, so CountLive does not include them.
	reserved int
	// unmarked are rows with a WebhookEvent that are not marked yet. reserved does not include them.
	unmarked []store.EventMeta

	refusals refusals
}

// New checks the options and returns a Relay.
func New(opts Options) (*Relay, error) {
	if opts.Rows == nil || opts.Creator == nil || opts.Namespace == "" || opts.Identity == "" {
		return nil, errors.New("relay: Rows, Creator, Namespace and Identity are required")
	}
	opts.MaxLive = cmp.Or(opts.MaxLive, 1000)
	opts.Batch = cmp.Or(opts.Batch, 100)
	opts.Workers = cmp.Or(opts.Workers, 8)
	opts.Grace = cmp.Or(opts.Grace, 2*time.Second)
	opts.Poll = cmp.Or(opts.Poll, 500*time.Millisecond)
	opts.CallTimeout = cmp.Or(opts.CallTimeout, 10*time.Second)
	if opts.Observe == nil {
		opts.Observe = func(time.Duration) {}
	}
	return &Relay{opts: opts, own: make(chan store.EventMeta, ownQueue), wake: make(chan struct{}, 1)}, nil
}

// Offer passes newly committed rows to the relay. It never blocks: the search for orphaned rows finds those that do not fit.
func (r *Relay) Offer(rows []store.EventMeta) {
	for _, row := range rows {
		if r.backlogged.Load() {
			return
		}
		select {
		case r.own <- row:
		default:
			r.backlogged.Store(true)
			return
		}
	}
}

// Wake makes the relay search for orphaned rows now.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run relays until ctx ends. Another replica, or the next start, relays the rest.
func (r *Relay) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range r.opts.Workers {
		wg.Go(func() { r.relayOwn(ctx) })
	}
	wg.Go(func() { r.markRegularly(ctx) })
	r.sweepUntilDone(ctx)
	wg.Wait()
	return nil
}

// relayOwn creates the WebhookEvents of rows that this process committed.
func (r *Relay) relayOwn(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case row := <-r.own:
			if r.backlogged.Load() {
				continue // It queues in the database.
			}
			if ok, err := r.admit(ctx); err != nil || !ok {
				r.backlogged.Store(true)
				continue
			}
			failpoint.Hit(failpoint.RelayTaken)
			err := r.create(ctx, row)
			failpoint.Hit(failpoint.RelayCreated)
			r.settle(1, row, err == nil)
			if isRefusal(err) {
				err = r.postpone(ctx, []store.RefusedEvent{refusedRow(row, err)})
			}
			if err != nil {
				r.backlogged.Store(true)
				if ctx.Err() == nil {
					r.opts.Log.Info("failed to create a WebhookEvent; the event is stored, and the relay tries again",
						"event", row.ID, "error", err.Error())
				}
			}
		}
	}
}

// admit reserves a slot for a live WebhookEvent, and reports whether there was one.
func (r *Relay) admit(ctx context.Context) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.capacity <= 0 {
		want, err := r.countCapacity(ctx)
		if err != nil {
			return false, err
		}
		if want.SkipBlocked {
			return false, nil // Only the sweep knows which rows are blocked.
		}
		r.capacity = want.Limit
	}
	if r.capacity <= 0 {
		return false, nil
	}
	r.capacity--
	r.reserve(1)
	return true, nil
}

// admitAll reserves all free slots, at most a batch.
func (r *Relay) admitAll(ctx context.Context) (store.DispatchQuery, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.capacity = 0
	want, err := r.countCapacity(ctx)
	if err != nil {
		return store.DispatchQuery{}, err
	}
	r.reserve(want.Limit)
	return want, nil
}

func (r *Relay) reserve(n int) {
	r.reservedMu.Lock()
	defer r.reservedMu.Unlock()
	r.reserved += n
}

// settle frees n slots. If a WebhookEvent was created, its row is marked with the next batch.
func (r *Relay) settle(n int, row store.EventMeta, created bool) {
	r.reservedMu.Lock()
	defer r.reservedMu.Unlock()
	r.reserved -= n
	if created {
		r.unmarked = append(r.unmarked, row)
	}
}

// countCapacity returns which WebhookEvents may be created now, at most a batch. It marks created ones before it counts, and adds the
// reserved slots, so that only the current batches of other replicas are not counted.
func (r *Relay) countCapacity(ctx context.Context) (store.DispatchQuery, error) {
	r.reservedMu.Lock()
	reserved := r.reserved // Read before marking: a row that is settled in between counts twice, rather than not at all.
	r.reservedMu.Unlock()
	if err := r.markCreated(ctx); err != nil {
		return store.DispatchQuery{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.CallTimeout)
	defer cancel()
	counts, err := r.opts.Rows.CountLive(ctx)
	if err != nil {
		return store.DispatchQuery{}, err
	}
	limit := max(0, min(r.opts.MaxLive-int(counts.Due)-reserved, r.opts.Batch))
	return store.DispatchQuery{
		Limit: limit,
		// At most half a batch, so that new events continue.
		Returning:   max(0, min(r.opts.MaxLive/returningShare+1-int(counts.Returning), (limit+1)/2)),
		SkipBlocked: int(counts.Blocked) >= blockedFactor*r.opts.MaxLive,
	}, nil
}

// create creates the WebhookEvent of a row. An existing one is a success. A row that cannot have one ends in Error, so that it blocks no
// other. No answer of the API server ends a row.
func (r *Relay) create(ctx context.Context, row store.EventMeta) error {
	ctx, cancel := context.WithTimeout(ctx, r.opts.CallTimeout)
	defer cancel()
	if err := unfit(row); err != nil {
		message := fmt.Sprintf("no WebhookEvent can be created for this event: %v", err)
		if err := r.opts.Rows.MarkUnacceptable(ctx, row.ID, v1alpha1.RejectedReason, message); err != nil {
			return err
		}
		r.opts.Log.Info("event ended in Error, because no WebhookEvent can be created for it", "event", row.ID, "error", err.Error())
		return nil
	}
	installation, err := r.opts.Rows.Installation(ctx)
	if err != nil {
		return err
	}
	err = r.opts.Creator.Create(ctx, webhookEventOf(row, r.opts.Namespace, installation))
	switch {
	case err == nil:
		r.opts.Observe(time.Since(row.ReceivedAt))
		return nil
	case apierrors.IsAlreadyExists(err) && !byAdmission(err):
		return nil
	default:
		return err
	}
}

// markRegularly marks the rows with a WebhookEvent, in batches.
func (r *Relay) markRegularly(ctx context.Context) {
	wait.NonSlidingUntilWithContext(ctx, r.mark, markEvery)
	r.mark(context.WithoutCancel(ctx))
}

func (r *Relay) mark(ctx context.Context) {
	if err := r.markCreated(ctx); err != nil && ctx.Err() == nil {
		r.opts.Log.Info("failed to mark events as dispatched; the relay finds them again", "error", err.Error())
	}
}

// markCreated marks the rows with a WebhookEvent. If that fails, the relay finds them again as orphans, and their WebhookEvents exist.
func (r *Relay) markCreated(ctx context.Context) error {
	r.reservedMu.Lock()
	unmarked := r.unmarked
	r.unmarked = nil
	r.reservedMu.Unlock()
	if len(unmarked) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.CallTimeout)
	defer cancel()
	failpoint.Hit(failpoint.RelayMarking)
	err := r.opts.Rows.MarkDispatched(ctx, unmarked)
	failpoint.Hit(failpoint.RelayMarked)
	return err
}
