package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// ErrErased means that the data of the event was erased: it does not run again, and nothing more is recorded about it.
var ErrErased = errors.New("the data of the event was erased")

// erasePage is the maximum number of rows in a page of a scan, firstErasePage the number in the first page. A page is in memory: its size
// follows from erasePageBytes and the size of the rows before.
const (
	erasePage      = 50
	firstErasePage = 4
	erasePageBytes = 4 << 20
)

// EventData are the columns of webhook_events that may have personal data.
type EventData struct {
	ID                                    uuid.UUID
	Source                                string
	Status                                Status
	EntityType, EntityID                  string
	LocationID, ContactID                 string
	Type, AppointmentStatus               string
	DedupeKey, OrderingKey, ReplayRequest string
	Message                               string
	Payload, Raw, Headers                 []byte
}

// ScanEvents calls each for every event whose data is not erased. It reads pages with short statements, and stops at an error of each.
func (s *Store) ScanEvents(ctx context.Context, each func(EventData) error) error {
	var after uuid.UUID
	for page := firstErasePage; ; {
		rows, err := s.q.ScanEvents(ctx, dbsqlc.ScanEventsParams{After: after, MaxRows: int32(page)})
		if err != nil {
			return s.wrap(err, "read the events after %s", after)
		}
		size := 1
		for _, r := range rows {
			size += len(r.PayloadJson) + len(r.PayloadRaw)
			if err := each(EventData{
				ID: r.ID, Source: r.Source, Status: Status(r.Status), EntityType: r.EntityType, EntityID: r.EntityID,
				LocationID: r.LocationID,
				ContactID:  r.ContactID, Type: r.EventType, AppointmentStatus: r.AppointmentStatus, DedupeKey: r.DedupeKey,
				OrderingKey: r.OrderingKey, ReplayRequest: r.ReplayRequest, Message: r.ErrorMessage, Payload: r.PayloadJson,
				Raw: r.PayloadRaw, Headers: r.Headers,
			}); err != nil {
				return err
			}
			after = r.ID
		}
		if len(rows) < page {
			return nil
		}
		page = max(1, min(erasePage, 2*page, erasePageBytes*len(rows)/size))
	}
}

// LogEntry is a row of the legacy middleware's log, which names no event.
type LogEntry struct {
	ID                                          uuid.UUID
	EntityType                                  string
	EntityID, SourceID, TargetID, CorrelationID string
	Message                                     string
	Details                                     []byte
}

// logPage is the number of rows in a page of rows without a body.
const logPage = 1000

// ScanUnlinkedLog calls each for every entry of the ledger without an event, except those of erasures.
func (s *Store) ScanUnlinkedLog(ctx context.Context, each func(LogEntry)) error {
	var after uuid.UUID
	for {
		rows, err := s.q.ScanUnlinkedLog(ctx, dbsqlc.ScanUnlinkedLogParams{After: after, MaxRows: logPage})
		if err != nil {
			return s.wrap(err, "read the log after %s", after)
		}
		for _, r := range rows {
			each(LogEntry{
				ID: r.ID, EntityType: r.EntityType, EntityID: r.EntityID, SourceID: r.SourceID, TargetID: r.TargetID,
				CorrelationID: r.CorrelationID,
				Message:       r.ErrorMessage, Details: r.Details,
			})
			after = r.ID
		}
		if len(rows) < logPage {
			return nil
		}
	}
}

// ScanMappings calls each for every contact mapping, with the columns that identify the contact.
func (s *Store) ScanMappings(ctx context.Context, each func(Mapping)) error {
	after := ""
	for {
		rows, err := s.q.ScanMappings(ctx, dbsqlc.ScanMappingsParams{After: after, MaxRows: logPage})
		if err != nil {
			return s.wrap(err, "read the contact mappings")
		}
		for _, r := range rows {
			each(Mapping{
				GHLContactID: r.GhlContactID, LocationID: r.LocationID, Phone: r.PhoneNumber, Email: r.Email,
				AlowarePhone: r.AlowarePhoneNumber, AlowareContactID: r.AlowareContactID,
				FormerAlowareContactIDs: r.FormerAlowareContactIds,
			})
			after = r.GhlContactID
		}
		if len(rows) < logPage {
			return nil
		}
	}
}

