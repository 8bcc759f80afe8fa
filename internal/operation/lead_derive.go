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

// maxBookingTimes is how many booking times one run asks GoHighLevel for.
const maxBookingTimes = 10

// errUnclear ends a transaction in which it turns out that GoHighLevel must be asked first.
var errUnclear = errors.New("it is not known which appointment was booked last")

// derive writes the leads of a contact from what is known of its appointments. Where it depends on booking times that are not known,
// GoHighLevel is asked for them, if it can be.
func (s *leadSync) derive(ctx context.Context, contactID string, scope verity.Scope) (verity.Result, verity.Desired, error) {
	for {
		result, desired, of, err := s.deriveOnce(ctx, contactID, scope)
		ask := errors.Is(err, errUnclear) || err == nil && result.Spared > 0
		if !ask {
			return result, desired, err
		}
		unclear := s.unclear(of)
		if len(unclear) == 0 {
			return result, desired, err
		}
		if err := s.askBookingTimes(ctx, unclear); err != nil {
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
			if of, unread = s.Known.AppointmentsOfContact(ctx, contactID, s.EndPolicy); unread != nil {
				return verity.Desired{}, unread
			}
			if scope != verity.EndedLeads && len(of.Candidates) > 1 && len(s.unclear(of)) > 0 {
				unread = errUnclear
				return verity.Desired{}, unread
			}
			desired = verity.Desired{AppointmentID: of.ActiveID(), Ended: of.Ended, Scope: scope, Spare: s.spare(of)}
			return desired, nil
		})
		if unread != nil {
			err = nil // It says nothing about Verity.
		}
		return err
	})
	switch {
	case errors.Is(unread, errUnclear):
		err = unread
	case unread != nil:
		err = ownDatabaseError(unread)
	case err != nil:
		err = breakerError(s.Breaker, err)
	}
	return result, desired, of, err
}

// spare protects the leads that point at an appointment of which nothing is known, such as those that the legacy middleware wrote, from
// appointments of which only changes are known: those may be older. A booking that was reported takes every lead, one that may be a
// reschedule only once GoHighLevel was asked.
func (s *leadSync) spare(of store.ContactAppointments) *verity.Spare {
	unclear := s.unclear(of)
	reported := func(c store.Candidate) bool { return c.CreationSeen && !slices.Contains(unclear, c) }
	if len(of.Candidates) == 0 || slices.ContainsFunc(of.Candidates, reported) {
		return nil
	}
	spare := &verity.Spare{Known: of.Known, BookedAt: of.Candidates[0].BookedAt}
	if id := s.known.GHLContactID; id != "" {
		spare.Known = append(spare.Known, id) // The legacy middleware wrote contacts in place of appointments.
	}
	return spare
}

// unclear returns the candidates whose booking time GoHighLevel can still be asked for.
func (s *leadSync) unclear(of store.ContactAppointments) []store.Candidate {
	var unclear []store.Candidate
	for _, c := range of.Candidates {
		known := !c.BookedAt.IsZero() || c.CreationSeen && (c.ID != s.said.AppointmentID || !s.said.Undated)
		if s.GHL != nil && !known && !s.asked[c.ID] && len(s.asked)+len(unclear) < maxBookingTimes {
			unclear = append(unclear, c)
		}
	}
	return unclear
}

// askBookingTimes records when appointments were booked, as far as GoHighLevel says. Those of a location without a token stay unknown.
func (s *leadSync) askBookingTimes(ctx context.Context, of []store.Candidate) error {
	for _, c := range of {
		location := c.LocationID // A contact of Verity can be one of several locations of GoHighLevel.
		if c.ID == s.said.AppointmentID {
			location = s.location(s.known.Contact.LocationID)
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
		if err := s.Known.RecordBookingTime(ctx, c.ID, at); err != nil {
			return ownDatabaseError(err)
		}
	}
	return nil
}

// bookedAt is when GoHighLevel says that an appointment was booked, zero where it does not say, or says a time to come.
func (s *leadSync) bookedAt(a ghlapi.Appointment) time.Time {
	if a.DateAdded.After(s.event.StartedAt) {
		return time.Time{}
	}
	return a.DateAdded
}
