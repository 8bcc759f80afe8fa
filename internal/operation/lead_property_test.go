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
	seed   = flag.Uint64("lead.seed", uint64(time.Now().UnixNano()), "seed of the random stories of leads")
	length = flag.Duration("lead.time", 8*time.Second, "how long random stories of leads are told")
)

// TestLeadsEndTheSameWhateverHappens tells random stories: events of a few appointments and contacts, in any order, more
// than once, by one or two processes at a time that die between any two things that they do, and are run again. In the end
// the leads say what follows from the events alone.
func TestLeadsEndTheSameWhateverHappens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.openStore()
	t.Logf("-lead.seed=%d", *seed)
	stories := 0
	for end := time.Now().Add(*length); stories < 5 || time.Now().Before(end); stories++ {
		s := newStory(w, rand.New(rand.NewPCG(*seed, uint64(stories))))
		s.tell(w.store, other)
		if !s.check("when all is done") {
			t.Fatalf("in story %d", stories)
		}
		s.retell()
		if !s.check("when all was done again") {
			t.Fatalf("in story %d", stories)
		}
	}
	t.Logf("%d stories", stories)
}

// story is what happens to a few contacts.
type story struct {
	w       *world
	rng     *rand.Rand
	endings store.EndPolicy
	// contacts are those at GoHighLevel; two of them are the same in Verity, and the last one is not there at first.
	contacts []contact
	events   []*store.Attempt
	// bookings are what the events say of when their appointments were booked.
	bookings map[uuid.UUID]booking
	flaw     *flaw
}

// booking is what an event says of when its appointment was booked: when, if it does, and whether it reports the booking itself.
type booking struct {
	at       time.Time
	creation bool
}

func newStory(w *world, rng *rand.Rand) *story {
	s := &story{
		w: w, rng: rng, endings: store.EndPolicy{Deletion: rng.IntN(4) > 0, Cancellation: rng.IntN(2) > 0},
		contacts: []contact{w.contact(), w.stranger(), w.contact(), w.stranger()},
		bookings: map[uuid.UUID]booking{},
		flaw:     &flaw{rng: rand.New(rand.NewPCG(rng.Uint64(), 0)), left: rng.IntN(12)},
	}
	s.contacts[1].verity = s.contacts[0].verity
	w.remember(s.contacts[1].ghl, s.contacts[0].phone, "")
	w.remember(s.contacts[3].ghl, s.contacts[3].phone, "")
	if rng.IntN(2) > 0 {
		_, err := w.verity.AddLead(w.t.Context(), s.contacts[2].verity, "")
		require.NoError(w.t, err)
	}
	for range 1 + rng.IntN(4) {
		id, owner := w.appointment(), s.contacts[rng.IntN(len(s.contacts))].ghl
		dateAdded := s.dateAdded()
		for i := range 1 + rng.IntN(4) {
			b, booking := s.event(id, owner, i == 0, dateAdded)
			e := claimed(w.t, b)
			s.events, s.bookings[e.ID] = append(s.events, e), booking
		}
	}
	return s
}

// dateAdded is when an appointment was booked: on the day of the story, or long before.
func (s *story) dateAdded() time.Time {
	if s.rng.IntN(2) > 0 {
		return at(-s.rng.IntN(4000))
	}
	return at(s.rng.IntN(6))
}

// event is one of an appointment that is mostly its owner's; the first one says whose it is. It may say when the appointment was booked:
// mostly dateAdded, and sometimes a time that is still to come, which is wrong.
func (s *story) event(id, owner string, first bool, dateAdded time.Time) (body, booking) {
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
	b, happened := posted(kind, id, owner, hour, status), at(hour)
	if s.rng.IntN(6) == 0 {
		delete(b, "timestamp")
		happened = at(20)
	}
	said := booking{creation: kind == "AppointmentCreate"}
	switch n := s.rng.IntN(8); {
	case n == 0:
		b["appointment"].(body)["dateAdded"] = at(48).Format(time.RFC3339)
	case n < 5:
		b["appointment"].(body)["dateAdded"] = dateAdded.Format(time.RFC3339)
		if !dateAdded.After(happened) {
			said.at = dateAdded
			said.creation = said.creation && happened.Sub(dateAdded) <= 24*time.Hour
		}
	}
	return b, said
}

