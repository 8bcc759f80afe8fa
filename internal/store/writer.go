package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dfmiddleware/verity-sync/internal/failpoint"
)

// ErrOverloaded means that the queue of the writer is full.
var ErrOverloaded = errors.New("the queue of deliveries to commit is full")

// ErrClosed means that the writer is closed.
var ErrClosed = errors.New("the writer is closed")

// ErrUncertain means that the delivery may or may not be stored: the transaction did not end in time, or the response of
// Postgres was lost.
var ErrUncertain = errors.New("the event may be stored")

// errAbandoned is the result of a delivery whose request ended before it was committed.
var errAbandoned = errors.New("the request ended before its delivery was committed")

// EventMeta is the part of an event that its WebhookEvent holds.
type EventMeta struct {
	ID         uuid.UUID
	Source     string
	EventType  string
	EntityType string
	EntityID   string
	LocationID string
	ContactID  string
	ReceivedAt time.Time
	// StartedAt is when the last attempt began: the zero time or the Unix epoch if there was none.
	StartedAt time.Time
}

// WriterOptions configures a Writer. Zero values select the defaults.
type WriterOptions struct {
	// Committers is the number of concurrent transactions, 2 by default: one batch fills while another is flushed to disk.
	Committers int
	// MaxBatch bounds the deliveries in a transaction, 256 by default.
	MaxBatch int
	// Queue bounds the queued deliveries, 4,096 by default. Above it Commit returns ErrOverloaded.
	Queue int
	// Timeout bounds a transaction, and so the time that a sender waits. 3 s by default.
	Timeout time.Duration
	// Committed is called with the rows that a transaction added, after the commit. It must not block.
	Committed func([]EventMeta)
	// Observe is called with the number of deliveries in each committed batch. It must not block.
	Observe func(size int)
}

// Writer commits deliveries in batches: those that arrive during a transaction share the next one. A single delivery does
// not wait.
type Writer struct {
	store *Store
	opts  WriterOptions
	queue chan *queuedDelivery
	// unanswered holds the events whose senders did not receive a 200.
	unanswered *unanswered

	mu     sync.RWMutex
	closed bool
	wg     sync.WaitGroup
	// committed is closed when the queue is committed. That ends marking.
	committed chan struct{}
	marking   sync.WaitGroup
}

type queuedDelivery struct {
	ctx      context.Context //nolint:containedctx // The request's: its delivery is dropped when it ends.
	id       uuid.UUID
	delivery Delivery
	// repeats is the unanswered event that this delivery repeats, or uuid.Nil.
	repeats uuid.UUID
	// dropped is true if the request ended before the insert. A retry of it may be stored already.
	dropped bool
	// ended is set by whichever answers the sender first: the writer with a result, or Commit without one.
	ended  atomic.Bool
	result chan writeResult
}

type writeResult struct {
	receipt Receipt
	err     error
}

// NewWriter starts a Writer. Close stops it.
func NewWriter(store *Store, opts WriterOptions) *Writer {
	opts.Committers = cmp.Or(opts.Committers, 2)
	opts.MaxBatch = cmp.Or(opts.MaxBatch, 256)
	opts.Queue = cmp.Or(opts.Queue, 4096)
	opts.Timeout = cmp.Or(opts.Timeout, 3*time.Second)
	if opts.Committed == nil {
		opts.Committed = func([]EventMeta) {}
	}
	if opts.Observe == nil {
		opts.Observe = func(int) {}
	}
	w := &Writer{store: store, opts: opts, queue: make(chan *queuedDelivery, opts.Queue), unanswered: newUnanswered()}
	w.committed = make(chan struct{})
	w.marking.Go(w.keepMarking)
	for range opts.Committers {
		w.wg.Go(w.run)
	}
	return w
}

// Commit stores d durably, or returns the earlier delivery that it repeats. After an error the sender must retry: with
// ErrUncertain the delivery may be stored, and its retry is then a duplicate; with any other error it is not stored.
func (w *Writer) Commit(ctx context.Context, d Delivery) (Receipt, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Receipt{}, fmt.Errorf("generate an id: %w", err)
	}
	item := &queuedDelivery{ctx: ctx, id: id, delivery: d, result: make(chan writeResult, 1)}
	if err := w.enqueue(item); err != nil {
		return Receipt{}, err
	}
	select {
	case r := <-item.result:
		return r.receipt, r.err
	case <-ctx.Done():
	}
	w.unanswered.add(item)
	if item.ended.CompareAndSwap(false, true) {
		return Receipt{}, fmt.Errorf("wait for the commit: %w: %w", ErrUncertain, ctx.Err())
	}
	// The result arrived at the same moment.
	w.unanswered.drop(item.id)
	r := <-item.result
	return r.receipt, r.err
}

// end sets the result of a delivery. If the delivery may be stored but its sender does not receive a 200, end remembers it
// as unanswered: the sender will retry.
func (w *Writer) end(item *queuedDelivery, r writeResult) {
	uncertain := errors.Is(r.err, ErrUncertain)
	if uncertain {
		w.unanswered.add(item)
	}
	if r.err != nil {
		w.unanswered.restore(item)
	}
	abandoned := !item.ended.CompareAndSwap(false, true)
	switch {
	case uncertain:
		w.unanswered.settle(item, item.id)
	case abandoned && r.err == nil:
		w.unanswered.settle(item, r.receipt.ID)
	case abandoned: // Not stored.
		w.unanswered.drop(item.id)
	}
	if !abandoned {
		item.result <- r
	}
}

