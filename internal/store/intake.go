package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// insertBatch inserts the deliveries without an entry in duplicates and returns a receipt for each delivery.
func insertBatch(ctx context.Context, q *dbsqlc.Queries, batch []*queuedDelivery, duplicates []*Receipt) ([]Receipt, error) {
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

// receiptsOf returns a receipt for each delivery of a batch.
func receiptsOf(ctx context.Context, q *dbsqlc.Queries, batch []*queuedDelivery, keys []string, added map[uuid.UUID]time.Time,
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
			// Retention removed the first delivery between the two statements.
			return nil, fmt.Errorf("the event that delivery %s repeats has just been removed", item.id)
		}
	}
	return receipts, nil
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
