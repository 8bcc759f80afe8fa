package cycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// work makes attempts until everything is done.
func (r *run) work(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.allDone:
			return nil
		case id := <-r.todo:
			if err := r.attempt(ctx, id); err != nil {
				return err
			}
		}
	}
}

// attempt is one of an event, with the statements that the reconciler needs for an appointment.
func (r *run) attempt(ctx context.Context, id uuid.UUID) error {
	began := time.Now()
	c, err := r.controller.Claim(ctx, id, r.term)
	if errors.Is(err, store.ErrNotClaimable) { // Not due by the database's clock, or behind an older event.
		r.again(id, failDelay/10)
		return nil
	}
	if err != nil {
		return err
	}
	r.took(&r.result.Claim, began)
	if c.Attempts == 1 && id[15]%failEvery == 0 {
		return r.fail(ctx, c)
	}
	if err := r.sync(ctx, c); err != nil {
		return err
	}
	return r.finish(ctx, c)
}

// fail records an attempt that met a destination which does not answer.
func (r *run) fail(ctx context.Context, c *store.Attempt) error {
	_, err := r.controller.FinishAttempt(ctx, c, store.AttemptResult{
		Status: store.StatusPending, Delay: failDelay, Attempts: c.Attempts, HeldBy: []string{"verity"}, Reason: "Unavailable",
		Message: "verity does not answer", Ledger: []store.LedgerEntry{entry(c, store.OperationForward, store.LedgerError)},
	})
	r.again(c.ID, failDelay)
	return err
}

// sync keeps what the event says of the appointment and its contact, and reads what a lead follows from.
func (r *run) sync(ctx context.Context, c *store.Attempt) error {
	e := c.Event
	if c.ID[14]%2 == 0 { // Half of the events bring the contact up to date, here and at Aloware.
		m := store.Mapping{GHLContactID: e.ContactID, LocationID: e.LocationID, Email: "changed@example.com"}
		if err := r.controller.RememberContact(ctx, m, c.OccurredAt()); err != nil {
			return err
		}
		at := store.AlowareContact{ID: "aloware-" + e.ContactID, Phone: "+12125550000"}
		if err := r.controller.ContactSynced(ctx, e.ContactID, at, c.OccurredAt()); err != nil {
			return err
		}
	}
	known, _, err := r.controller.MergeAppointment(ctx, store.AppointmentEvent{
		AppointmentID: e.EntityID, LocationID: e.LocationID, GHLContactID: e.ContactID, At: c.OccurredAt(), ReceivedAt: c.ReceivedAt,
		EventID: c.ID, Status: e.AppointmentStatus, Creation: e.Type == event.TypeAppointmentCreated,
	})
	if err != nil {
		return err
	}
	verityContact := "verity-" + e.ContactID
	if _, err := r.controller.AttachAppointment(ctx, e.EntityID, e.ContactID, verityContact); err != nil {
		return err
	}
	if _, err := r.controller.AppointmentsOfContact(ctx, verityContact, store.EndPolicy{Deletion: true}); err != nil {
		return err
	}
	return r.controller.AppointmentSynced(ctx, e.EntityID, known.Revision)
}

// finish records an attempt that succeeded.
func (r *run) finish(ctx context.Context, c *store.Attempt) error {
	began := time.Now()
	_, err := r.controller.FinishAttempt(ctx, c, store.AttemptResult{
		Status: store.StatusDone, Attempts: c.Attempts, Reason: "Succeeded", Result: "lead written", VerityContactID: uuid.NewString(),
		Ledger: []store.LedgerEntry{
			entry(c, store.OperationForward, store.LedgerSuccess), entry(c, store.OperationLead, store.LedgerSuccess),
		},
	})
	if err != nil {
		return fmt.Errorf("record an attempt: %w", err)
	}
	r.took(&r.result.Record, began)
	r.finished <- struct{}{} // It has room for all of them.
	if r.left.Add(-1) == 0 {
		close(r.allDone)
	}
	return nil
}

func entry(c *store.Attempt, operation, status string) store.LedgerEntry {
	return store.LedgerEntry{
		Operation: operation, Direction: store.DirectionToVerity, Status: status, TargetID: c.Event.EntityID,
		StartedAt: c.ClaimedAt, FinishedAt: time.Now(),
	}
}

// again has an event attempted once more after a while.
func (r *run) again(id uuid.UUID, delay time.Duration) {
	time.AfterFunc(delay, func() { r.todo <- id }) // It has room for all of them.
}
