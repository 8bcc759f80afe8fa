package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
)

// Mapping maps a GoHighLevel contact to Aloware.
type Mapping struct {
	GHLContactID     string
	LocationID       string
	AlowareContactID string
	// Phone is E.164 if verity-sync wrote it. The legacy middleware kept phone numbers as typed.
	Phone string
	Email string
	// LastSyncedAt is the time of the last sync to Aloware. SyncedOccurredAt is the time, at GoHighLevel, of the state that
	// it sent.
	LastSyncedAt     *time.Time
	SyncedOccurredAt *time.Time
	// AlowarePhone is the phone number of AlowareContactID at Aloware, "" if unknown. It may not be normalised.
	AlowarePhone string
	// AlowareSince is the time, at GoHighLevel, of the state with which the contact got AlowareContactID; nil if unknown.
	AlowareSince *time.Time
	// FormerAlowareContactIDs are previous contacts at Aloware, the latest last.
	FormerAlowareContactIDs []string
	// SaidBy is the event that the data comes from. Only RememberContact reads it; it is not stored.
	SaidBy uuid.UUID
}

// AlowareContact is a contact at Aloware.
type AlowareContact struct {
	// ID is "" if Aloware accepted the contact without returning its id.
	ID string
	// Phone is the number that was sent, in E.164.
	Phone string
}

// Mapping returns the mapping of a contact, or ErrNotFound.
func (s *Store) Mapping(ctx context.Context, ghlContactID string) (Mapping, error) {
	row, err := s.q.MappingOfContact(ctx, ghlContactID)
	if errors.Is(err, pgx.ErrNoRows) {
		return Mapping{}, ErrNotFound
	}
	if err != nil {
		return Mapping{}, s.wrap(err, "load the mapping of contact %s", ghlContactID)
	}
	return Mapping{
		GHLContactID: row.GhlContactID, LocationID: row.LocationID, AlowareContactID: row.AlowareContactID,
		Phone: row.PhoneNumber, Email: row.Email, LastSyncedAt: row.LastSyncedAt, SyncedOccurredAt: row.SyncedOccurredAt,
		AlowarePhone: row.AlowarePhoneNumber, AlowareSince: row.AlowareContactSince,
		FormerAlowareContactIDs: slices.Concat(row.FormerAlowareContactIds), // None is nil.
	}, nil
}

// RememberContact stores the phone number (E.164) and the e-mail address of a contact as of observedAt. Empty fields of m change
// nothing, and older data fills only empty columns. It returns ErrErased, and stores nothing, if the data of m.SaidBy was erased.
func (s *Store) RememberContact(ctx context.Context, m Mapping, observedAt time.Time) error {
	n, err := s.q.RememberContact(ctx, dbsqlc.RememberContactParams{
		GhlContactID: m.GHLContactID, LocationID: m.LocationID, PhoneNumber: m.Phone, Email: m.Email, ObservedAt: observedAt,
		EventID: m.SaidBy,
	})
	if err == nil && n == 0 {
		err = ErrErased
	}
	return s.wrap(err, "record the mapping of contact %s", m.GHLContactID)
}

// ContactSynced records the Aloware contact of a stored contact as of occurredAt. If the id changes, the previous id becomes a
// former one.
func (s *Store) ContactSynced(ctx context.Context, ghlContactID string, at AlowareContact, occurredAt time.Time) error {
	return s.wrap(s.q.ContactSynced(ctx, dbsqlc.ContactSyncedParams{
		GhlContactID: ghlContactID, AlowareContactID: at.ID, PhoneNumber: at.Phone, SyncDirection: DirectionToAloware,
		OccurredAt: occurredAt,
	}), "record the sync of contact %s", ghlContactID)
}

// statusCancelled is the status of a cancelled appointment.
const statusCancelled = "cancelled"

