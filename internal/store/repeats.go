package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// newest is the newest event of an ordering key, or of a body without one.
type newest struct {
	id   uuid.UUID
	hash []byte
	// repeats is false if the event is too old for a delivery to be its duplicate.
	repeats    bool
	receivedAt time.Time
}

// findRepeats decides which deliveries without an id are duplicates. A delivery is a duplicate of an event with the same
// bytes whose sender did not receive a 200. A delivery that reports a state is also a duplicate of the newest event of its
// ordering key if that has the same bytes or, without an ordering key, of the same bytes within the hour. A lock on the key
// makes the decision valid until the transaction ends.
func (w *Writer) findRepeats(ctx context.Context, q *dbsqlc.Queries, batch []*queuedDelivery) ([]*Receipt, error) {
	for _, item := range batch {
		w.unanswered.restore(item) // From an earlier try.
		item.repeats, item.dropped = uuid.Nil, false
	}
	known, err := loadNewest(ctx, q, batch)
	if err != nil {
		return nil, err
	}
	unanswered, err := w.loadUnanswered(ctx, q, batch)
	if err != nil {
		return nil, err
	}
	duplicates := make([]*Receipt, len(batch))
	var answered []uuid.UUID
	for i, item := range batch {
		d := &item.delivery
		key := repeatKey(d)
		n, ok := known[key]
		if item.dropped = d.Event.DedupeKey == "" && item.ctx.Err() != nil; item.dropped {
			duplicates[i] = &Receipt{Duplicate: true} // So that it is not inserted.
			continue
		}
		if rows := unanswered[d.BodyHash]; d.Event.DedupeKey == "" && len(rows) > 0 {
			item.repeats, unanswered[d.BodyHash] = rows[0].ID, rows[1:]
			w.unanswered.drop(item.repeats)
			answered = append(answered, item.repeats)
			duplicates[i] = &Receipt{ID: item.repeats, ReceivedAt: rows[0].ReceivedAt, Duplicate: true}
			continue
		}
		if d.Event.DedupeKey == "" && !d.Occurrence && ok && n.repeats && bytes.Equal(n.hash, d.BodyHash[:]) {
			duplicates[i] = &Receipt{ID: n.id, ReceivedAt: n.receivedAt, Duplicate: true}
			continue
		}
		known[key] = newest{id: item.id, hash: d.BodyHash[:], repeats: true}
	}
	if len(answered) > 0 {
		if err := q.MarkAnswered(ctx, answered); err != nil {
			return nil, fmt.Errorf("mark events as answered: %w", err)
		}
	}
	return duplicates, nil
}

// loadUnanswered returns the unanswered events with the same bytes as these deliveries.
func (w *Writer) loadUnanswered(ctx context.Context, q *dbsqlc.Queries, batch []*queuedDelivery) (
	map[[sha256.Size]byte][]dbsqlc.FindUnansweredRow, error,
) {
	var p dbsqlc.FindUnansweredParams
	for _, item := range batch {
		if item.delivery.Event.DedupeKey == "" {
			p.BodyHashes = append(p.BodyHashes, item.delivery.BodyHash[:])
		}
	}
	p.UncertainIds = w.unanswered.of(p.BodyHashes)
	rows, err := q.FindUnanswered(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("find unanswered events: %w", err)
	}
	found := map[[sha256.Size]byte][]dbsqlc.FindUnansweredRow{}
	for _, row := range rows {
		hash := [sha256.Size]byte(row.BodyHash) // The query selects by hash, so the length matches.
		found[hash] = append(found[hash], row)
	}
	return found, nil
}

func loadNewest(ctx context.Context, q *dbsqlc.Queries, batch []*queuedDelivery) (map[string]newest, error) {
	var ordering []string
	var hashes [][]byte
	var locks []int64
	for _, item := range batch {
		d := &item.delivery
		if d.Event.DedupeKey != "" {
			continue
		}
		locks = append(locks, lockOf(repeatKey(d)))
		if d.Event.OrderingKey != "" {
			ordering = append(ordering, d.Event.OrderingKey)
		} else {
			hashes = append(hashes, d.BodyHash[:])
		}
	}
	slices.Sort(locks)
	slices.Sort(ordering)
	if err := q.LockKeys(ctx, slices.Compact(locks)); err != nil {
		return nil, fmt.Errorf("lock ordering keys: %w", err)
	}
	known := map[string]newest{}
	if len(ordering) > 0 {
		rows, err := q.NewestOfOrderingKeys(ctx, slices.Compact(ordering))
		if err != nil {
			return nil, fmt.Errorf("find the newest events: %w", err)
		}
		for _, row := range rows {
			known[row.OrderingKey] = newest{id: row.ID, hash: row.BodyHash, repeats: row.Fresh, receivedAt: row.ReceivedAt}
		}
	}
	if len(hashes) > 0 {
		rows, err := q.LatestOfBodyHashes(ctx, hashes)
		if err != nil {
			return nil, fmt.Errorf("find the same bodies: %w", err)
		}
		for _, row := range rows {
			known[string(row.BodyHash)] = newest{id: row.ID, hash: row.BodyHash, repeats: true, receivedAt: row.ReceivedAt}
		}
	}
	return known, nil
}

// repeatKey returns the key shared by deliveries that may repeat each other.
func repeatKey(d *Delivery) string {
	if d.Event.OrderingKey != "" {
		return d.Event.OrderingKey
	}
	return string(d.BodyHash[:])
}

// lockOf maps a key to an advisory lock. Two keys with the same lock only wait for each other.
func lockOf(key string) int64 {
	sum := sha256.Sum256([]byte("verity-sync intake " + key))
	return int64(binary.BigEndian.Uint64(sum[:8])) //nolint:gosec // All 64 bits are wanted.
}
