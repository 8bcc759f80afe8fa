package store

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// TakeRelayLease acquires or renews the lease on orphaned rows, for ttl by the database's clock. It returns false while another
// replica holds the lease.
func (s *Store) TakeRelayLease(ctx context.Context, holder string, ttl time.Duration) (bool, error) {
	n, err := s.q.TakeRelayLease(ctx, dbsqlc.TakeRelayLeaseParams{Holder: holder, TtlSeconds: ttl.Seconds()})
	return n > 0, s.wrap(err, "acquire the relay lease")
}

// ReleaseRelayLease releases the lease, so that another replica can acquire it at once.
func (s *Store) ReleaseRelayLease(ctx context.Context, holder string) error {
	return s.wrap(s.q.ReleaseRelayLease(ctx, holder), "release the relay lease")
}

// Installation returns the id of the installation. It never changes and is cached.
func (s *Store) Installation(ctx context.Context) (string, error) {
	if id := s.installation.Load(); id != nil {
		return *id, nil
	}
	row, err := s.q.Installation(ctx)
	if err != nil {
		return "", s.wrap(err, "read the id of the installation")
	}
	id := row.String()
	s.installation.Store(&id)
	return id, nil
}

// Orphans reports which kinds of rows the relay has to dispatch.
type Orphans struct {
	// Unparked is true if rows have been without a WebhookEvent for longer than the grace period.
	Unparked bool
	// Returning is true if parked rows are due.
	Returning bool
}

// FindOrphans looks for rows that have been without a WebhookEvent for longer than grace, and for parked rows that are due.
func (s *Store) FindOrphans(ctx context.Context, grace time.Duration) (Orphans, error) {
	row, err := s.q.FindOrphans(ctx, grace.Seconds())
	return Orphans{Unparked: row.Orphaned, Returning: row.ReturningDue}, s.wrap(err, "look for orphaned rows")
}

// DispatchQuery selects rows without a WebhookEvent.
type DispatchQuery struct {
	// Limit bounds the rows, and Returning the parked rows among them.
	Limit, Returning int
	// SkipBlocked skips rows that wait for an older event of their entity.
	SkipBlocked bool
}

// ListUndispatched returns due rows without a WebhookEvent, oldest first.
func (s *Store) ListUndispatched(ctx context.Context, want DispatchQuery) ([]EventMeta, error) {
	rows, err := s.q.ListUndispatched(ctx, dbsqlc.ListUndispatchedParams{
		MaxRows: int32(want.Limit), MaxReturning: int32(want.Returning), SkipBlocked: want.SkipBlocked, //nolint:gosec // A batch.
	})
	if err != nil {
		return nil, s.wrap(err, "list undispatched events")
	}
	out := make([]EventMeta, len(rows))
	for i, row := range rows {
		out[i] = EventMeta(row)
	}
	return out, nil
}

// MarkDispatched records that the WebhookEvents of these rows exist. It skips rows that have been claimed since: the claim
// has marked them, and the controller may have unmarked them again.
func (s *Store) MarkDispatched(ctx context.Context, rows []EventMeta) error {
	var p dbsqlc.MarkDispatchedParams
	for _, row := range rows {
		p.Ids, p.StartedAts = append(p.Ids, row.ID), append(p.StartedAts, row.startedAt())
	}
	_, err := s.q.MarkDispatched(ctx, p)
	return s.wrap(err, "mark %d events as dispatched", len(rows))
}

// startedAt is StartedAt as the database compares it: the Unix epoch if there was no attempt.
func (d EventMeta) startedAt() time.Time {
	if d.StartedAt.IsZero() {
		return time.Unix(0, 0)
	}
	return d.StartedAt
}

// RefusedEvent is a row whose WebhookEvent the API server refused, with the message of the API server.
type RefusedEvent struct {
	EventMeta
	Message string
}

// notCreated is v1alpha1.NotCreatedReason, the reason on a row whose WebhookEvent was refused.
const notCreated = "NotCreated"

// PostponeBounds bounds the delay before a refused row is retried.
type PostponeBounds struct{ Min, Max time.Duration }

// PostponeRelay parks refused rows until their retry. It skips rows that have been claimed since or that have a WebhookEvent.
func (s *Store) PostponeRelay(ctx context.Context, rows []RefusedEvent, bounds PostponeBounds) error {
	p := dbsqlc.PostponeRelayParams{Reason: notCreated, MinSeconds: bounds.Min.Seconds(), MaxSeconds: bounds.Max.Seconds()}
	for _, row := range rows {
		p.Ids, p.StartedAts = append(p.Ids, row.ID), append(p.StartedAts, row.startedAt())
		p.Messages = append(p.Messages, row.Message)
	}
	_, err := s.q.PostponeRelay(ctx, p)
	return s.wrap(err, "postpone %d events whose WebhookEvents were refused", len(rows))
}

// MarkUnacceptable ends a row for which no WebhookEvent can be created.
func (s *Store) MarkUnacceptable(ctx context.Context, id uuid.UUID, reason, message string) error {
	_, err := s.q.MarkUnacceptable(ctx, dbsqlc.MarkUnacceptableParams{ID: id, Reason: reason, ErrorMessage: message})
	return s.wrap(err, "end event %s", id)
}

// LiveCounts counts the live WebhookEvents: those that exist and are not finished.
type LiveCounts struct {
	// Due events can be claimed now. Returning counts those of them that were parked and have not been claimed since.
	Due, Returning int64
	// Waiting events wait for a retry or for an older event of their entity, or are suspended. Blocked counts those of them whose older
	// event is live as well.
	Waiting, Blocked int64
}

// CountLive counts the live WebhookEvents in the database.
func (s *Store) CountLive(ctx context.Context) (LiveCounts, error) {
	row, err := s.q.CountLive(ctx)
	counts := LiveCounts{Due: row.Due, Returning: row.ReturningDue, Waiting: row.Waiting, Blocked: row.Blocked}
	return counts, s.wrap(err, "count live events")
}

// Backlog counts unfinished events.
func (s *Store) Backlog(ctx context.Context) (Backlog, error) {
	row, err := s.q.CountBacklog(ctx)
	return Backlog(row), s.wrap(err, "count the backlog")
}

// RequestAudit asks the controller to look for missing WebhookEvents now.
func (s *Store) RequestAudit(ctx context.Context) error {
	return s.wrap(s.q.RequestAudit(ctx), "request an audit")
}
