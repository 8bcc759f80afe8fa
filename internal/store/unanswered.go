package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	// maxUnanswered bounds the unanswered events in memory. Above it, a retry of a stored delivery may become a second event.
	maxUnanswered = 4096
	// markBatch is the number of events that a transaction marks.
	markBatch = 256
	// markInterval is the pause after a failure to mark events.
	markInterval = time.Second
)

// unanswered holds the events without an id that may be stored although their senders did not receive a 200. The senders
// retry, at any receiver, so the rows are marked in Postgres as soon as it responds. If the process ends before that, a
// retry becomes a second event.
type unanswered struct {
	mu sync.Mutex
	// byID holds the rows by id, byHash their ids by the hash of the bytes.
	byID   map[uuid.UUID]unansweredRow
	byHash map[[sha256.Size]byte][]uuid.UUID
	// settled wakes keepMarking.
	settled chan struct{}
}

type unansweredRow struct {
	hash [sha256.Size]byte
	// lock is the advisory lock of the row's key.
	lock int64
	// settled is true when the transaction that writes the row has committed or was abandoned.
	settled bool
}

func newUnanswered() *unanswered {
	return &unanswered{
		byID: map[uuid.UUID]unansweredRow{}, byHash: map[[sha256.Size]byte][]uuid.UUID{}, settled: make(chan struct{}, 1),
	}
}

// add adds a delivery whose transaction may be in progress.
func (u *unanswered) add(item *queuedDelivery) {
	if item.delivery.Event.DedupeKey != "" {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.put(item.id, rowOf(item, false))
}

func rowOf(item *queuedDelivery, settled bool) unansweredRow {
	return unansweredRow{hash: item.delivery.BodyHash, lock: lockOf(repeatKey(&item.delivery)), settled: settled}
}

// settle records that the transaction of an added delivery has ended, and the ids of its rows.
func (u *unanswered) settle(item *queuedDelivery, ids ...uuid.UUID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	row, ok := u.byID[item.id]
	if !ok {
		return
	}
	u.remove(item.id)
	row.settled = true
	for _, id := range ids {
		if id != uuid.Nil {
			u.put(id, row)
		}
	}
	select {
	case u.settled <- struct{}{}:
	default:
	}
}

// restore adds the row that a delivery repeats, after the transaction of the delivery failed.
func (u *unanswered) restore(item *queuedDelivery) {
	if item.repeats == uuid.Nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.put(item.repeats, rowOf(item, true))
}

// drop removes a row.
func (u *unanswered) drop(id uuid.UUID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.remove(id)
}

func (u *unanswered) put(id uuid.UUID, row unansweredRow) {
	if _, ok := u.byID[id]; !ok {
		if len(u.byID) >= maxUnanswered {
			return
		}
		u.byHash[row.hash] = append(u.byHash[row.hash], id)
	}
	u.byID[id] = row
}

func (u *unanswered) remove(id uuid.UUID) {
	row, ok := u.byID[id]
	if !ok {
		return
	}
	delete(u.byID, id)
	rest := slices.DeleteFunc(u.byHash[row.hash], func(other uuid.UUID) bool { return other == id })
	if len(rest) == 0 {
		delete(u.byHash, row.hash)
	} else {
		u.byHash[row.hash] = rest
	}
}

// of returns the ids of the rows with the given hashes.
func (u *unanswered) of(hashes [][]byte) []uuid.UUID {
	ids := []uuid.UUID{}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, hash := range hashes {
		ids = append(ids, u.byHash[[sha256.Size]byte(hash)]...)
	}
	return ids
}

// toMark returns settled rows.
func (u *unanswered) toMark() map[uuid.UUID]unansweredRow {
	u.mu.Lock()
	defer u.mu.Unlock()
	rows := map[uuid.UUID]unansweredRow{}
	for id, row := range u.byID {
		if row.settled && len(rows) < markBatch {
			rows[id] = row
		}
	}
	return rows
}

// take removes rows and returns the ids of those that were present. The others have been repeated in the meantime.
func (u *unanswered) take(rows map[uuid.UUID]unansweredRow) []uuid.UUID {
	u.mu.Lock()
	defer u.mu.Unlock()
	var ids []uuid.UUID
	for id := range rows {
		if _, ok := u.byID[id]; ok {
			ids = append(ids, id)
			u.remove(id)
		}
	}
	return ids
}

// putBack adds rows that take removed.
func (u *unanswered) putBack(ids []uuid.UUID, rows map[uuid.UUID]unansweredRow) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range ids {
		u.put(id, rows[id])
	}
}

// Unanswered records that the sender of a stored delivery disconnected before the response: it will retry.
func (w *Writer) Unanswered(d Delivery, r Receipt) {
	item := &queuedDelivery{id: r.ID, delivery: d}
	w.unanswered.add(item)
	w.unanswered.settle(item, r.ID)
}

// keepMarking marks unanswered events in the database until the last batch has ended, and once after that.
func (w *Writer) keepMarking() {
	ticker := time.NewTicker(markInterval)
	defer ticker.Stop()
	for open := true; open; {
		select {
		case <-w.committed:
			open = false
		case <-w.unanswered.settled:
		case <-ticker.C:
		}
		for more := true; more; {
			more = w.markUnanswered()
		}
	}
}

// markUnanswered marks a batch and reports whether there may be more. The locks make it wait for transactions that Postgres
// may still be running: a row that does not exist after that never will.
func (w *Writer) markUnanswered() (more bool) {
	rows := w.unanswered.toMark()
	if len(rows) == 0 {
		return false
	}
	var locks []int64
	for _, row := range rows {
		locks = append(locks, row.lock)
	}
	slices.Sort(locks)
	ctx, cancel := context.WithTimeout(context.Background(), w.opts.Timeout)
	defer cancel()
	var ids []uuid.UUID
	err := w.store.pool.InTx(ctx, "", func(tx pgx.Tx) error {
		q := w.store.q.WithTx(tx)
		if err := q.LockKeys(ctx, slices.Compact(locks)); err != nil {
			return fmt.Errorf("lock ordering keys: %w", err)
		}
		ids = w.unanswered.take(rows)
		return q.MarkUnanswered(ctx, ids)
	})
	if w.store.wrap(err, "mark %d events as unanswered", len(rows)) != nil {
		// The error of Postgres is logged with each delivery. The next round marks the rows.
		w.unanswered.putBack(ids, rows)
		return false
	}
	return len(rows) == markBatch
}
