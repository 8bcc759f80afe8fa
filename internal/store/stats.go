package store

import (
	"context"
	"time"
)

// Stats counts all events in the database.
type Stats struct {
	Pending, Processing int64
	// Error counts the events in error, without those whose body cannot be parsed. Unparseable counts the latter.
	Error, Unparseable int64
	// Done is an estimate from the statistics of the table, since a count would read the whole table.
	Done int64
	// Undispatched counts unfinished events without a WebhookEvent.
	Undispatched int64
	// NotCreated counts undispatched events whose WebhookEvent the API server refused.
	NotCreated int64
	// OldestUnfinished is the age of the oldest unfinished event, 0 if there is none.
	OldestUnfinished time.Duration
	// RolledBackAt is when a rollback of the database was last detected, or the Unix epoch.
	RolledBackAt time.Time
}

// estimate reads the number of rows as of the last ANALYZE. sqlc does not know the system catalog.
const estimate = `SELECT reltuples::bigint FROM pg_class WHERE oid = 'webhook_events'::regclass`

// Stats reads the counts of all events.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	row, err := s.q.ReadStats(ctx)
	if err != nil {
		return Stats{}, s.wrap(err, "count all events")
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
