package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// Status is the status of a row.
type Status string

// Statuses of a row.
const (
	StatusPending    Status = "pending"
	StatusProcessing Status = "processing"
	StatusDone       Status = "done"
	StatusError      Status = "error"
)

// Finished reports whether the row is done or in error. Only a replay continues it.
func (s Status) Finished() bool { return s == StatusDone || s == StatusError }

var (
	// ErrNotFound means that the row does not exist.
	ErrNotFound = errors.New("the database has no such event")
	// ErrFenced means that the database has another term. Nothing was recorded, and the process must stop working.
	ErrFenced = errors.New("another controller is the leader, or the database was rolled back to before this one became the leader")
	// ErrNotClaimable means that the row is finished, not due, or blocked by an older event of its entity.
	ErrNotClaimable = errors.New("the event cannot be claimed now")
)

// EventState is the state of an event, without its payload.
type EventState struct {
	ID              uuid.UUID
	Source          string
	Status          Status
	Attempts        int32
	Suspended       bool
	Reason          string
	Message         string
	Result          string
	VerityContactID string
	ReplayRequest   string
	NextAttemptAt   *time.Time
	StartedAt       *time.Time
	ProcessedAt     *time.Time
	// DueIn is how long it is until the next attempt by the database's clock; zero or less when it is due.
	DueIn time.Duration
	// Succeeded holds the operations that the ledger has as done.
	Succeeded []string
	// WaitsFor is the name of the WebhookEvent of an older unfinished event of the same entity, "" if there is none.
	WaitsFor string
}

// Load returns the state of an event, or ErrNotFound.
func (s *Store) Load(ctx context.Context, id uuid.UUID) (EventState, error) {
	row, err := s.q.LoadEvent(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return EventState{}, ErrNotFound
	}
	if err != nil {
		return EventState{}, s.wrap(err, "load event %s", id)
	}
	return EventState{
		ID: row.ID, Source: row.Source, Status: Status(row.Status), Attempts: row.Attempts, Suspended: row.Suspended,
		Reason: row.Reason, Message: row.ErrorMessage, Result: row.Result, VerityContactID: row.VerityContactID,
		ReplayRequest: row.ReplayRequest, NextAttemptAt: row.NextAttemptAt, StartedAt: row.StartedAt, ProcessedAt: row.ProcessedAt,
		DueIn: time.Duration(row.DueInSeconds * float64(time.Second)), Succeeded: row.Succeeded, WaitsFor: row.WaitsFor,
	}, nil
}

// Attempt is a claimed event.
type Attempt struct {
	ID    uuid.UUID
	Event event.Event
	// Payload is the stored JSON object. Raw holds the bytes received if they differ.
	Payload    []byte
	Raw        []byte
	Headers    map[string]string
	ReceivedAt time.Time
	// StartedAt is the time of the claim by the database's clock, ClaimedAt the time of its response by the clock of this process.
	StartedAt time.Time
	ClaimedAt time.Time
	Run       int32
	// LedgerRun is the first run whose ledger entries count. It is part of the idempotency key.
	LedgerRun int32
	// Attempts counts this attempt.
	Attempts int32
	// Forward is false if the legacy middleware has forwarded the event.
	Forward bool
	// Succeeded holds the operations that the ledger has as done.
	Succeeded []string
	// Refused holds the operations that were refused for good in this run.
	Refused map[string]Refusal
	// Result is the result of earlier attempts.
	Result string
	// Term is the leader's term at the claim.
	Term int64
}

// Refusal is the ledger entry of an operation that was refused permanently.
type Refusal struct{ Reason, Message string }

// refusals decodes rows of operation, reason and message.
func refusals(rows []string) map[string]Refusal {
	out := make(map[string]Refusal, len(rows))
	for _, row := range rows {
		operation, rest, _ := strings.Cut(row, "\t")
		reason, message, _ := strings.Cut(rest, "\t")
		out[operation] = Refusal{Reason: reason, Message: message}
	}
	return out
}

// Body returns the bytes that GHL sent.
func (c *Attempt) Body() []byte {
	if c.Raw != nil {
		return c.Raw
	}
	return c.Payload
}

// OccurredAt is when the event happened at the sender or, if that is unknown, when it was received.
func (c *Attempt) OccurredAt() time.Time {
	if c.Event.OccurredAt.IsZero() {
		return c.ReceivedAt
	}
	return c.Event.OccurredAt
}

// At converts a time of this process, after the claim, to the database's clock.
func (c *Attempt) At(t time.Time) time.Time { return c.StartedAt.Add(t.Sub(c.ClaimedAt)) }

