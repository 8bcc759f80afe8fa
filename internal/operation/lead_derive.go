package operation

import (
	"context"
	"errors"
	"slices"
	"time"

	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// maxBookingTimes is the maximum number of booking times that one run requests from GoHighLevel.
const maxBookingTimes = 10

// errUndecided ends a transaction that needs booking times from GoHighLevel first.
var errUndecided = errors.New("the order of the bookings is unknown")

// derive writes the leads of a contact from its appointments. If the result depends on unknown booking times, it requests them from
// GoHighLevel, as far as possible.
func (s *leadSync) derive(ctx context.Context, contactID string, scope verity.Scope) (verity.Result, verity.Desired, error) {
	for {
		result, desired, of, err := s.deriveOnce(ctx, contactID, scope)
		ask := errors.Is(err, errUndecided) || err == nil && result.Spared > 0
		if !ask {
			return result, desired, err
		}
		undated := s.undated(of)
		if len(undated) == 0 {
			return result, desired, err
		}
		if err := s.askBookingTimes(ctx, undated); err != nil {
			return verity.Result{}, desired, err
		}
	}
}

func (s *leadSync) deriveOnce(
	ctx context.Context, contactID string, scope verity.Scope,
) (result verity.Result, desired verity.Desired, of store.ContactAppointments, err error) {
	var unread error
	err = s.Breaker.Do(ctx, func(ctx context.Context) (err error) {
		result, err = s.Leads.SyncLead(ctx, contactID, func(ctx context.Context) (verity.Desired, error) {
			if of, unread = s.Store.AppointmentsOfContact(ctx, contactID, s.EndPolicy); unread != nil {
				return verity.Desired{}, unread
			}
			if scope != verity.EndedLeads && len(of.Candidates) > 1 && len(s.undated(of)) > 0 {
				unread = errUndecided
				return verity.Desired{}, unread
			}
			desired = verity.Desired{AppointmentID: of.ActiveID(), Ended: of.Ended, Scope: scope, Spare: s.spare(of)}
			return desired, nil
		})
		if unread != nil {
			err = nil // The failure is not Verity's.
		}
		return err
	})
	switch {
	case errors.Is(unread, errUndecided):
		err = unread
	case unread != nil:
		err = ownDatabaseError(unread)
	case err != nil:
		err = breakerError(s.Breaker, err)
	}
	return result, desired, of, err
}

// spare protects leads that point at an unknown appointment, such as those that the legacy middleware wrote, from appointments with
// changes but no reported booking: those may be older. A reported booking takes every lead. If it may be a reschedule, GoHighLevel is
// asked first.
func (s *leadSync) spare(of store.ContactAppointments) *verity.Spare {
	undated := s.undated(of)
	reported := func(c store.Candidate) bool { return c.CreationSeen && !slices.Contains(undated, c) }
	if len(of.Candidates) == 0 || slices.ContainsFunc(of.Candidates, reported) {
		return nil
	}
	spare := &verity.Spare{Known: of.Known, BookedAt: of.Candidates[0].BookedAt}
	if id := s.appointment.GHLContactID; id != "" {
		spare.Known = append(spare.Known, id) // The legacy middleware wrote the contact's id in place of an appointment's.
	}
	return spare
}

// undated returns the candidates without a booking time that can still be requested from GoHighLevel.
func (s *leadSync) undated(of store.ContactAppointments) []store.Candidate {
	var undated []store.Candidate
	for _, c := range of.Candidates {
		known := !c.BookedAt.IsZero() || c.CreationSeen && (c.ID != s.reported.AppointmentID || !s.reported.Undated)
		if s.GHL != nil && !known && !s.asked[c.ID] && len(s.asked)+len(undated) < maxBookingTimes {
			undated = append(undated, c)
		}
	}
	return undated
}

// askBookingTimes requests booking times from GoHighLevel and records them. Those of a location without a token stay unknown.
func (s *leadSync) askBookingTimes(ctx context.Context, of []store.Candidate) error {
	for _, c := range of {
		location := c.LocationID // One contact of Verity can have appointments in several locations.
		if c.ID == s.reported.AppointmentID {
			location = s.location(s.appointment.Contact.LocationID)
		}
		read, found, err := s.askAppointment(ctx, location, c.ID)
		if err != nil && !locationUnknown(err) {
			return err
		}
		at := s.bookedAt(read)
		if !found || at.IsZero() {
			continue
		}
		s.details["bookingTimesFrom"] = "ghl"
		if err := s.Store.RecordBookingTime(ctx, c.ID, at); err != nil {
			return ownDatabaseError(err)
		}
	}
	return nil
}

// bookedAt returns the time at which an appointment was booked according to GoHighLevel; zero if it has none, or one in the future.
func (s *leadSync) bookedAt(a ghlapi.Appointment) time.Time {
	if a.DateAdded.After(s.event.StartedAt) {
		return time.Time{}
	}
	return a.DateAdded
}
