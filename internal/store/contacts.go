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

// Mapping is what is known of a contact of GoHighLevel.
type Mapping struct {
	GHLContactID     string
	LocationID       string
	AlowareContactID string
	// Phone is E.164 where this project wrote it; the earlier middleware kept phones as typed.
	Phone string
	Email string
	// LastSyncedAt is when Aloware was last told of the contact; SyncedOccurredAt is when, at GoHighLevel, the contact was as
	// Aloware was told.
	LastSyncedAt     *time.Time
	SyncedOccurredAt *time.Time
	// AlowarePhone is the phone number under which Aloware has AlowareContactID, "" where it is not known. It may be as it was typed.
	AlowarePhone string
	// AlowareSince is when, at GoHighLevel, the contact was as it was when it got AlowareContactID; nil where that is not known.
	AlowareSince *time.Time
	// FormerAlowareContactIDs are contacts of Aloware that it was before, the last one last.
	FormerAlowareContactIDs []string
	// SaidBy is the event that says it, for RememberContact alone. It is not kept.
	SaidBy uuid.UUID
}

// AlowareContact is what Aloware has of a contact.
type AlowareContact struct {
	// ID is "" where Aloware has taken the contact and did not say its id.
	ID string
	// Phone is the number that it was given, in E.164.
	Phone string
}

// Mapping returns what is known of a contact, or ErrNotFound.
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

// RememberContact keeps the phone (E.164) and the e-mail of a contact as they were at observedAt. What is empty in m
// leaves what is known alone; what is older than what is known fills only what is missing. It returns ErrErased, and keeps nothing, where
// the data of the event that says it was erased.
func (s *Store) RememberContact(ctx context.Context, m Mapping, observedAt time.Time) error {
	n, err := s.q.RememberContact(ctx, dbsqlc.RememberContactParams{
		GhlContactID: m.GHLContactID, LocationID: m.LocationID, PhoneNumber: m.Phone, Email: m.Email, ObservedAt: observedAt,
		EventID: m.SaidBy,
	})
	if err == nil && n == 0 {
		err = ErrErased
	}
	return s.wrap(err, "remember contact %s", m.GHLContactID)
}

// ContactSynced records what Aloware has of a remembered contact, as the contact was at occurredAt. Another id than before makes
// that a former one.
func (s *Store) ContactSynced(ctx context.Context, ghlContactID string, at AlowareContact, occurredAt time.Time) error {
	return s.wrap(s.q.ContactSynced(ctx, dbsqlc.ContactSyncedParams{
		GhlContactID: ghlContactID, AlowareContactID: at.ID, PhoneNumber: at.Phone, SyncDirection: DirectionToAloware,
		OccurredAt: occurredAt,
	}), "record the sync of contact %s", ghlContactID)
}

// statusCancelled is the status of an appointment that was called off.
const statusCancelled = "cancelled"

// AppointmentEvent is what one event says of an appointment.
type AppointmentEvent struct {
	AppointmentID string
	LocationID    string
	GHLContactID  string
	// At is when it happened; ReceivedAt and EventID break ties. It is the time of receipt where Undated.
	At         time.Time
	Undated    bool
	ReceivedAt time.Time
	EventID    uuid.UUID
	// Status is lower-case, "" where the event does not say.
	Status  string
	Deleted bool
	// BookedAt is when the appointment was booked, zero where the event does not say. Creation is true where the event reports the
	// booking itself: At is when it was booked, if nothing says better.
	BookedAt time.Time
	Creation bool
}

// Appointment is what is known of an appointment.
type Appointment struct {
	LocationID string
	// GHLContactID and Status are what the last event said that said something of them.
	GHLContactID string
	Status       string
	// Deleted is true where nothing is known to have happened to it after its deletion.
	Deleted bool
	// Booked is false where nothing but its end is known, a deletion or a cancellation.
	Booked bool
	// VerityContactID is the contact of Verity that it belongs to, "" where none has been found yet.
	VerityContactID string
	// FormerContactIDs are contacts of Verity that it belonged to: a lead of theirs may still point at it.
	FormerContactIDs []string
	// Unsynced is true where something has changed since AppointmentSynced was last told of a revision.
	Unsynced bool
	Revision int64
	// Contact is what is kept of the contact at GoHighLevel: location, phone and e-mail only. MergeAppointment tells it.
	Contact Mapping
}

// EndPolicy say which appointments have ended, so that no lead is to point at them.
type EndPolicy struct {
	// Deletion and Cancellation are true where a deleted or a cancelled appointment has ended.
	Deletion, Cancellation bool
}

func (e EndPolicy) ended(deleted bool, status string) bool {
	return e.Deletion && deleted || e.Cancellation && status == statusCancelled
}

// Active reports whether a lead may be made to point at the appointment. One of which only the end is known attracts none,
// even where endings are not followed: a cancellation is no booking.
func (a Appointment) Active(e EndPolicy) bool { return a.Booked && !e.ended(a.Deleted, a.Status) }

// MergeAppointment merges an event into what is known of its appointment, whatever the order of arrival, and reports
// whether nothing newer is known. Doing it again changes nothing and reports the same. It returns ErrErased, and keeps nothing, where the
// data of the event was erased.
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

// Appointment returns what is known of an appointment, or ErrNotFound.
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

// ErrContactChanged says that an appointment has become another contact's.
var ErrContactChanged = errors.New("the appointment has become another contact's meanwhile")

// AttachAppointment records which contact of Verity a contact of GoHighLevel is: all its appointments belong to that one
// from now on. Where the contact of GoHighLevel is not known ("") this is about the one appointment. It returns the
// contacts of Verity that they belonged to before, or ErrContactChanged where the appointment is not that contact's any
// more and nothing was recorded.
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

// AppointmentSynced records that the leads say what they should as of a revision of the appointment.
func (s *Store) AppointmentSynced(ctx context.Context, id string, revision int64) error {
	return s.wrap(s.q.AppointmentSynced(ctx, dbsqlc.AppointmentSyncedParams{GhlAppointmentID: id, Revision: revision}),
		"record the sync of appointment %s", id)
}

// RecordBookingTime records when an appointment was booked, as GoHighLevel's API says. Of several times the earliest is kept.
func (s *Store) RecordBookingTime(ctx context.Context, id string, bookedAt time.Time) error {
	return s.wrap(s.q.RecordBookingTime(ctx, dbsqlc.RecordBookingTimeParams{GhlAppointmentID: id, BookedAt: bookedAt}),
		"record when appointment %s was booked", id)
}

// ContactAppointments is what a contact's leads follow from.
type ContactAppointments struct {
	// Candidates are the live appointments that a lead may point at. The one that was booked last comes first; those whose booking
	// time is not known come after all others.
	Candidates []Candidate
	// Ended holds the ids of those that have ended or are another contact's now.
	Ended []string
	// Known holds the ids of all of them.
	Known []string
}

// Candidate is a live appointment of a contact.
type Candidate struct {
	ID         string
	LocationID string
	// BookedAt is when GoHighLevel says that it was booked, zero where it has not said.
	BookedAt time.Time
	// CreationSeen is true where an event reported the booking itself, and it was not booked more than a day before all its events.
	CreationSeen bool
}

// ActiveID is the id of the live appointment that was booked last, "" if there is none.
func (a ContactAppointments) ActiveID() string {
	if len(a.Candidates) == 0 {
		return ""
	}
	return a.Candidates[0].ID
}

// AppointmentsOfContact returns the appointments known of a contact of Verity.
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