// AppointmentsOfGHLContact returns the ids of the known appointments of a contact of GoHighLevel: of a location, or of all if it is empty.
func (s *Store) AppointmentsOfGHLContact(ctx context.Context, ghlContactID, location string) ([]string, error) {
	ids, err := s.q.AppointmentsOfGHLContact(ctx, dbsqlc.AppointmentsOfGHLContactParams{GhlContactID: ghlContactID, LocationID: location})
	return ids, s.wrap(err, "read the appointments of a contact")
}

// CountUnownedAppointments returns how many of these appointments have no known contact.
func (s *Store) CountUnownedAppointments(ctx context.Context, ids []string) (int64, error) {
	n, err := s.q.CountUnownedAppointments(ctx, ids)
	return n, s.wrap(err, "count appointments")
}

// CountLedger returns the number of ledger entries of events.
func (s *Store) CountLedger(ctx context.Context, ids []uuid.UUID) (int64, error) {
	n, err := s.q.CountLedgerOfEvents(ctx, ids)
	return n, s.wrap(err, "count the ledger of events")
}

// EventErasure has how to erase an event.
type EventErasure struct {
	ID uuid.UUID
	// ContactID is removed from the ledger of the event.
	ContactID string
	// Strip also removes ids and keys that contain personal data. A repeated delivery is then a new event.
	Strip bool
	// Reason and Message are set on an event that is not done.
	Reason, Message string
}

// ErasedEvent is the result of EraseEvent.
type ErasedEvent struct {
	// Was is the status before the erasure.
	Was Status
	// Ledger is the number of its ledger entries.
	Ledger int64
}

// EraseEvent removes the data of an event and of its ledger in one transaction, and ends an unfinished event in error. It returns ErrErased
// if another erasure was faster or the row does not exist.
func (s *Store) EraseEvent(ctx context.Context, e EventErasure) (erased ErasedEvent, err error) {
	ctx, cancel := context.WithTimeout(ctx, urlCallTimeout)
	defer cancel()
	err = s.pool.InTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		q := dbsqlc.New(tx)
		was, err := q.EraseEvent(ctx, dbsqlc.EraseEventParams{ID: e.ID, Strip: e.Strip, Reason: e.Reason, Message: e.Message})
		if err != nil {
			return err
		}
		erased.Was = Status(was)
		erased.Ledger, err = q.EraseLedgerOfEvent(ctx, dbsqlc.EraseLedgerOfEventParams{
			ID: &e.ID, ContactID: e.ContactID, Strip: e.Strip,
		})
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return ErasedEvent{}, ErrErased
	}
	return erased, s.wrap(err, "erase event %s", e.ID)
}

// EraseLogEntry removes the message, the details and these ids from an entry of the legacy middleware's log.
func (s *Store) EraseLogEntry(ctx context.Context, id uuid.UUID, ids []string) error {
	_, err := s.q.EraseLogEntry(ctx, dbsqlc.EraseLogEntryParams{ID: id, Ids: ids})
	return s.wrap(err, "erase entry %s of the log", id)
}

// DeleteMapping deletes the mapping of a contact and returns the number of rows.
func (s *Store) DeleteMapping(ctx context.Context, ghlContactID string) (int64, error) {
	n, err := s.q.DeleteMapping(ctx, ghlContactID)
	return n, s.wrap(err, "delete a contact mapping")
}

// DeleteAppointments deletes the appointments of a contact of GoHighLevel, and those of ids that have no contact.
func (s *Store) DeleteAppointments(ctx context.Context, ghlContactID, location string, ids []string) (int64, error) {
	n, err := s.q.DeleteAppointments(ctx, dbsqlc.DeleteAppointmentsParams{GhlContactID: ghlContactID, LocationID: location, Ids: ids})
	return n, s.wrap(err, "delete appointments")
}

// RecordErasure records an erasure and its counts in the ledger, without personal data.
func (s *Store) RecordErasure(ctx context.Context, id uuid.UUID, startedAt time.Time, status string, counts any) error {
	details, err := json.Marshal(counts)
	if err != nil {
		return err
	}
	return s.wrap(s.q.RecordErasure(ctx, dbsqlc.RecordErasureParams{
		Status: status, Details: details, ErasureID: id.String(), StartedAt: startedAt,
	}), "record the erasure")
}
