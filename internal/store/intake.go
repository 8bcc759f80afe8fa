package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// insertBatch inserts the deliveries that are not already known as duplicates and returns a receipt for each.
func insertBatch(ctx context.Context, q *dbsqlc.Queries, batch []*pendingWrite, duplicates []*Receipt) ([]Receipt, error) {
	var p dbsqlc.InsertEventsParams
	keys := make([]string, len(batch))
	for i, item := range batch {
		if duplicates[i] != nil {
			continue
		}
		d, e := &item.delivery, &item.delivery.Event
		keys[i] = e.DedupeKey
		if keys[i] == "" {
			keys[i] = e.Source + ":event:" + item.id.String()
		}
		headers, err := json.Marshal(d.Headers)
		if err != nil {
			return nil, fmt.Errorf("encode headers: %w", err)
		}
		if d.Headers == nil {
			headers = []byte(emptyObject)
		}
		p.Ids = append(p.Ids, item.id)
		p.Ns = append(p.Ns, int32(i))
		p.Sources = append(p.Sources, e.Source)
		p.EventTypes = append(p.EventTypes, e.Type)
		p.EntityTypes = append(p.EntityTypes, e.EntityType)
		p.EntityIds = append(p.EntityIds, e.EntityID)
		p.LocationIds = append(p.LocationIds, e.LocationID)
		p.ContactIds = append(p.ContactIds, e.ContactID)
		p.AppointmentStatuses = append(p.AppointmentStatuses, e.AppointmentStatus)
		p.PayloadsJson = append(p.PayloadsJson, string(d.Payload))
		p.PayloadsRaw = append(p.PayloadsRaw, nonNil(d.Raw))
		p.Truncateds = append(p.Truncateds, e.Truncated)
		p.Headers = append(p.Headers, string(headers))
		p.DedupeKeys = append(p.DedupeKeys, keys[i])
		p.BodyHashes = append(p.BodyHashes, d.BodyHash[:])
		p.OrderingKeys = append(p.OrderingKeys, e.OrderingKey)
		p.OccurredAts = append(p.OccurredAts, e.OccurredAt)
	}
	added := map[uuid.UUID]time.Time{}
	if len(p.Ids) > 0 {
		rows, err := q.InsertEvents(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("insert events: %w", err)
		}
		for _, row := range rows {
			added[row.ID] = row.ReceivedAt
		}
	}
	return receiptsOf(ctx, q, batch, keys, added, duplicates)
}

// receiptsOf says for each delivery of a batch whether it was added or whose duplicate it is.
func receiptsOf(ctx context.Context, q *dbsqlc.Queries, batch []*pendingWrite, keys []string, added map[uuid.UUID]time.Time,
	duplicates []*Receipt,
) ([]Receipt, error) {
	var conflicting []string
	for i, item := range batch {
		if _, ok := added[item.id]; !ok && duplicates[i] == nil {
			conflicting = append(conflicting, keys[i])
		}
	}
	first := map[string]dbsqlc.EventsByDedupeKeysRow{}
	if len(conflicting) > 0 {
		rows, err := q.EventsByDedupeKeys(ctx, conflicting)
		if err != nil {
			return nil, fmt.Errorf("look up duplicates: %w", err)
		}
		for _, row := range rows {
			first[row.DedupeKey] = row
		}
	}
	receipts := make([]Receipt, len(batch))
	for i, item := range batch {
		if at, ok := added[item.id]; ok {
			receipts[i] = Receipt{ID: item.id, ReceivedAt: at}
		} else if d := duplicates[i]; d != nil {
			receipts[i] = *d
		} else if row, ok := first[keys[i]]; ok {
			receipts[i] = Receipt{ID: row.ID, ReceivedAt: row.ReceivedAt, Duplicate: true}
		} else {
			// Retention removed the first one between the two statements.
			return nil, fmt.Errorf("the event that delivery %s repeats has just been removed", item.id)
		}
	}
	return receipts, nil
}

// newest is the newest event known of an ordering key or, without one, of a body.
type newest struct {
	id   uuid.UUID
	hash []byte
	// repeats is false where the event is too old for a delivery to be its duplicate.
	repeats    bool
	receivedAt time.Time
}

// findRepeats decides which deliveries without an id of their own are duplicates: of the newest event of their ordering
// key if it has the same bytes, or of the same bytes within the hour if there is no ordering key. The decision holds
// until the transaction ends, since it is made under a lock on that key.
func findRepeats(ctx context.Context, q *dbsqlc.Queries, batch []*pendingWrite) ([]*Receipt, error) {
	known, err := loadNewest(ctx, q, batch)
	if err != nil {
		return nil, err
	}
	duplicates := make([]*Receipt, len(batch))
	for i, item := range batch {
		d := &item.delivery
		key := repeatKey(d)
		n, ok := known[key]
		if d.Event.DedupeKey == "" && ok && n.repeats && bytes.Equal(n.hash, d.BodyHash[:]) {
			duplicates[i] = &Receipt{ID: n.id, ReceivedAt: n.receivedAt, Duplicate: true}
			continue
		}
		known[key] = newest{id: item.id, hash: d.BodyHash[:], repeats: true}
	}
	return duplicates, nil
}

func loadNewest(ctx context.Context, q *dbsqlc.Queries, batch []*pendingWrite) (map[string]newest, error) {
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

// repeatKey is what deliveries that may repeat each other share.
func repeatKey(d *Delivery) string {
	if d.Event.OrderingKey != "" {
		return d.Event.OrderingKey
	}
	return string(d.BodyHash[:])
}

// lockOf maps a key to an advisory lock. Two keys on one lock only wait for each other.
func lockOf(key string) int64 {
	sum := sha256.Sum256([]byte("verity-sync intake " + key))
	return int64(binary.BigEndian.Uint64(sum[:8])) //nolint:gosec // All 64 bits are wanted.
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
