// Package relay turns rows into WebhookEvents. The rows that this process has just committed are relayed at once; those
// that were left behind (by a replica that died, an API server that was down, or because there were too many) are relayed
// oldest first, by one replica at a time. No transaction is open around a call to the API server, and nothing here is
// needed for a webhook to be answered: while the API server is away, rows wait.
package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Rows is what the relay needs of the store.
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

// Creator creates objects on the API server; a client.Client is one.
type Creator interface {
	Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error
}

// Options say how a Relay works. Rows, Creator, Namespace and Identity are required; zero values of the others take the
// defaults.
type Options struct {
	Rows    Rows
	Creator Creator
	// Namespace is where WebhookEvents are created.
	Namespace string
	// Identity names this replica in the lease, for instance its pod.
	Identity string
	// MaxLive bounds the unfinished WebhookEvents that are due; 1,000 by default. It is soft: each replica may exceed it by
	// Batch.
	MaxLive int
	// Batch is how many rows are relayed between two looks at how many live WebhookEvents there are; 100 by default.
	Batch int
	// Workers is how many creates are under way at a time; 8 by default.
	Workers int
	// Grace is how old a row must be to count as left behind, while none is known to be; 2 s by default. It is longer than
	// a replica takes to relay its own.
	Grace time.Duration
	// Poll is how often rows left behind are looked for; 500 ms by default.
	Poll time.Duration
	// CallTimeout bounds a call to the API server or the database; 10 s by default.
	CallTimeout time.Duration
	// Observe is told of every WebhookEvent created: how long after its receipt. It must not block.
	Observe func(lag time.Duration)
	Log     logr.Logger
}

const (
	leaseTTL = 5 * time.Second
	// markEvery is how long created WebhookEvents are gathered before their rows are marked. The controller's claim marks
	// a row as well, so that most need no write of their own by then.
	markEvery = 250 * time.Millisecond
	maxPause  = 10 * time.Second
	ownQueue  = 4096
	// returningShare is the part of MaxLive that parked events may fill when they return: as long as their destination is down, that
	// is for nothing, and they return again and again.
	returningShare = 4
	// blockedFactor times MaxLive is how many may wait in the counts for an older event of their entity. Beyond that their turn has to
	// come before they are relayed, lest thousands of events of a single contact all become WebhookEvents, since one of them is due.
	blockedFactor = 2
)

// Relay creates WebhookEvents from rows. Run must be running for anything to happen.
type Relay struct {
	opts Options
	own  chan store.EventMeta
	wake chan struct{}
	// behind is true while rows are known to be left behind: new ones then queue behind them in the database.
	behind atomic.Bool

	mu sync.Mutex
	// room is how many WebhookEvents may be created before the live ones are counted again.
	room int

	outMu sync.Mutex
	// out counts places that were taken and are not settled yet: their rows are not marked, so that no count sees them.
	out int
	// made are rows whose WebhookEvents were created and that are not marked yet; out counts them no more.
	made []store.EventMeta

	refusals refusals
}

// New checks the options and returns a Relay.
func New(opts Options) (*Relay, error) {
	if opts.Rows == nil || opts.Creator == nil || opts.Namespace == "" || opts.Identity == "" {
		return nil, errors.New("relay: Rows, Creator, Namespace and Identity are required")
	}
	orDefault(&opts.MaxLive, 1000)
	orDefault(&opts.Batch, 100)
	orDefault(&opts.Workers, 8)
	orDefault(&opts.Grace, 2*time.Second)
	orDefault(&opts.Poll, 500*time.Millisecond)
	orDefault(&opts.CallTimeout, 10*time.Second)
	if opts.Observe == nil {
		opts.Observe = func(time.Duration) {}
	}
	return &Relay{opts: opts, own: make(chan store.EventMeta, ownQueue), wake: make(chan struct{}, 1)}, nil
}

func orDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// Offer hands over rows that were committed just now. It never blocks: rows that cannot be taken stay in the database,
// where they are found.
func (r *Relay) Offer(rows []store.EventMeta) {
	for _, row := range rows {
		if r.behind.Load() {
			return
		}
		select {
		case r.own <- row:
		default:
			r.behind.Store(true)
			return
		}
	}
}

