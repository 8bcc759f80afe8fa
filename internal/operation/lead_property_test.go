package operation_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

var (
	seed   = flag.Uint64("lead.seed", uint64(time.Now().UnixNano()), "seed of the random scenarios")
	length = flag.Duration("lead.time", 8*time.Second, "how long random scenarios run")
)

// TestLeadsFollowFromTheEventsAlone runs random scenarios: one or two processes handle events of a few appointments and contacts, in any
// order, some of them twice. The processes die at any step, and the events are run again. At the end, the leads are those that follow
// from the events alone.
func TestLeadsFollowFromTheEventsAlone(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	other := env.openStore()
	t.Logf("-lead.seed=%d", *seed)
	count := 0
	for end := time.Now().Add(*length); count < 5 || time.Now().Before(end); count++ {
		s := newScenario(env, rand.New(rand.NewPCG(*seed, uint64(count))))
		s.deliver(env.store, other)
		if !s.check("after the delivery") {
			t.Fatalf("in scenario %d", count)
		}
		s.replay()
		if !s.check("after the replay") {
			t.Fatalf("in scenario %d", count)
		}
	}
	t.Logf("%d scenarios", count)
}

// scenario is a sequence of events of a few contacts.
type scenario struct {
	env    *environment
	rng    *rand.Rand
	policy store.EndPolicy
	// contacts are the contacts at GoHighLevel. Two of them are the same in Verity, and the last one is missing there at first.
	contacts []contact
	events   []*store.Attempt
	// bookings are the events' data on the bookings.
	bookings map[uuid.UUID]booking
	crash    *crash
}

// booking is an event's data on a booking: the time, if it has one, and whether it reports the booking itself.
type booking struct {
	at       time.Time
	creation bool
}

func newScenario(env *environment, rng *rand.Rand) *scenario {
	s := &scenario{
		env: env, rng: rng, policy: store.EndPolicy{Deletion: rng.IntN(4) > 0, Cancellation: rng.IntN(2) > 0},
		contacts: []contact{env.contact(), env.newContact(), env.contact(), env.newContact()},
		bookings: map[uuid.UUID]booking{},
		crash:    &crash{rng: rand.New(rand.NewPCG(rng.Uint64(), 0)), left: rng.IntN(12)},
	}
	s.contacts[1].verity = s.contacts[0].verity
	env.remember(s.contacts[1].ghl, s.contacts[0].phone, "")
	env.remember(s.contacts[3].ghl, s.contacts[3].phone, "")
	if rng.IntN(2) > 0 {
		_, err := env.verity.AddLead(env.t.Context(), s.contacts[2].verity, "")
		require.NoError(env.t, err)
	}
	for range 1 + rng.IntN(4) {
		id, owner := env.appointment(), s.contacts[rng.IntN(len(s.contacts))].ghl
		dateAdded := s.dateAdded()
		for i := range 1 + rng.IntN(4) {
			b, booking := s.event(id, owner, i == 0, dateAdded)
			e := attempt(env.t, b)
			s.events, s.bookings[e.ID] = append(s.events, e), booking
		}
	}
	return s
}

// dateAdded returns the booking time of an appointment: on the day of the scenario, or long before.
func (s *scenario) dateAdded() time.Time {
	if s.rng.IntN(2) > 0 {
		return at(-s.rng.IntN(4000))
	}
	return at(s.rng.IntN(6))
}

// event returns an event of an appointment, which mostly belongs to owner. The first event always names the contact. An event may have the
// booking time: mostly dateAdded, and sometimes a time in the future, which is wrong.
func (s *scenario) event(id, owner string, first bool, dateAdded time.Time) (body, booking) {
	switch n := s.rng.IntN(8); {
	case first:
	case n == 0:
		owner = s.contacts[s.rng.IntN(len(s.contacts))].ghl
	case n < 3:
		owner = ""
	}
	kind := []string{"AppointmentCreate", "AppointmentUpdate", "AppointmentUpdate", "AppointmentDelete"}[s.rng.IntN(4)]
	status := []string{"confirmed", "cancelled", "showed", ""}[s.rng.IntN(4)]
	if s.rng.IntN(5) == 0 && owner != "" {
		return s.workflow(id, owner, status)
	}
	hour := s.rng.IntN(6)
	b, happened := marketplace(kind, id, owner, hour, status), at(hour)
	if s.rng.IntN(6) == 0 {
		delete(b, "timestamp")
		happened = at(20)
	}
	reported := booking{creation: kind == "AppointmentCreate"}
	switch n := s.rng.IntN(8); {
	case n == 0:
		b["appointment"].(body)["dateAdded"] = at(48).Format(time.RFC3339)
	case n < 5:
		b["appointment"].(body)["dateAdded"] = dateAdded.Format(time.RFC3339)
		if !dateAdded.After(happened) {
			reported.at = dateAdded
			reported.creation = reported.creation && happened.Sub(dateAdded) <= 24*time.Hour
		}
	}
	return b, reported
}