// AppointmentEvent is the data that one event has about an appointment.
type AppointmentEvent struct {
	AppointmentID string
	LocationID    string
	GHLContactID  string
	// At is when the change happened. ReceivedAt and EventID break ties. If Undated, At is the time of receipt.
	At         time.Time
	Undated    bool
	ReceivedAt time.Time
	EventID    uuid.UUID
	// Status is lower-case, "" if the event has none.
	Status  string
	Deleted bool
	// BookedAt is when the appointment was booked, zero if the event has no such time. Creation is true if the event reports the
	// booking: At is then the booking time unless a better source exists.
	BookedAt time.Time
	Creation bool
}

// Appointment is the merged state of an appointment.
type Appointment struct {
	LocationID string
	// GHLContactID and Status come from the latest event that has them.
	GHLContactID string
	Status       string
	// Deleted is true unless a later event follows the deletion.
	Deleted bool
	// Booked is false if only a deletion or a cancellation is known.
	Booked bool
	// VerityContactID is its contact at Verity, "" if none has been found yet.
	VerityContactID string
	// FormerContactIDs are previous contacts at Verity. Their leads may still point at the appointment.
	FormerContactIDs []string
	// Unsynced is true if the appointment has changed since the last AppointmentSynced.
	Unsynced bool
	Revision int64
	// Contact holds the location, phone number and e-mail address of the contact. Only MergeAppointment sets it.
	Contact Mapping
}

// EndPolicy decides which appointments have ended. No lead must point at an ended appointment.
type EndPolicy struct {
	// Deletion and Cancellation are true if a deleted or a cancelled appointment counts as ended.
	Deletion, Cancellation bool
}

func (e EndPolicy) ended(deleted bool, status string) bool {
	return e.Deletion && deleted || e.Cancellation && status == statusCancelled
}

// Active reports whether a lead may point at the appointment. It is false if only the end of the appointment is known, under
// every policy: a cancellation is no booking.
func (a Appointment) Active(e EndPolicy) bool { return a.Booked && !e.ended(a.Deleted, a.Status) }

// MergeAppointment merges an event into its appointment, in any order of arrival, and reports whether the event is the newest.
// It is idempotent. It returns ErrErased, and stores nothing, if the data of the event was erased.
func (s *Store) MergeAppointment(ctx context.Context, e AppointmentEvent) (known Appointment, newest bool, err error) {
	p := dbsqlc.MergeAppointmentParams{
		GhlAppointmentID: e.AppointmentID, LocationID: e.LocationID, GhlContactID: e.GHLContactID, At: e.At, Status: e.Status,
		Deleted: e.Deleted, Dated: !e.Undated, Booked: !e.Deleted && e.Status != statusCancelled,
		ReceivedAt: e.ReceivedAt, EventID: e.EventID, Creation: e.Creation,
	}
	if !e.BookedAt.IsZero() {
		p.BookedAt = &e.BookedAt
	}
	row, err := s.q.MergeAppointment(ctx, p)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrErased
	}
	if err != nil {
		return Appointment{}, false, s.wrap(err, "merge event %s into its appointment", e.EventID)
	}
	return Appointment{
		LocationID: row.LocationID, GHLContactID: row.GhlContactID, Status: row.Status, Deleted: row.Deleted, Booked: row.Booked,
		VerityContactID: row.VerityContactID, FormerContactIDs: row.FormerContactIds, Unsynced: row.Unsynced, Revision: row.Revision,
		Contact: Mapping{LocationID: row.ContactLocationID, Phone: row.ContactPhoneNumber, Email: row.ContactEmail},
	}, row.IsNewest, nil
}

// Appointment returns an appointment, or ErrNotFound.
func (s *Store) Appointment(ctx context.Context, id string) (Appointment, error) {
	row, err := s.q.AppointmentByID(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return Appointment{}, ErrNotFound
	}
	if err != nil {
		return Appointment{}, s.wrap(err, "load appointment %s", id)
	}
	return Appointment{
		LocationID: row.LocationID, GHLContactID: row.GhlContactID, Status: row.Status, Deleted: row.Deleted, Booked: row.Booked,
		VerityContactID: row.VerityContactID, FormerContactIDs: row.FormerContactIds, Unsynced: row.Unsynced, Revision: row.Revision,
	}, nil
}

