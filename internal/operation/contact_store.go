package operation

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/phone"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// ContactStore stores what is known about contacts and appointments; *store.Store implements it.
type ContactStore interface {
	Mapping(ctx context.Context, ghlContactID string) (store.Mapping, error)
	RememberContact(ctx context.Context, m store.Mapping, observedAt time.Time) error
	ContactSynced(ctx context.Context, ghlContactID string, at store.AlowareContact, occurredAt time.Time) error

	Appointment(ctx context.Context, id string) (store.Appointment, error)
	MergeAppointment(ctx context.Context, e store.AppointmentEvent) (known store.Appointment, newest bool, err error)
	AttachAppointment(ctx context.Context, id, ghlContactID, verityContactID string) (former []string, err error)
	AppointmentSynced(ctx context.Context, id string, revision int64) error
	RecordBookingTime(ctx context.Context, id string, bookedAt time.Time) error
	AppointmentsOfContact(ctx context.Context, verityContactID string, policy store.EndPolicy) (store.ContactAppointments, error)
}

// mappingOf returns the mapping of a contact, which is empty if there is none.
func mappingOf(ctx context.Context, contacts ContactStore, ghlContactID string) (store.Mapping, error) {
	if ghlContactID == "" {
		return store.Mapping{}, nil
	}
	m, err := contacts.Mapping(ctx, ghlContactID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Mapping{}, ownDatabaseError(err)
	}
	return m, nil
}

// locationOf returns the first of the locations that is not empty, else the contact's, else "".
func locationOf(ctx context.Context, contacts ContactStore, ghlContactID string, locations ...string) (string, error) {
	if location := cmp.Or(locations...); location != "" {
		return location, nil
	}
	m, err := mappingOf(ctx, contacts, ghlContactID)
	return m.LocationID, err
}

// address returns an e-mail address in the form that is used in comparisons, or "" if the text contains none.
func address(raw string) string {
	email, _ := phone.Email(raw)
	return email
}