// workflow returns an event without a time. It is no booking if the appointment has ended or began long ago.
func (s *scenario) workflow(id, owner, status string) (body, booking) {
	calendar := body{"appointmentId": id, "id": "calendar1", "status": "booked", "appoinmentStatus": status}
	old := s.rng.IntN(2) > 0
	if old {
		calendar["startTime"] = "2026-06-09T15:00:00"
	}
	return workflow(id, body{"contact_id": owner, "calendar": calendar}), booking{creation: !old && status != "cancelled" && status != "showed"}
}

// deliver runs the events in any order, some of them twice. A failed event is retried until all have succeeded.
func (s *scenario) deliver(stores ...*store.Store) {
	arrive := slices.Concat(s.events, s.events[:s.rng.IntN(len(s.events))])
	s.rng.Shuffle(len(arrive), func(i, j int) { arrive[i], arrive[j] = arrive[j], arrive[i] })
	queue := make(chan *store.Attempt, len(arrive))
	for _, e := range arrive {
		queue <- e
	}
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		runs  int
		left  = len(arrive)
		begun = time.Now()
	)
	// finish returns a failed event to the queue. It closes the queue when all have succeeded.
	finish := func(e *store.Attempt, err error) {
		mu.Lock()
		defer mu.Unlock()
		if runs++; runs == 1+len(s.events)/2 {
			s.addLastContact()
		}
		// On a busy machine, the same event may fail for as long as a call takes.
		terminates := runs < 100*len(arrive) || time.Since(begun) < time.Minute
		if err != nil && assert.True(s.env.t, terminates, "the event fails again and again: %v", err) {
			queue <- e
			return
		}
		if left--; left == 0 {
			close(queue)
		}
	}
	for _, contacts := range stores[:1+s.rng.IntN(len(stores))] {
		lead := &operation.Lead{
			Store: &crashingStore{contacts, s.crash}, Leads: &crashingLeads{s.env.leads, s.crash}, Breaker: closedBreaker("verity-db"), EndPolicy: s.policy,
			Regions: inUS,
		}
		wg.Go(func() {
			for e := range queue {
				finish(e, lead.Run(s.env.t.Context(), e).Err)
			}
		})
	}
	wg.Wait()
	s.addLastContact()
}

// addLastContact adds the contact that is missing in Verity at first.
func (s *scenario) addLastContact() {
	if c := &s.contacts[3]; c.verity == "" {
		var err error
		c.verity, err = s.env.verity.AddContact(s.env.t.Context(), c.phone, c.email)
		assert.NoError(s.env.t, err)
	}
}

// replay runs all events again in another order.
func (s *scenario) replay() {
	lead := s.env.lead()
	lead.EndPolicy = s.policy
	for _, i := range s.rng.Perm(len(s.events)) {
		require.NoError(s.env.t, lead.Run(s.env.t.Context(), s.events[i]).Err)
	}
}

// check compares the leads with those that follow from the events.
func (s *scenario) check(when string) bool {
	live := s.live()
	good := true
	for _, c := range s.contacts {
		leads := s.env.leadsOf(c.verity)
		good = assert.LessOrEqual(s.env.t, len(leads), 1, "no second lead") && good
		switch want := live[c.verity]; {
		case want != "":
			good = assert.Equal(s.env.t, []string{want + " active"}, leads, when) && good
		case len(leads) > 0:
			good = assert.Contains(s.env.t, []string{"none", "none active"}, leads[0], when) && good
		}
	}
	if !good {
		for _, e := range s.events {
			s.env.t.Logf("%s %s contact=%q status=%q at=%s received=%s booking=%+v", e.Event.EntityID, e.Event.Type, e.Event.ContactID,
				e.Event.AppointmentStatus, e.Event.OccurredAt.Format(time.TimeOnly), e.ReceivedAt.Format(time.TimeOnly), s.bookings[e.ID])
		}
		s.env.t.Logf("contacts %+v, policy %+v", s.contacts, s.policy)
	}
	return good
}

