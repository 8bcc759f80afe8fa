package store

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// TakeRelayLease takes or renews the right to relay the rows that were left behind, for ttl by the database's clock. It
// returns false while another holder has it.
func (s *Store) TakeRelayLease(ctx context.Context, holder string, ttl time.Duration) (bool, error) {
	n, err := s.q.TakeRelayLease(ctx, dbsqlc.TakeRelayLeaseParams{Holder: holder, TtlSeconds: ttl.Seconds()})
	return n > 0, s.wrap(err, "take the relay lease")
}

// ReleaseRelayLease lets another holder take over at once.
func (s *Store) ReleaseRelayLease(ctx context.Context, holder string) error {
	return s.wrap(s.q.ReleaseRelayLease(ctx, holder), "release the relay lease")
}

// Installation returns the id of the installation whose database this is. It never changes, and is read once.
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

// Orphans says what waits for the relay.
type Orphans struct {
	// Unparked is true where rows that no replica is about to relay by itself have been without a WebhookEvent for too long.
	Unparked bool
	// Returning is true where parked rows are due.
	Returning bool
}

// FindOrphans looks for rows that have been without a WebhookEvent for longer than grace, and for parked rows that are due.
func (s *Store) FindOrphans(ctx context.Context, grace time.Duration) (Orphans, error) {
	row, err := s.q.FindOrphans(ctx, grace.Seconds())
	return Orphans{Unparked: row.Orphaned, Returning: row.ReturningDue}, s.wrap(err, "look for rows left behind")
}

// DispatchQuery says which rows without a WebhookEvent are listed.
type DispatchQuery struct {
	// Limit is how many there are at most, and Returning how many of those that were parked.
	Limit, Returning int
	// SkipBlocked passes over those that wait for an older event of their entity.
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

// MarkDispatched records that the WebhookEvents of these rows exist. Of those of which an attempt has begun since nothing is
// recorded: whether their WebhookEvents exist is the controller's to say.
func (s *Store) MarkDispatched(ctx context.Context, rows []EventMeta) error {
	var p dbsqlc.MarkDispatchedParams
	for _, row := range rows {
		p.Ids, p.StartedAts = append(p.Ids, row.ID), append(p.StartedAts, row.startedAt())
	}
	_, err := s.q.MarkDispatched(ctx, p)
	return s.wrap(err, "mark %d events as dispatched", len(rows))
}

// startedAt is what the database has for it: the epoch where no attempt has begun.
func (d EventMeta) startedAt() time.Time {
	if d.StartedAt.IsZero() {
		return time.Unix(0, 0)
	}
	return d.StartedAt
}

// RefusedEvent is a row whose WebhookEvent the API server refused to create, and what it said.
type RefusedEvent struct {
	EventMeta
	Message string
}

// notCreated is the reason on a row whose WebhookEvent was refused, v1alpha1.NotCreatedReason.
const notCreated = "NotCreated"

// PostponeBounds bound how long a refused row waits until it is tried again.
type PostponeBounds struct{ Min, Max time.Duration }

// PostponeRelay parks refused rows until they are tried again. Rows of which an attempt has begun since, or whose WebhookEvents exist
// after all, are left alone.
func (s *Store) PostponeRelay(ctx context.Context, rows []RefusedEvent, bounds PostponeBounds) error {
	p := dbsqlc.PostponeRelayParams{Reason: notCreated, MinSeconds: bounds.Min.Seconds(), MaxSeconds: bounds.Max.Seconds()}
	for _, row := range rows {
		p.Ids, p.StartedAts = append(p.Ids, row.ID), append(p.StartedAts, row.startedAt())
		p.Messages = append(p.Messages, row.Message)
	}
	_, err := s.q.PostponeRelay(ctx, p)
	return s.wrap(err, "postpone %d events whose WebhookEvents were refused", len(rows))
}

// MarkUnacceptable ends a row that can have no WebhookEvent.
func (s *Store) MarkUnacceptable(ctx context.Context, id uuid.UUID, reason, message string) error {
	_, err := s.q.MarkUnacceptable(ctx, dbsqlc.MarkUnacceptableParams{ID: id, Reason: reason, ErrorMessage: message})
	return s.wrap(err, "mark event %s as not acceptable", id)
}

// LiveCounts counts the live WebhookEvents, finished ones left out.
type LiveCounts struct {
	// Due ones can be worked on now. Returning are those of them that were parked and have not been claimed since.
	Due, Returning int64
	// Waiting ones wait for a later attempt, for an older event of their entity, or are suspended. Blocked are those of them for which
	// an older one is in the house as well.
	Waiting, Blocked int64
}

// CountLive counts the live WebhookEvents as the database knows them.
func (s *Store) CountLive(ctx context.Context) (LiveCounts, error) {
	row, err := s.q.CountLive(ctx)
	counts := LiveCounts{Due: row.Due, Returning: row.ReturningDue, Waiting: row.Waiting, Blocked: row.Blocked}
	return counts, s.wrap(err, "count live events")
}

// Backlog counts what is not finished.
func (s *Store) Backlog(ctx context.Context) (Backlog, error) {
	row, err := s.q.CountBacklog(ctx)
	return Backlog(row), s.wrap(err, "count the backlog")
}

// RequestAudit asks the controller to look for missing WebhookEvents now.
func (s *Store) RequestAudit(ctx context.Context) error {
	return s.wrap(s.q.RequestAudit(ctx), "request an audit")
}
