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

// Status is where a row stands.
type Status string

// The states of a row.
const (
	StatusPending    Status = "pending"
	StatusProcessing Status = "processing"
	StatusDone       Status = "done"
	StatusError      Status = "error"
)

// Finished reports whether nothing more happens to the row by itself.
func (s Status) Finished() bool { return s == StatusDone || s == StatusError }

// Operations of the ledger.
const (
	OperationForward = "verity.forward"
	OperationLead    = "verity.lead"
	OperationContact = "aloware.contact"
	OperationTags    = "ghl.tags"
)

// Statuses of a ledger row.
const (
	LedgerSuccess = "success"
	LedgerError   = "error"
	LedgerSkipped = "skipped"
)

// Directions of a ledger row.
const (
	DirectionToVerity  = "ghl_to_verity"
	DirectionToAloware = "ghl_to_aloware"
	DirectionToGHL     = "verity_to_ghl"
)

var (
	// ErrNotFound says that there is no such row.
	ErrNotFound = errors.New("no such event in the database")
	// ErrFenced says that the database has another term: nothing was recorded, and nothing more may be done.
	ErrFenced = errors.New("another controller has become the leader, or the database has gone back to before this one became it")
	// ErrNotClaimable says that the row is finished, not due, or behind an older event of its entity.
	ErrNotClaimable = errors.New("the event cannot be claimed now")
)

// EventState is where an event stands, without its payload.
type EventState struct {
	ID              uuid.UUID
	Source          string
	Type            string
	EntityType      string
	Status          Status
	Run             int32
	Attempts        int32
	Forward         bool
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
	// Refused holds the operations that were refused for good in this run.
	Refused map[string]Refusal
	// WaitsFor is the name of the WebhookEvent of an older unfinished event of the same entity, "" if there is none.
	WaitsFor string
}

// Load returns where the event stands, or ErrNotFound.
func (s *Store) Load(ctx context.Context, id uuid.UUID) (EventState, error) {
	row, err := s.q.LoadEvent(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return EventState{}, ErrNotFound
	}
	if err != nil {
		return EventState{}, s.wrap(err, "load event %s", id)
	}
	return EventState{
		ID: row.ID, Source: row.Source, Type: row.EventType, EntityType: row.EntityType, Status: Status(row.Status), Run: row.Run,
		Attempts: row.Attempts, Forward: row.Forward, Suspended: row.Suspended, Reason: row.Reason, Message: row.ErrorMessage,
		Result: row.Result, VerityContactID: row.VerityContactID, ReplayRequest: row.ReplayRequest,
		NextAttemptAt: row.NextAttemptAt, StartedAt: row.StartedAt, ProcessedAt: row.ProcessedAt,
		DueIn: time.Duration(row.DueInSeconds * float64(time.Second)), Succeeded: row.Succeeded, Refused: refusals(row.Refused),
		WaitsFor: row.WaitsFor,
	}, nil
}

// Attempt is an event whose attempt is under way.
type Attempt struct {
	ID    uuid.UUID
	Event event.Event
	// Payload is the JSON object that was stored; Raw the bytes received where they differ.
	Payload    []byte
	Raw        []byte
	Headers    map[string]string
	ReceivedAt time.Time
	// StartedAt is when the event was claimed, by the database's clock; ClaimedAt when this process heard of it, by its own.
	StartedAt time.Time
	ClaimedAt time.Time
	Run       int32
	// LedgerRun is the run since which the ledger counts; it is part of the idempotency key.
	LedgerRun int32
	// Attempts counts this attempt.
	Attempts int32
	// Forward is false where the earlier middleware has forwarded the event.
	Forward bool
	// Succeeded holds the operations that the ledger has as done.
	Succeeded []string
	// Refused holds the operations that were refused for good in this run.
	Refused map[string]Refusal
	// Result is what earlier attempts have led to.
	Result string
	// Term is the leader's term under which the claim was made.
	Term int64
}

// Refusal is what the ledger has of an operation that was refused for good.
type Refusal struct{ Reason, Message string }

// refusals reads rows of operation, reason and message.
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

// OccurredAt is when it happened as far as is known: the time of receipt stands in.
func (c *Attempt) OccurredAt() time.Time {
	if c.Event.OccurredAt.IsZero() {
		return c.ReceivedAt
	}
	return c.Event.OccurredAt
}

// At returns the database's time for a time of this process since the claim, so that clocks which disagree do not matter.
func (c *Attempt) At(t time.Time) time.Time { return c.StartedAt.Add(t.Sub(c.ClaimedAt)) }

// Claim begins an attempt: the row becomes processing and the attempt is counted. It returns ErrNotClaimable where there
// is nothing to do now, and ErrFenced where another leader has taken over. After any other error the event may have been
// claimed; claiming it again does not count it again.
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
		return nil, fmt.Errorf("read the headers of event %s: %w", id, err)
	}
	return c, nil
}