// Claim begins an attempt: the row becomes processing and the attempt is counted. It returns ErrNotClaimable if there is
// nothing to do now, and ErrFenced if another leader has taken over. After any other error the event may have been claimed;
// the next claim then does not count another attempt.
func (s *Store) Claim(ctx context.Context, id uuid.UUID, term int64) (*Attempt, error) {
	_, repeated := s.uncertain.LoadAndDelete(id)
	row, err := s.q.ClaimEvent(ctx, dbsqlc.ClaimEventParams{ID: id, Term: term, Repeated: repeated})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, s.fencedOr(ctx, term, ErrNotClaimable)
	}
	if err != nil {
		s.uncertain.Store(id, struct{}{})
		return nil, s.wrap(err, "claim event %s", id)
	}
	c := &Attempt{
		ID: row.ID, Payload: row.PayloadJson, Raw: row.PayloadRaw, ReceivedAt: row.ReceivedAt, Run: row.Run,
		LedgerRun: row.LedgerRun, Attempts: row.Attempts, Forward: row.Forward, Succeeded: row.Succeeded,
		Result: row.Result, Refused: refusals(row.Refused), Term: term, ClaimedAt: time.Now(),
		Event: event.Event{
			Source: row.Source, Type: row.EventType, EntityType: row.EntityType, EntityID: row.EntityID,
			LocationID: row.LocationID, ContactID: row.ContactID, AppointmentStatus: row.AppointmentStatus,
			OrderingKey: event.OrderingKeyOf(row.EntityType, row.EntityID), Truncated: row.Truncated,
		},
	}
	if row.OccurredAt != nil {
		c.Event.OccurredAt = row.OccurredAt.UTC()
	}
	if row.StartedAt != nil {
		c.StartedAt = *row.StartedAt
	}
	if err := json.Unmarshal(row.Headers, &c.Headers); err != nil {
		return nil, fmt.Errorf("decode the headers of event %s: %w", id, err)
	}
	return c, nil
}

// fencedOr returns ErrFenced if term has ended, else otherwise.
func (s *Store) fencedOr(ctx context.Context, term int64, otherwise error) error {
	current, err := s.q.CurrentTerm(ctx)
	if err != nil {
		return s.wrap(err, "read the current term")
	}
	if current != term {
		return ErrFenced
	}
	return otherwise
}

// LedgerEntry is the outcome of one operation in an attempt.
type LedgerEntry struct {
	Operation string
	Direction string
	Status    string
	// TargetID is the id of the object that was written at the destination.
	TargetID string
	// Message is the error or the reason for skipping the operation, without personal data.
	Message string
	// Details holds details, for instance how a contact was matched.
	Details map[string]any
	// StartedAt and FinishedAt are times of this process. Attempt.At converts them to the database's clock.
	StartedAt  time.Time
	FinishedAt time.Time
}

// AttemptResult is the result of an attempt.
type AttemptResult struct {
	// Status is StatusPending if a retry follows after Delay.
	Status Status
	Delay  time.Duration
	// HeldBy names the unavailable destinations if the event waits for nothing else. See ReleaseHeld.
	HeldBy []string
	// Attempts is the number of attempts to record: one less than claimed if the attempt does not count.
	Attempts        int32
	Reason          string
	Message         string
	Result          string
	VerityContactID string
	Ledger          []LedgerEntry
}

// RecordedResult is the state of the row after an attempt.
type RecordedResult struct {
	Status        Status
	Attempts      int32
	NextAttemptAt *time.Time
	ProcessedAt   *time.Time
	// Next is the name of the next WebhookEvent of the same entity, "" if there is none or if this event is not finished.
	Next string
}

// FinishAttempt records the result of an attempt in one transaction. It returns ErrFenced if another leader has taken over,
// and ErrNotClaimable if the row has changed since the claim.
func (s *Store) FinishAttempt(ctx context.Context, c *Attempt, f AttemptResult) (RecordedResult, error) {
	p := dbsqlc.FinishAttemptParams{
		ID: c.ID, Term: c.Term, Run: c.Run, Attempt: c.Attempts, Status: string(f.Status), Attempts: f.Attempts,
		DelaySeconds: f.Delay.Seconds(), Reason: f.Reason, ErrorMessage: f.Message, Result: f.Result,
		VerityContactID: f.VerityContactID, HeldBy: f.HeldBy,
	}
	for _, l := range f.Ledger {
		details := []byte(emptyObject)
		if len(l.Details) > 0 {
			var err error
			if details, err = json.Marshal(l.Details); err != nil {
				return RecordedResult{}, fmt.Errorf("encode the details of %s: %w", l.Operation, err)
			}
		}
		p.Operations = append(p.Operations, l.Operation)
		p.Directions = append(p.Directions, l.Direction)
		p.TargetIds = append(p.TargetIds, l.TargetID)
		p.Statuses = append(p.Statuses, l.Status)
		p.ErrorMessages = append(p.ErrorMessages, l.Message)
		p.Details = append(p.Details, string(details))
		p.StartedAts = append(p.StartedAts, c.At(l.StartedAt))
		p.FinishedAts = append(p.FinishedAts, c.At(l.FinishedAt))
	}
	row, err := s.q.FinishAttempt(ctx, p)
	if errors.Is(err, pgx.ErrNoRows) {
		return RecordedResult{}, s.fencedOr(ctx, c.Term, ErrNotClaimable)
	}
	if err != nil {
		return RecordedResult{}, s.wrap(err, "record the attempt of event %s", c.ID)
	}
	return RecordedResult{
		Status: Status(row.Status), Attempts: row.Attempts, NextAttemptAt: row.NextAttemptAt, ProcessedAt: row.ProcessedAt,
		Next: row.NextName,
	}, nil
}