func (w *Writer) enqueue(item *queuedDelivery) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.queue <- item:
		return nil
	default:
		return ErrOverloaded
	}
}

// Close commits the queue and stops the writer.
func (w *Writer) Close() {
	w.mu.Lock()
	first := !w.closed
	if first {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	w.wg.Wait()
	if first {
		close(w.committed)
	}
	w.marking.Wait()
}

func (w *Writer) run() {
	batch := make([]*queuedDelivery, 0, w.opts.MaxBatch)
	for item := range w.queue {
		batch = w.collect(append(batch[:0], item))
		if len(batch) > 0 {
			w.commitBatch(batch)
		}
	}
}

// collect adds the queued deliveries to batch without waiting for more, and drops those whose request has ended.
func (w *Writer) collect(batch []*queuedDelivery) []*queuedDelivery {
	for more := true; more && len(batch) < w.opts.MaxBatch; {
		select {
		case item, ok := <-w.queue:
			if more = ok; ok {
				batch = append(batch, item)
			}
		default:
			more = false
		}
	}
	waiting := batch[:0]
	for _, item := range batch {
		if item.ctx.Err() == nil {
			waiting = append(waiting, item)
		} else {
			w.end(item, writeResult{err: errAbandoned})
		}
	}
	return waiting
}

// commitBatch commits a batch. If one row is invalid, it commits each delivery separately.
func (w *Writer) commitBatch(batch []*queuedDelivery) {
	ctx, cancel := context.WithTimeout(context.Background(), w.opts.Timeout)
	defer cancel()
	receipts, err := w.commit(ctx, batch)
	if isRetryable(err) {
		receipts, err = w.commit(ctx, batch)
	}
	switch {
	case err == nil:
		failpoint.Hit(failpoint.WriterCommitted)
		w.opts.Observe(len(batch))
		w.answer(batch, receipts)
	case isDataError(err) && len(batch) > 1:
		for _, item := range batch {
			w.commitBatch([]*queuedDelivery{item})
		}
	case isDataError(err) && string(batch[0].delivery.Payload) != emptyObject:
		// Postgres rejects the payload as JSON. It is stored as bytes instead, unchanged.
		d := &batch[0].delivery
		if d.Raw == nil {
			d.Raw = d.Payload
		}
		d.Payload = []byte(emptyObject)
		w.commitBatch(batch)
	default:
		for _, item := range batch {
			w.end(item, writeResult{err: err})
		}
	}
}

const emptyObject = "{}"

func (w *Writer) answer(batch []*queuedDelivery, receipts []Receipt) {
	added := make([]EventMeta, 0, len(batch))
	for i, item := range batch {
		if item.dropped {
			w.end(item, writeResult{err: errAbandoned})
			continue
		}
		if r := receipts[i]; !r.Duplicate {
			e := item.delivery.Event
			added = append(added, EventMeta{
				ID: r.ID, ReceivedAt: r.ReceivedAt, Source: e.Source, EventType: e.Type, EntityType: e.EntityType,
				EntityID: e.EntityID, LocationID: e.LocationID, ContactID: e.ContactID,
			})
		}
		w.end(item, writeResult{receipt: receipts[i]})
	}
	failpoint.Hit(failpoint.WriterAnswered)
	if len(added) > 0 {
		w.opts.Committed(added)
	}
}

// commit stores the batch in one transaction: in a single statement if every delivery has its own id.
func (w *Writer) commit(ctx context.Context, batch []*queuedDelivery) ([]Receipt, error) {
	keyed := true
	for _, item := range batch {
		keyed = keyed && item.delivery.Event.DedupeKey != ""
	}
	if keyed {
		receipts, err := insertBatch(ctx, w.store.q, batch, make([]*Receipt, len(batch)))
		if !neverSent(err) {
			err = uncertain(err)
		}
		return receipts, w.store.wrap(err, "commit %d deliveries", len(batch))
	}
	var receipts []Receipt
	committing := false
	err := w.store.pool.InTx(ctx, "", func(tx pgx.Tx) error {
		q := w.store.q.WithTx(tx)
		duplicates, err := w.findRepeats(ctx, q, batch)
		if err != nil {
			return err
		}
		receipts, err = insertBatch(ctx, q, batch, duplicates)
		failpoint.Hit(failpoint.WriterInserted)
		committing = err == nil
		return err
	})
	if committing {
		err = uncertain(err)
	}
	return receipts, w.store.wrap(err, "commit %d deliveries", len(batch))
}

// uncertain adds ErrUncertain to the error of a commit to which Postgres did not respond.
func uncertain(err error) error {
	if err == nil || sqlState(err) != "" {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUncertain, err)
}

// neverSent reports whether the statement never reached Postgres.
func neverSent(err error) bool {
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	return connecting || pgconn.SafeToRetry(err)
}

// isRetryable reports whether the transaction was rolled back because of a concurrent one.
func isRetryable(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01":
		return true
	}
	return false
}

// isDataError reports whether a row is invalid (SQLSTATE classes 22 and 23, and 54001 for JSON that is nested too deep for
// the server's stack).
func isDataError(err error) bool {
	state := sqlState(err)
	return len(state) == 5 && (state[:2] == "22" || state[:2] == "23" || state == "54001")
}