// fencedOr returns ErrFenced where term has ended, else otherwise.
func (s *Store) fencedOr(ctx context.Context, term int64, otherwise error) error {
	current, err := s.q.CurrentTerm(ctx)
	if err != nil {
		return s.wrap(err, "read the term of leadership")
	}
	if current != term {
		return ErrFenced
	}
	return otherwise
}

// LedgerEntry is what one operation of an attempt came to.
type LedgerEntry struct {
	Operation string
	Direction string
	Status    string
	// TargetID is the id of what was written at the destination.
	TargetID string
	// Message says what went wrong or why it was skipped, without personal data.
	Message string
	// Details say how: how a contact was found, what was written.
	Details map[string]any
	// StartedAt and FinishedAt are by this process's clock. They are recorded by the database's, as Attempt.At has it.
	StartedAt  time.Time
	FinishedAt time.Time
}

// AttemptResult says how an attempt ended.
type AttemptResult struct {
	// Status is StatusPending where another attempt follows, after Delay.
	Status Status
	Delay  time.Duration
	// HeldBy names the destinations that do not answer, where the event waits for nothing else: see ReleaseHeld.
	HeldBy []string
	// Attempts is the count to keep: one less than claimed where the attempt is given back.
	Attempts        int32
	Reason          string
	Message         string
	Result          string
	VerityContactID string
	Ledger          []LedgerEntry
}

// RecordedResult is the row after an attempt.
type RecordedResult struct {
	Status        Status
	Attempts      int32
	NextAttemptAt *time.Time
	ProcessedAt   *time.Time
	// Next is the name of the WebhookEvent of the same entity that comes next, "" if there is none or this one is not
	// finished.
	Next string
}

// FinishAttempt records, in one transaction, what an attempt came to. It returns ErrFenced where another leader has
// taken over, and ErrNotClaimable where the row is not this attempt's any more.
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

// SetSuspended holds an event back or lets it go. It returns the name of the WebhookEvent of the same entity that may
// pass now, "" if there is none.
func (s *Store) SetSuspended(ctx context.Context, id uuid.UUID, suspended bool) (string, error) {
	next, err := s.q.SetSuspended(ctx, dbsqlc.SetSuspendedParams{ID: id, Suspended: suspended})
	return next, s.wrap(err, "suspend event %s", id)
}

// Replay starts a new run of a finished event and returns true, or false where this request has been served already, or the event is not
// finished. It returns ErrFenced where another leader has taken over, and ErrErased where the data of the event was erased.
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
		return false, s.wrap(err, "see whether event %s was erased", id)
	case at != nil:
		return false, ErrErased
	default:
		return false, nil
	}
}

// RefuseReplay records that a request for a replay of a finished event was answered without a new run. It returns ErrFenced where another
// leader has taken over.
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

// Undispatch asks the relay for the WebhookEvents of unfinished rows once more and returns how many were asked for.
func (s *Store) Undispatch(ctx context.Context, ids ...uuid.UUID) (int64, error) {
	n, err := s.q.UndispatchEvents(ctx, ids)
	return n, s.wrap(err, "ask for %d events once more", len(ids))
}

// Park takes waiting events back into the database until their next attempt is due and returns those that it took.
func (s *Store) Park(ctx context.Context, ids []uuid.UUID) ([]uuid.UUID, error) {
	parked, err := s.q.ParkEvents(ctx, ids)
	return parked, s.wrap(err, "park %d events", len(ids))
}

// DispatchedEvent is a row that should have a WebhookEvent.
type DispatchedEvent struct {
	ID         uuid.UUID
	Source     string
	ReceivedAt time.Time
}

// ListDispatched returns up to limit unfinished rows that were dispatched longer than grace ago, oldest first, after the given
// one.
func (s *Store) ListDispatched(ctx context.Context, grace time.Duration, after DispatchedEvent, limit int) ([]DispatchedEvent, error) {
	rows, err := s.q.ListDispatched(ctx, dbsqlc.ListDispatchedParams{
		GraceSeconds: grace.Seconds(), AfterReceivedAt: after.ReceivedAt, AfterID: after.ID,
		MaxRows: int32(limit), //nolint:gosec // A page.
	})
	if err != nil {
		return nil, s.wrap(err, "list live events")
	}
	out := make([]DispatchedEvent, len(rows))
	for i, row := range rows {
		out[i] = DispatchedEvent(row)
	}
	return out, nil
}

// Statuses returns the status of each of these events; those that have no row are missing.
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

// AuditRequestedAt returns when an audit was last asked for, by the database's clock.
func (s *Store) AuditRequestedAt(ctx context.Context) (time.Time, error) {
	at, err := s.q.AuditRequestedAt(ctx)
	return at, s.wrap(err, "read when an audit was asked for")
}
