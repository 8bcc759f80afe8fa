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
	return n > 0, s.noted(err, "take the relay lease")
}

// ReleaseRelayLease lets another holder take over at once.
func (s *Store) ReleaseRelayLease(ctx context.Context, holder string) error {
	return s.noted(s.q.ReleaseRelayLease(ctx, holder), "release the relay lease")
}

// HasLeftBehind reports whether due rows have been without a WebhookEvent for longer than grace.
func (s *Store) HasLeftBehind(ctx context.Context, grace time.Duration) (bool, error) {
	found, err := s.q.HasLeftBehind(ctx, grace.Seconds())
	return found, s.noted(err, "look for rows left behind")
}

// ListUndispatched returns up to limit due rows without a WebhookEvent that are older than grace, oldest first.
func (s *Store) ListUndispatched(ctx context.Context, grace time.Duration, limit int) ([]Dispatch, error) {
	rows, err := s.q.ListUndispatched(ctx, dbsqlc.ListUndispatchedParams{
		GraceSeconds: grace.Seconds(), MaxRows: int32(limit), //nolint:gosec // A batch.
	})
	if err != nil {
		return nil, s.noted(err, "list undispatched events")
	}
	out := make([]Dispatch, len(rows))
	for i, row := range rows {
		out[i] = Dispatch(row)
	}
	return out, nil
}

// MarkDispatched records that the WebhookEvents of these rows exist.
func (s *Store) MarkDispatched(ctx context.Context, ids []uuid.UUID) error {
	_, err := s.q.MarkDispatched(ctx, ids)
	return s.noted(err, "mark %d events as dispatched", len(ids))
}

// MarkUnacceptable ends a row whose WebhookEvent the API server refuses as invalid.
func (s *Store) MarkUnacceptable(ctx context.Context, id uuid.UUID, reason, message string) error {
	_, err := s.q.MarkUnacceptable(ctx, dbsqlc.MarkUnacceptableParams{ID: id, Reason: reason, ErrorMessage: message})
	return s.noted(err, "mark event %s as not acceptable", id)
}

// House counts the live WebhookEvents, finished ones left out.
type House struct {
	// Due ones can be worked on now.
	Due int64
	// Waiting ones wait for a later attempt, for an older event of their entity, or are suspended.
	Waiting int64
}

// House counts the live WebhookEvents as the database knows them.
func (s *Store) House(ctx context.Context) (House, error) {
	row, err := s.q.CountHouse(ctx)
	return House(row), s.noted(err, "count live events")
}

// Backlog counts what is not finished.
func (s *Store) Backlog(ctx context.Context) (Backlog, error) {
	row, err := s.q.CountBacklog(ctx)
	return Backlog(row), s.noted(err, "count the backlog")
}

// RequestAudit asks the controller to look for missing WebhookEvents now.
func (s *Store) RequestAudit(ctx context.Context) error {
	return s.noted(s.q.RequestAudit(ctx), "request an audit")
}
