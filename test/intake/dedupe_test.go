package intake_test

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

func TestADeliveryThatTwoReceiversGetAtOnceIsOneEvent(t *testing.T) {
	t.Parallel()
	const webhooks, posts = 10, 3 // posts of each webhook to each receiver
	var wg sync.WaitGroup
	start := make(chan struct{})
	answers := make([][]system.Answer, webhooks)
	var mu sync.Mutex
	for n := range webhooks {
		w := note()
		for _, receiver := range middleware.Receivers {
			for range posts {
				wg.Go(func() {
					<-start
					answer, err := middleware.Post(t.Context(), receiver, w)
					assert.NoError(t, err)
					mu.Lock()
					defer mu.Unlock()
					answers[n] = append(answers[n], answer)
				})
			}
		}
	}
	close(start)
	wg.Wait()

	for _, ofOne := range answers {
		outcomes, ids := map[string]int{}, map[string]bool{}
		for _, answer := range ofOne {
			outcomes[answer.Outcome]++
			ids[answer.ID] = true
		}
		assert.Equal(t, map[string]int{"accepted": 1, "duplicate": 2*posts - 1}, outcomes)
		assert.Len(t, ids, 1, "all answers name the same event")
		requireDoneOnce(t, ofOne[0].ID)
	}
}

func TestWebhooksWithoutAnIDAreTheSameEventOnlyWhereNothingCameInBetween(t *testing.T) {
	t.Parallel()
	const taken, again = "accepted", "duplicate"
	for name, test := range map[string]struct {
		// webhooks are what is posted one after the other.
		webhooks func(*testing.T) []ghlsender.Webhook
		want     []string
	}{
		"the same booking twice is one event": {
			func(*testing.T) []ghlsender.Webhook {
				b := newBooking()
				booked := b.webhook()
				return []ghlsender.Webhook{booked, booked}
			},
			[]string{taken, again},
		},
		"a reschedule is another event": {
			func(*testing.T) []ghlsender.Webhook {
				b := newBooking()
				booked := b.webhook()
				b.Start = b.Start.Add(24 * time.Hour)
				return []ghlsender.Webhook{booked, b.webhook()}
			},
			[]string{taken, taken},
		},
		"booked, cancelled and booked again are three events": {
			func(*testing.T) []ghlsender.Webhook {
				b := newBooking()
				booked := b.webhook()
				b.Status = "cancelled"
				return []ghlsender.Webhook{booked, b.webhook(), booked}
			},
			[]string{taken, taken, taken},
		},
		"the vendor's examples of a creation, an update and a deletion are the same body, and one event": {
			func(t *testing.T) []ghlsender.Webhook {
				t.Helper()
				return vendorExamples(t, "appointmentcreate-official", "appointmentupdate-official-wrongtype", "appointmentdelete-official-wrongtype")
			},
			[]string{taken, again, again},
		},
		"the vendor's examples are several events where another one of the appointment comes between": {
			func(t *testing.T) []ghlsender.Webhook {
				t.Helper()
				return vendorExamples(t, "appointmentcreate-official", "appointmentupdate-composed", "appointmentdelete-official-wrongtype")
			},
			[]string{taken, taken, taken},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var outcomes, ids []string
			for i, w := range test.webhooks(t) {
				answer := post(t, middleware.Receivers[i%2], w)
				outcomes = append(outcomes, answer.Outcome)
				if answer.Outcome == again {
					assert.Equal(t, ids[len(ids)-1], answer.ID, "it names the event that it repeats")
				} else {
					assert.NotContains(t, ids, answer.ID)
					ids = append(ids, answer.ID)
				}
			}
			assert.Equal(t, test.want, outcomes)
			requireDoneOnce(t, ids...)
		})
	}
}

// booking is an appointment in the form in which a workflow sends it.
type booking struct {
	ghlsender.Appointment
	contact ghlsender.Contact
}

func newBooking() *booking {
	at := time.Now().Truncate(time.Second)
	return &booking{
		ghlsender.Appointment{
			ID: ghlsender.NewID(), CalendarID: "calendar", ContactID: ghlsender.NewID(), Status: "confirmed", Start: at.Add(time.Hour), UpdatedAt: at,
		},
		ghlsender.Contact{FirstName: "Zoë", Phone: "+12025550142"},
	}
}

func (b *booking) webhook() ghlsender.Webhook {
	return middleware.Sender.WorkflowAppointment(b.Appointment, b.contact)
}

// vendorExamples returns samples of the marketplace, all of one appointment that no other test knows.
func vendorExamples(t *testing.T, names ...string) []ghlsender.Webhook {
	t.Helper()
	samples, err := system.Samples()
	require.NoError(t, err)
	byName := map[string]ghlsender.Webhook{}
	for _, sample := range samples {
		byName[sample.Name] = sample.Webhook
	}
	fresh := [][2]string{{"0007BWpSzSwfiuSl0tR2", ghlsender.NewID()}, {"881b9415-5d35-4ff1-a667-0545b80b96c1", ghlsender.NewID()}}
	var webhooks []ghlsender.Webhook
	for _, name := range names {
		w, found := byName["marketplace-"+name]
		require.True(t, found, name)
		for _, id := range fresh {
			w.Body = bytes.ReplaceAll(w.Body, []byte(id[0]), []byte(id[1]))
		}
		webhooks = append(webhooks, w)
	}
	return webhooks
}