// ErrContactChanged means that the contact of an appointment has changed.
var ErrContactChanged = errors.New("the contact of the appointment has changed in the meantime")

// AttachAppointment records the Verity contact of a GoHighLevel contact, for all its appointments. If ghlContactID is "", it
// records it for the one appointment. It returns the previous Verity contacts, or ErrContactChanged, and records nothing, if
// the appointment has another contact now.
func (s *Store) AttachAppointment(ctx context.Context, id, ghlContactID, verityContactID string) (former []string, err error) {
	row, err := s.q.AttachAppointments(ctx, dbsqlc.AttachAppointmentsParams{
		GhlAppointmentID: id, GhlContactID: ghlContactID, VerityContactID: verityContactID,
	})
	switch {
	case err != nil:
		return nil, s.wrap(err, "record the contact of appointment %s", id)
	case !row.Attached:
		return nil, ErrContactChanged
	}
	return row.FormerContactIds, nil
}

// AppointmentSynced records that the leads match a revision of the appointment.
func (s *Store) AppointmentSynced(ctx context.Context, id string, revision int64) error {
	return s.wrap(s.q.AppointmentSynced(ctx, dbsqlc.AppointmentSyncedParams{GhlAppointmentID: id, Revision: revision}),
		"record the sync of appointment %s", id)
}

// RecordBookingTime records the booking time of an appointment from GoHighLevel's API. The earliest time is kept.
func (s *Store) RecordBookingTime(ctx context.Context, id string, bookedAt time.Time) error {
	return s.wrap(s.q.RecordBookingTime(ctx, dbsqlc.RecordBookingTimeParams{GhlAppointmentID: id, BookedAt: bookedAt}),
		"record when appointment %s was booked", id)
}

// ContactAppointments holds the appointments from which the leads of a contact are derived.
type ContactAppointments struct {
	// Candidates are the active appointments, the last booked first. Appointments without a booking time come last.
	Candidates []Candidate
	// Ended holds the ids of appointments that have ended or belong to another contact now.
	Ended []string
	// Known holds the ids of all appointments.
	Known []string
}

// Candidate is an active appointment of a contact.
type Candidate struct {
	ID         string
	LocationID string
	// BookedAt is the booking time from GoHighLevel, zero if unknown.
	BookedAt time.Time
	// CreationSeen is true if an event reported the booking, at most a day after BookedAt.
	CreationSeen bool
}

// ActiveID returns the id of the active appointment that was booked last, or "".
func (a ContactAppointments) ActiveID() string {
	if len(a.Candidates) == 0 {
		return ""
	}
	return a.Candidates[0].ID
}

// AppointmentsOfContact returns the appointments of a Verity contact.
func (s *Store) AppointmentsOfContact(ctx context.Context, verityContactID string, endings EndPolicy) (ContactAppointments, error) {
	rows, err := s.q.AppointmentsOfContact(ctx, verityContactID)
	if err != nil {
		return ContactAppointments{}, s.wrap(err, "read the appointments of a contact")
	}
	var out ContactAppointments
	for _, row := range rows {
		out.Known = append(out.Known, row.GhlAppointmentID)
		switch {
		case row.Former || endings.ended(row.Deleted, row.Status):
			out.Ended = append(out.Ended, row.GhlAppointmentID)
		case row.Booked:
			c := Candidate{ID: row.GhlAppointmentID, LocationID: row.LocationID, CreationSeen: row.CreationSeen}
			if row.BookedAt != nil {
				c.BookedAt = *row.BookedAt
			}
			out.Candidates = append(out.Candidates, c)
		}
	}
	return out, nil
}