// SetSuspended suspends or resumes an event. It returns the name of the WebhookEvent of the same entity that is unblocked by
// it, or "".
func (s *Store) SetSuspended(ctx context.Context, id uuid.UUID, suspended bool) (string, error) {
	next, err := s.q.SetSuspended(ctx, dbsqlc.SetSuspendedParams{ID: id, Suspended: suspended})
	return next, s.wrap(err, "suspend event %s", id)
}

// Replay starts a new run of a finished event and returns true. It returns false if this request was served already or the event is not
// finished, ErrFenced if another leader has taken over, and ErrErased if the data of the event was erased.
func (s *Store) Replay(ctx context.Context, id uuid.UUID, request string, fromStart bool, term int64) (bool, error) {
	n, err := s.q.ReplayEvent(ctx, dbsqlc.ReplayEventParams{ID: id, Request: request, FromStart: fromStart, Term: term})
	if err != nil {
		return false, s.wrap(err, "replay event %s", id)
	}
	if n > 0 {
		return true, nil
	}
	if err := s.fencedOr(ctx, term, nil); err != nil {
		return false, err
	}
	at, err := s.q.ErasedAt(ctx, id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err != nil:
		return false, s.wrap(err, "check whether event %s was erased", id)
	case at != nil:
		return false, ErrErased
	default:
		return false, nil
	}
}

// RefuseReplay records that the replay of a finished event was refused. It returns ErrFenced if another leader has taken over.
func (s *Store) RefuseReplay(ctx context.Context, id uuid.UUID, request string, term int64) error {
	n, err := s.q.RefuseReplay(ctx, dbsqlc.RefuseReplayParams{ID: id, Request: request, Term: term})
	if err != nil {
		return s.wrap(err, "refuse to replay event %s", id)
	}
	if n == 0 {
		return s.fencedOr(ctx, term, nil)
	}
	return nil
}

// Undispatch makes the relay recreate the WebhookEvents of unfinished rows and returns the number of rows.
func (s *Store) Undispatch(ctx context.Context, ids ...uuid.UUID) (int64, error) {
	n, err := s.q.UndispatchEvents(ctx, ids)
	return n, s.wrap(err, "recreate the WebhookEvents of %d events", len(ids))
}

// Park parks waiting events: their WebhookEvents are deleted until the next attempt is due. It returns the parked events.
func (s *Store) Park(ctx context.Context, ids []uuid.UUID) ([]uuid.UUID, error) {
	parked, err := s.q.ParkEvents(ctx, ids)
	return parked, s.wrap(err, "park %d events", len(ids))
}

// DispatchedEvent is a row that has a WebhookEvent, unless that was deleted.
type DispatchedEvent struct {
	ID         uuid.UUID
	Source     string
	ReceivedAt time.Time
}

// ListDispatched returns up to limit unfinished rows that were dispatched longer than grace ago, oldest first, starting after
// the given row.
func (s *Store) ListDispatched(ctx context.Context, grace time.Duration, after DispatchedEvent, limit int) ([]DispatchedEvent, error) {
	rows, err := s.q.ListDispatched(ctx, dbsqlc.ListDispatchedParams{
		GraceSeconds: grace.Seconds(), AfterReceivedAt: after.ReceivedAt, AfterID: after.ID,
		MaxRows: int32(limit), //nolint:gosec // A page.
	})
	if err != nil {
		return nil, s.wrap(err, "list dispatched events")
	}
	out := make([]DispatchedEvent, len(rows))
	for i, row := range rows {
		out[i] = DispatchedEvent(row)
	}
	return out, nil
}

// Statuses returns the status of each event. Events without a row are missing from the result.
func (s *Store) Statuses(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]Status, error) {
	rows, err := s.q.StatusOfEvents(ctx, ids)
	if err != nil {
		return nil, s.wrap(err, "read the status of %d events", len(ids))
	}
	out := make(map[uuid.UUID]Status, len(rows))
	for _, row := range rows {
		out[row.ID] = Status(row.Status)
	}
	return out, nil
}

// AuditRequestedAt returns the time of the last request for an audit, by the database's clock.
func (s *Store) AuditRequestedAt(ctx context.Context) (time.Time, error) {
	at, err := s.q.AuditRequestedAt(ctx)
	return at, s.wrap(err, "read the time of the requested audit")
}
