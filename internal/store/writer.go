package store

import (
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

// ErrOverloaded says that more deliveries wait to be committed than the writer holds.
var ErrOverloaded = errors.New("too many deliveries wait to be committed")

// ErrClosed says that the writer takes no more deliveries.
var ErrClosed = errors.New("the writer is closed")

// ErrUncertain says that a delivery may be stored or not: the transaction did not end in time, or Postgres' answer to it was
// lost.
var ErrUncertain = errors.New("the event may be stored")

// errNobodyWaits is the result of a delivery whose sender was answered before its turn came.
var errNobodyWaits = errors.New("nobody waits for the delivery any more")

// EventMeta is what a WebhookEvent is made of.
type EventMeta struct {
	ID         uuid.UUID
	Source     string
	EventType  string
	EntityType string
	EntityID   string
	LocationID string
	ContactID  string
	ReceivedAt time.Time
	// StartedAt is when the last attempt began; the zero time or that of Unix where there was none.
	StartedAt time.Time
}

// WriterOptions say how a Writer commits. Zero values take the defaults.
type WriterOptions struct {
	// Committers is how many batches are under way at a time; 2 by default, so that one fills while another is flushed
	// to disk.
	Committers int
	// MaxBatch bounds the deliveries of a transaction; 256 by default.
	MaxBatch int
	// Queue bounds the deliveries that wait; beyond it Commit returns ErrOverloaded. 4,096 by default.
	Queue int
	// Timeout bounds a transaction; 3 s by default, which is how long a sender is kept waiting.
	Timeout time.Duration
	// Committed is told of every row that was added, after its commit. It must not block.
	Committed func([]EventMeta)
	// Observe is told of every committed batch: how many deliveries shared it. It must not block.
	Observe func(size int)
}

// Writer commits deliveries in batches: those that arrive while a transaction is under way share the next one. A single
// delivery does not wait.
type Writer struct {
	store *Store
	opts  WriterOptions
	queue chan *queuedDelivery
	// unanswered has the events whose senders were not answered 200.
	unanswered *unanswered

	mu     sync.RWMutex
	closed bool
	wg     sync.WaitGroup
	// committed is closed once everything that was queued is committed, which ends marking.
	committed chan struct{}
	marking   sync.WaitGroup
}

type queuedDelivery struct {
	ctx      context.Context //nolint:containedctx // The request's: a delivery that nobody waits for any more is dropped.
	id       uuid.UUID
	delivery Delivery
	// repeats is the unanswered event that this delivery repeats, uuid.Nil if there is none.
	repeats uuid.UUID
	// dropped is true where the sender was answered before the delivery could be inserted: its retry may be there already.
	dropped bool
	// ended is set by the one that decides how the sender is answered: the writer with a result, or Commit without one.
	ended  atomic.Bool
	result chan writeResult
}

type writeResult struct {
	receipt Receipt
	err     error
}

// NewWriter starts a Writer. Close stops it.
func NewWriter(store *Store, opts WriterOptions) *Writer {
	setDefault(&opts.Committers, 2)
	setDefault(&opts.MaxBatch, 256)
	setDefault(&opts.Queue, 4096)
	setDefault(&opts.Timeout, 3*time.Second)
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

func setDefault[T int | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// Commit stores d and returns once it is safe on disk, or says which earlier delivery it repeats. After an error the sender
// must be asked to send it again: with ErrUncertain it may be stored, and is then a duplicate when it is sent again; with
// any other error it is not stored.
func (w *Writer) Commit(ctx context.Context, d Delivery) (Receipt, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Receipt{}, fmt.Errorf("make an id: %w", err)
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
	// The result came at the same moment.
	w.unanswered.drop(item.id)
	r := <-item.result
	return r.receipt, r.err
}

// end gives a delivery its result. Where its sender is not answered 200 though it may be stored, that is kept: the sender
// sends it again.
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
	case abandoned: // It is not stored.
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

// Queued returns how many deliveries wait for a transaction.
func (w *Writer) Queued() int { return len(w.queue) }

// Close commits what is queued and stops.
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

// collect adds what is queued already, without waiting for more, and leaves out what nobody waits for any more.
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
	live := batch[:0]
	for _, item := range batch {
		if item.ctx.Err() == nil {
			live = append(live, item)
		} else {
			w.end(item, writeResult{err: errNobodyWaits})
		}
	}
	return live
}

// commitBatch commits a batch, and each delivery for itself where one of them spoils it for the others.
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
		// Postgres does not take the payload for JSON: it is stored as bytes, so that it is neither lost nor altered.
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
			w.end(item, writeResult{err: errNobodyWaits})
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

// commit stores the batch in one transaction: a single statement where every delivery has an id of its own.
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

// uncertain adds ErrUncertain to the error of a commit: without an answer of Postgres it may have been carried out.
func uncertain(err error) error {
	if err == nil || sqlState(err) != "" {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUncertain, err)
}

// neverSent reports whether a statement did not reach Postgres.
func neverSent(err error) bool {
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	return connecting || pgconn.SafeToRetry(err)
}

// isRetryable reports whether the transaction was rolled back for reasons of timing alone.
func isRetryable(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01":
		return true
	}
	return false
}

// isDataError reports whether the rows themselves are at fault (SQLSTATE classes 22 and 23, and JSON that is nested
// deeper than the server's stack, 54001).
func isDataError(err error) bool {
	state := sqlState(err)
	return len(state) == 5 && (state[:2] == "22" || state[:2] == "23" || state == "54001")
}