// live returns the appointment that the leads of each contact of Verity must point at, according to the rules.
func (s *scenario) live() map[string]string {
	of := map[string][]*store.Attempt{}
	for _, e := range s.events {
		of[e.Event.EntityID] = append(of[e.Event.EntityID], e)
	}
	type candidate struct {
		id    string
		known bool
		first time.Time
	}
	last := map[string]candidate{}
	for id, events := range of {
		slices.SortFunc(events, byPrecedence)
		var contact, status string
		var deleted, booked bool
		candidate := candidate{id: id, first: events[0].OccurredAt()}
		for _, e := range events {
			if reported := s.bookings[e.ID]; reported.creation || !reported.at.IsZero() {
				candidate.known = true
				if !reported.at.IsZero() && reported.at.Before(candidate.first) {
					candidate.first = reported.at
				}
			}
			contact, status = cmp.Or(e.Event.ContactID, contact), cmp.Or(e.Event.AppointmentStatus, status)
			switch {
			case isDeletion(e):
				deleted = true
			case !e.Event.OccurredAt.IsZero():
				deleted = false
			}
			booked = booked || !isDeletion(e) && e.Event.AppointmentStatus != "cancelled"
		}
		if !booked || deleted && s.policy.Deletion || status == "cancelled" && s.policy.Cancellation {
			continue
		}
		for _, c := range s.contacts {
			if c.ghl != contact {
				continue
			}
			l := last[c.verity]
			later := cmp.Or(candidate.first.Compare(l.first), cmp.Compare(id, l.id)) > 0
			if l.id == "" || candidate.known && !l.known || candidate.known == l.known && later {
				last[c.verity] = candidate
			}
		}
	}
	live := map[string]string{}
	for verityID, b := range last {
		live[verityID] = b.id
	}
	return live
}

func isDeletion(e *store.Attempt) bool { return e.Event.Type == event.TypeAppointmentDeleted }

// byPrecedence orders the events of an appointment. A later event overrides an earlier one.
func byPrecedence(a, b *store.Attempt) int {
	deletions := 0
	if isDeletion(a) != isDeletion(b) {
		deletions = 1
		if isDeletion(b) {
			deletions = -1
		}
	}
	return cmp.Or(a.OccurredAt().Compare(b.OccurredAt()), deletions, a.ReceivedAt.Compare(b.ReceivedAt), bytes.Compare(a.ID[:], b.ID[:]))
}

// crash makes processes die a few times: before a call, or after it and before its result is known.
type crash struct {
	mu   sync.Mutex
	rng  *rand.Rand
	left int
}

var errDied = errors.New("the process died")

func (c *crash) now() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 || c.rng.IntN(8) > 0 {
		return false
	}
	c.left--
	return true
}

// through makes a call during which the process may die.
func through[T any](c *crash, call func() (T, error)) (T, error) {
	var none T
	if c.now() {
		return none, errDied
	}
	result, err := call()
	if err == nil && c.now() {
		return none, errDied
	}
	return result, err
}

// crashingStore is a store during whose calls the process may die.
type crashingStore struct {
	*store.Store
	crash *crash
}

func (s *crashingStore) MergeAppointment(ctx context.Context, e store.AppointmentEvent) (known store.Appointment, newest bool, err error) {
	known, err = through(s.crash, func() (known store.Appointment, err error) {
		known, newest, err = s.Store.MergeAppointment(ctx, e)
		return known, err
	})
	return known, newest, err
}

func (s *crashingStore) AttachAppointment(ctx context.Context, id, ghlContactID, verityContactID string) ([]string, error) {
	return through(s.crash, func() ([]string, error) { return s.Store.AttachAppointment(ctx, id, ghlContactID, verityContactID) })
}

func (s *crashingStore) AppointmentSynced(ctx context.Context, id string, revision int64) error {
	_, err := through(s.crash, func() (struct{}, error) { return struct{}{}, s.Store.AppointmentSynced(ctx, id, revision) })
	return err
}

func (s *crashingStore) RecordBookingTime(ctx context.Context, id string, at time.Time) error {
	_, err := through(s.crash, func() (struct{}, error) { return struct{}{}, s.Store.RecordBookingTime(ctx, id, at) })
	return err
}

func (s *crashingStore) AppointmentsOfContact(ctx context.Context, id string, policy store.EndPolicy) (store.ContactAppointments, error) {
	return through(s.crash, func() (store.ContactAppointments, error) { return s.Store.AppointmentsOfContact(ctx, id, policy) })
}

// crashingLeads is Verity's database, during whose calls the process may die.
type crashingLeads struct {
	*verity.Leads
	crash *crash
}

func (l *crashingLeads) FindContact(ctx context.Context, phones []string, email string) (c verity.Contact, found bool, err error) {
	c, err = through(l.crash, func() (c verity.Contact, err error) {
		c, found, err = l.Leads.FindContact(ctx, phones, email)
		return c, err
	})
	return c, found, err
}

func (l *crashingLeads) SyncLead(
	ctx context.Context, id string, desired func(context.Context) (verity.Desired, error),
) (verity.Result, error) {
	return through(l.crash, func() (verity.Result, error) { return l.Leads.SyncLead(ctx, id, desired) })
}