// Wake makes the relay look for rows left behind now.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run relays until ctx ends. What is not relayed by then is left to another replica, or to the next start.
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
			if r.behind.Load() {
				continue // It waits its turn in the database.
			}
			if ok, err := r.admit(ctx); err != nil || !ok {
				r.behind.Store(true)
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
				r.behind.Store(true)
				if ctx.Err() == nil {
					r.opts.Log.Info("a webhook event waits for the API server; it is stored and will be relayed",
						"event", row.ID, "error", err.Error())
				}
			}
		}
	}
}

// admit takes one of the places that are left for live WebhookEvents.
func (r *Relay) admit(ctx context.Context) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.room <= 0 {
		room, err := r.countRoom(ctx)
		if err != nil {
			return false, err
		}
		if room.SkipBlocked {
			return false, nil // The sweep tells which ones are blocked.
		}
		r.room = room.Limit
	}
	if r.room <= 0 {
		return false, nil
	}
	r.room--
	r.take(1)
	return true, nil
}

// admitAll takes all places that are left, at most a batch.
func (r *Relay) admitAll(ctx context.Context) (store.DispatchQuery, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.room = 0
	room, err := r.countRoom(ctx)
	if err != nil {
		return store.DispatchQuery{}, err
	}
	r.take(room.Limit)
	return room, nil
}

func (r *Relay) take(n int) {
	r.outMu.Lock()
	defer r.outMu.Unlock()
	r.out += n
}

// settle gives n places back: to be marked where a WebhookEvent was created, else to be taken again.
func (r *Relay) settle(n int, row store.EventMeta, created bool) {
	r.outMu.Lock()
	defer r.outMu.Unlock()
	r.out -= n
	if created {
		r.made = append(r.made, row)
	}
}

// countRoom returns which WebhookEvents there is room for now, at most a batch. What was created is marked before it is
// counted, and what is being created is counted here, so that only the other replicas' current batches go unseen.
func (r *Relay) countRoom(ctx context.Context) (store.DispatchQuery, error) {
	r.outMu.Lock()
	out := r.out // Before the marks: what is settled in between is then counted twice, not missed.
	r.outMu.Unlock()
	if err := r.markMade(ctx); err != nil {
		return store.DispatchQuery{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.CallTimeout)
	defer cancel()
	counts, err := r.opts.Rows.CountLive(ctx)
	if err != nil {
		return store.DispatchQuery{}, err
	}
	limit := max(0, min(r.opts.MaxLive-int(counts.Due)-out, r.opts.Batch))
	return store.DispatchQuery{
		Limit: limit,
		// Half a batch at most, so that what is new goes on meanwhile.
		Returning:   max(0, min(r.opts.MaxLive/returningShare+1-int(counts.Returning), (limit+1)/2)),
		SkipBlocked: int(counts.Blocked) >= blockedFactor*r.opts.MaxLive,
	}, nil
}

// create creates the WebhookEvent of a row. One that exists already is a success. A row that can have none is ended, so that
// it holds up nobody; nothing that the API server answers ends a row.
func (r *Relay) create(ctx context.Context, row store.EventMeta) error {
	ctx, cancel := context.WithTimeout(ctx, r.opts.CallTimeout)
	defer cancel()
	if err := unfit(row); err != nil {
		message := fmt.Sprintf("no WebhookEvent can be created for it: %v", err)
		r.opts.Log.Info("a webhook event ends in error", "event", row.ID, "error", message)
		return r.opts.Rows.MarkUnacceptable(ctx, row.ID, v1alpha1.RejectedReason, message)
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

// markRegularly marks the rows whose WebhookEvents were created, many at a time.
func (r *Relay) markRegularly(ctx context.Context) {
	ticker := time.NewTicker(markEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			r.mark(context.WithoutCancel(ctx))
			return
		case <-ticker.C:
			r.mark(ctx)
		}
	}
}

func (r *Relay) mark(ctx context.Context) {
	if err := r.markMade(ctx); err != nil && ctx.Err() == nil {
		r.opts.Log.Info("rows could not be marked as dispatched; they will be found again", "error", err.Error())
	}
}

// markMade marks what was created. Rows that it cannot mark are found unmarked, and their WebhookEvents found to exist.
func (r *Relay) markMade(ctx context.Context) error {
	r.outMu.Lock()
	made := r.made
	r.made = nil
	r.outMu.Unlock()
	if len(made) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.CallTimeout)
	defer cancel()
	failpoint.Hit(failpoint.RelayMarking)
	err := r.opts.Rows.MarkDispatched(ctx, made)
	failpoint.Hit(failpoint.RelayMarked)
	return err
}