// workflow is an event that does not say when it happened. It is no booking where the appointment has ended or began long ago.
func (s *story) workflow(id, owner, status string) (body, booking) {
	calendar := body{"appointmentId": id, "id": "calendar1", "status": "booked", "appoinmentStatus": status}
	old := s.rng.IntN(2) > 0
	if old {
		calendar["startTime"] = "2026-06-09T15:00:00"
	}
	return workflow(id, body{"contact_id": owner, "calendar": calendar}), booking{creation: !old && status != "cancelled" && status != "showed"}
}

// tell has the events arrive in any order, some of them twice. Whoever failed comes again, until all have succeeded.
func (s *story) tell(stores ...*store.Store) {
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
	// ended returns an event to the queue, which is closed when all have succeeded.
	ended := func(e *store.Attempt, err error) {
		mu.Lock()
		defer mu.Unlock()
		if runs++; runs == 1+len(s.events)/2 {
			s.lastContactComes()
		}
		// A busy machine may fail the same event for as long as a call takes: that ends.
		ends := runs < 100*len(arrive) || time.Since(begun) < time.Minute
		if err != nil && assert.True(s.w.t, ends, "it never ends: %v", err) {
			queue <- e
			return
		}
		if left--; left == 0 {
			close(queue)
		}
	}
	for _, known := range stores[:1+s.rng.IntN(len(stores))] {
		lead := &operation.Lead{
			Store: &flawedStore{known, s.flaw}, Leads: &flawedLeads{s.w.leads, s.flaw}, Breaker: patient("verity-db"), EndPolicy: s.endings,
			Regions: inUS,
		}
		wg.Go(func() {
			for e := range queue {
				ended(e, lead.Run(s.w.t.Context(), e).Err)
			}
		})
	}
	wg.Wait()
	s.lastContactComes()
}

// lastContactComes has Verity make the contact that it does not have at first.
func (s *story) lastContactComes() {
	if c := &s.contacts[3]; c.verity == "" {
		var err error
		c.verity, err = s.w.verity.AddContact(s.w.t.Context(), c.phone, c.email)
		assert.NoError(s.w.t, err)
	}
}

// retell replays all events in another order.
func (s *story) retell() {
	lead := s.w.lead()
	lead.EndPolicy = s.endings
	for _, i := range s.rng.Perm(len(s.events)) {
		require.NoError(s.w.t, lead.Run(s.w.t.Context(), s.events[i]).Err)
	}
}

// check compares the leads with what follows from the events.
func (s *story) check(when string) bool {
	live := s.live()
	good := true
	for _, c := range s.contacts {
		leads := s.w.leadsOf(c.verity)
		good = assert.LessOrEqual(s.w.t, len(leads), 1, "no second lead") && good
		switch want := live[c.verity]; {
		case want != "":
			good = assert.Equal(s.w.t, []string{want + " active"}, leads, when) && good
		case len(leads) > 0:
			good = assert.Contains(s.w.t, []string{"none", "none active"}, leads[0], when) && good
		}
	}
	if !good {
		for _, e := range s.events {
			s.w.t.Logf("%s %s contact=%q status=%q at=%s received=%s booking=%+v", e.Event.EntityID, e.Event.Type, e.Event.ContactID,
				e.Event.AppointmentStatus, e.Event.OccurredAt.Format(time.TimeOnly), e.ReceivedAt.Format(time.TimeOnly), s.bookings[e.ID])
		}
		s.w.t.Logf("contacts %+v, endings %+v", s.contacts, s.endings)
	}
	return good
}

