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

// ErrErased says that the data of the event was erased: it does not run again, and nothing more is recorded of it.
var ErrErased = errors.New("the data of the event was erased")

// erasePage is how many rows are read at a time at most to see whose they are, firstErasePage how many at first. Their bodies are in memory
// meanwhile: as many are read as had erasePageBytes at the size of those before.
const (
	erasePage      = 50
	firstErasePage = 4
	erasePageBytes = 4 << 20
)

// EventData is what a row of webhook_events has that may be somebody's.
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

// ScanEvents calls each with every event whose data was not erased, a page at a time, in short statements. It stops at an error of each.
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

// logPage is how many rows without a body are read at a time.
const logPage = 1000

// ScanUnlinkedLog calls each with every entry of the ledger that names no event, except those of erasures.
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

// ScanMappings calls each with every contact mapping: what identifies the contact, here and at Aloware.
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

// AppointmentsOfGHLContact returns the ids of the appointments that are known to be a contact's of GoHighLevel. A location other than ""
// leaves out those of other locations.
func (s *Store) AppointmentsOfGHLContact(ctx context.Context, ghlContactID, location string) ([]string, error) {
	ids, err := s.q.AppointmentsOfGHLContact(ctx, dbsqlc.AppointmentsOfGHLContactParams{GhlContactID: ghlContactID, LocationID: location})
	return ids, s.wrap(err, "read the appointments of a contact")
}

// CountUnownedAppointments returns how many of these appointments are not known to be anybody's.
func (s *Store) CountUnownedAppointments(ctx context.Context, ids []string) (int64, error) {
	n, err := s.q.CountUnownedAppointments(ctx, ids)
	return n, s.wrap(err, "count appointments")
}

// CountLedger returns how many entries the ledger has of events.
func (s *Store) CountLedger(ctx context.Context, ids []uuid.UUID) (int64, error) {
	n, err := s.q.CountLedgerOfEvents(ctx, ids)
	return n, s.wrap(err, "count the ledger of events")
}

// EventErasure says how an event is erased.
type EventErasure struct {
	ID uuid.UUID
	// ContactID is removed from the ledger of the event.
	ContactID string
	// Strip removes the ids and the keys as well: they hold personal data. A repeated delivery is then a new event.
	Strip bool
	// Reason and Message are shown of an event that is not done.
	Reason, Message string
}

// ErasedEvent is what became of an event that was erased.
type ErasedEvent struct {
	// Was is the status that it had.
	Was Status
	// Ledger is how many entries of the ledger it has.
	Ledger int64
}

// EraseEvent removes the data of an event and of its ledger, in a transaction of its own, and ends it in error if it is not finished. It
// returns ErrErased where somebody else was faster, or the row has gone.
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

// EraseLogEntry removes the message and the details of an entry of the legacy middleware's log, and these ids where it has them.
func (s *Store) EraseLogEntry(ctx context.Context, id uuid.UUID, ids []string) error {
	_, err := s.q.EraseLogEntry(ctx, dbsqlc.EraseLogEntryParams{ID: id, Ids: ids})
	return s.wrap(err, "erase entry %s of the log", id)
}

// DeleteMapping removes what is known of a contact and returns how many rows that were.
func (s *Store) DeleteMapping(ctx context.Context, ghlContactID string) (int64, error) {
	n, err := s.q.DeleteMapping(ctx, ghlContactID)
	return n, s.wrap(err, "delete a contact mapping")
}

// DeleteAppointments removes what is known of the appointments of a contact of GoHighLevel, and of those of ids that are nobody's.
func (s *Store) DeleteAppointments(ctx context.Context, ghlContactID, location string, ids []string) (int64, error) {
	n, err := s.q.DeleteAppointments(ctx, dbsqlc.DeleteAppointmentsParams{GhlContactID: ghlContactID, LocationID: location, Ids: ids})
	return n, s.wrap(err, "delete appointments")
}

// RecordErasure enters in the ledger that an erasure took place, with what it counted. It names nobody.
func (s *Store) RecordErasure(ctx context.Context, id uuid.UUID, startedAt time.Time, status string, counts any) error {
	details, err := json.Marshal(counts)
	if err != nil {
		return err
	}
	return s.wrap(s.q.RecordErasure(ctx, dbsqlc.RecordErasureParams{
		Status: status, Details: details, ErasureID: id.String(), StartedAt: startedAt,
	}), "record the erasure")
}
