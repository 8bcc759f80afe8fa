package store

import (
	"context"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// replayBatch bounds the rows that a transaction replays, and retentionBatch the rows that it removes, for each of done and
// error. They are small so that locks are short.
const (
	replayBatch    = 500
	retentionBatch = 500
)

// ReplaySelection selects finished events to replay.
type ReplaySelection struct {
	Status Status
	// Since selects events that finished at most this long ago.
	Since time.Duration
	// Until selects events that finished at least this long ago; 0 selects every event.
	Until time.Duration
	// Type is the event type; "" selects every type.
	Type string
}

// CountReplayable returns the number of events in a selection.
func (s *Store) CountReplayable(ctx context.Context, sel ReplaySelection) (int64, error) {
	n, err := s.q.CountReplayable(ctx, dbsqlc.CountReplayableParams{
		Status: string(sel.Status), SinceSeconds: sel.Since.Seconds(), UntilSeconds: sel.Until.Seconds(), EventType: sel.Type,
	})
	return n, s.wrap(err, "count the events to replay")
}

// CountErased returns the number of events that a selection leaves out because their data was erased.
func (s *Store) CountErased(ctx context.Context, sel ReplaySelection) (int64, error) {
	n, err := s.q.CountErased(ctx, dbsqlc.CountErasedParams{
		Status: string(sel.Status), SinceSeconds: sel.Since.Seconds(), UntilSeconds: sel.Until.Seconds(), EventType: sel.Type,
	})
	return n, s.wrap(err, "count erased events")
}

// TypeCount is the number of events of a type.
type TypeCount struct {
	Type   string
	Events int64
}

// replayTypes bounds the types that ReplayableTypes returns.
const replayTypes = 10

// ReplayableTypes returns the most frequent types in a selection. It ignores sel.Type.
func (s *Store) ReplayableTypes(ctx context.Context, sel ReplaySelection) ([]TypeCount, error) {
	rows, err := s.q.ListReplayableTypes(ctx, dbsqlc.ListReplayableTypesParams{
		Status: string(sel.Status), SinceSeconds: sel.Since.Seconds(), UntilSeconds: sel.Until.Seconds(), MaxRows: replayTypes,
	})
	types := make([]TypeCount, len(rows))
	for i, row := range rows {
		types[i] = TypeCount{row.EventType, row.Events}
	}
	return types, s.wrap(err, "list the types of the events to replay")
}

// ReplayAll starts a new run of every selected event, in batches, and returns their number. Operations that succeeded in earlier
// runs are skipped unless fromStart is true. It requests an audit, so the controller starts at once.
func (s *Store) ReplayAll(ctx context.Context, sel ReplaySelection, fromStart bool) (int64, error) {
	now, err := s.q.Now(ctx) // An event that fails again in the meantime is not selected twice.
	if err != nil {
		return 0, s.wrap(err, "read the time")
	}
	var total int64
	for {
		n, err := s.q.ReplayBatch(ctx, dbsqlc.ReplayBatchParams{
			Status: string(sel.Status), SinceSeconds: sel.Since.Seconds(), EventType: sel.Type, FromStart: fromStart,
			Until: now.Add(-sel.Until), MaxRows: replayBatch,
		})
		total += n
		if err != nil {
			return total, s.wrap(err, "replay events")
		}
		failpoint.Hit(failpoint.ReplayBatch)
		if n < replayBatch {
			return total, s.RequestAudit(ctx)
		}
	}
}

// DeleteFinished removes a batch of rows that finished longer than retention ago, and their ledger entries. It reports whether
// there may be more.
func (s *Store) DeleteFinished(ctx context.Context, retention time.Duration) (deleted int64, more bool, err error) {
	n, err := s.q.DeleteFinishedBatch(ctx, dbsqlc.DeleteFinishedBatchParams{RetentionSeconds: retention.Seconds(), MaxRows: retentionBatch})
	if err != nil {
		return 0, false, s.wrap(err, "remove old events")
	}
	m, err := s.q.DeleteAdoptedLogBatch(ctx, dbsqlc.DeleteAdoptedLogBatchParams{
		RetentionSeconds: retention.Seconds(), MaxRows: retentionBatch,
	})
	return n, n >= retentionBatch || m == retentionBatch, s.wrap(err, "remove old entries of the legacy middleware's log")
}
