package store

import (
	"context"
	"time"
)

// Stats are what the database knows of all events.
type Stats struct {
	Pending, Processing int64
	// Error counts the events in error but for those of which the body cannot be read: Unparseable counts them.
	Error, Unparseable int64
	// Done is estimated from the table's statistics: counting it would read the whole table.
	Done int64
	// Undispatched counts unfinished events without a WebhookEvent.
	Undispatched int64
	// NotCreated counts those of them whose WebhookEvent the API server refused to create.
	NotCreated int64
	// OldestUnfinished is how long ago the oldest unfinished event was received; 0 without one.
	OldestUnfinished time.Duration
	// RolledBackAt is when the database was last found to have gone back to an earlier moment; the epoch if never.
	RolledBackAt time.Time
}

// estimate reads how many rows the table has, as of its last analysis. sqlc does not know the system catalog.
const estimate = `SELECT reltuples::bigint FROM pg_class WHERE oid = 'webhook_events'::regclass`

// Stats reads the stats of all events.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	row, err := s.q.ReadStats(ctx)
	if err != nil {
		return Stats{}, s.wrap(err, "read the stats of all events")
	}
	var total int64
	if err := s.pool.QueryRow(ctx, estimate).Scan(&total); err != nil {
		return Stats{}, s.wrap(err, "estimate the size of webhook_events")
	}
	return Stats{
		Pending: row.Pending, Processing: row.Processing, Error: row.Error, Unparseable: row.Unparseable,
		Done:         max(0, total-row.Pending-row.Processing-row.Error-row.Unparseable),
		Undispatched: row.Undispatched, NotCreated: row.NotCreated,
		OldestUnfinished: time.Duration(row.OldestSeconds * float64(time.Second)),
		RolledBackAt:     row.RolledBackAt,
	}, nil
}