// live returns the appointment that the leads of each contact of Verity should point at, as the rules say it.
func (s *story) live() map[string]string {
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
		slices.SortFunc(events, byLastWord)
		var contact, status string
		var deleted, booked bool
		candidate := candidate{id: id, first: events[0].OccurredAt()}
		for _, e := range events {
			if said := s.bookings[e.ID]; said.creation || !said.at.IsZero() {
				candidate.known = true
				if !said.at.IsZero() && said.at.Before(candidate.first) {
					candidate.first = said.at
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
		if !booked || deleted && s.endings.Deletion || status == "cancelled" && s.endings.Cancellation {
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

// byLastWord orders the events of an appointment; the last one has the last word.
func byLastWord(a, b *store.Attempt) int {
	deletions := 0
	if isDeletion(a) != isDeletion(b) {
		deletions = 1
		if isDeletion(b) {
			deletions = -1
		}
	}
	return cmp.Or(a.OccurredAt().Compare(b.OccurredAt()), deletions, a.ReceivedAt.Compare(b.ReceivedAt), bytes.Compare(a.ID[:], b.ID[:]))
}

// flaw has processes die, a few times: before something is done, or after it, which nobody learns.
type flaw struct {
	mu   sync.Mutex
	rng  *rand.Rand
	left int
}

var errDied = errors.New("the process died")

func (f *flaw) strikes() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 || f.rng.IntN(8) > 0 {
		return false
	}
	f.left--
	return true
}

// through does something that may not come to its end.
func through[T any](f *flaw, do func() (T, error)) (T, error) {
	var none T
	if f.strikes() {
		return none, errDied
	}
	done, err := do()
	if err == nil && f.strikes() {
		return none, errDied
	}
	return done, err
}

// flawedStore is a store whose user dies now and then.
type flawedStore struct {
	*store.Store
	flaw *flaw
}

func (s *flawedStore) MergeAppointment(ctx context.Context, e store.AppointmentEvent) (known store.Appointment, newest bool, err error) {
	known, err = through(s.flaw, func() (known store.Appointment, err error) {
		known, newest, err = s.Store.MergeAppointment(ctx, e)
		return known, err
	})
	return known, newest, err
}

func (s *flawedStore) AttachAppointment(ctx context.Context, id, ghlContactID, verityContactID string) ([]string, error) {
	return through(s.flaw, func() ([]string, error) { return s.Store.AttachAppointment(ctx, id, ghlContactID, verityContactID) })
}

func (s *flawedStore) AppointmentSynced(ctx context.Context, id string, revision int64) error {
	_, err := through(s.flaw, func() (struct{}, error) { return struct{}{}, s.Store.AppointmentSynced(ctx, id, revision) })
	return err
}

func (s *flawedStore) RecordBookingTime(ctx context.Context, id string, at time.Time) error {
	_, err := through(s.flaw, func() (struct{}, error) { return struct{}{}, s.Store.RecordBookingTime(ctx, id, at) })
	return err
}

func (s *flawedStore) AppointmentsOfContact(ctx context.Context, id string, endings store.EndPolicy) (store.ContactAppointments, error) {
	return through(s.flaw, func() (store.ContactAppointments, error) { return s.Store.AppointmentsOfContact(ctx, id, endings) })
}

// flawedLeads is a Verity whose user dies now and then.
type flawedLeads struct {
	*verity.Leads
	flaw *flaw
}

func (l *flawedLeads) FindContact(ctx context.Context, phones []string, email string) (c verity.Contact, found bool, err error) {
	c, err = through(l.flaw, func() (c verity.Contact, err error) {
		c, found, err = l.Leads.FindContact(ctx, phones, email)
		return c, err
	})
	return c, found, err
}

func (l *flawedLeads) SyncLead(
	ctx context.Context, id string, desired func(context.Context) (verity.Desired, error),
) (verity.Result, error) {
	return through(l.flaw, func() (verity.Result, error) { return l.Leads.SyncLead(ctx, id, desired) })
}
