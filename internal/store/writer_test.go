package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

func TestCommitStoresADelivery(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	committed := make(chan []store.EventMeta, 1)
	w := b.writer(store.WriterOptions{Committed: func(d []store.EventMeta) { committed <- d }})
	body := "{ \"b\":1,\t\"a\":\"\\u0000 é \\ud800\" ,\"a\":2}"
	d := delivery("w1", "apt1", body)
	d.Event.OccurredAt = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)

	r, err := w.Commit(t.Context(), d)

	require.NoError(t, err)
	assert.False(t, r.Duplicate)
	assert.Equal(t, body, value[string](b, `SELECT payload_json::text FROM webhook_events WHERE id = $1`, r.ID), "the text is stored unchanged")
	assert.Equal(t, "application/json", value[string](b, `SELECT headers ->> 'Content-Type' FROM webhook_events`))
	assert.Equal(t, d.Event.OccurredAt, value[time.Time](b, `SELECT occurred_at FROM webhook_events`).UTC())
	assert.True(t, value[bool](b, `SELECT payload_raw IS NULL AND NOT adopted AND forward FROM webhook_events`))
	assert.Equal(t, []store.EventMeta{{
		ID: r.ID, Source: "ghl", EventType: "appointment.created", EntityType: "appointment", EntityID: "apt1", LocationID: "loc1",
		ContactID: "contact1", ReceivedAt: r.ReceivedAt,
	}}, <-committed)
}

func TestCommitReplacesAFutureTimeByTheTimeOfReceipt(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	d := delivery("w1", "apt1", `{}`)
	d.Event.OccurredAt = time.Now().Add(time.Hour)
	b.commit(b.writer(store.WriterOptions{}), d)
	assert.True(t, value[bool](b, `SELECT occurred_at <= received_at FROM webhook_events`))
}

func TestCommitRecognisesDuplicates(t *testing.T) {
	t.Parallel()
	booked, cancelled := `{"s":"booked"}`, `{"s":"cancelled"}`
	cases := map[string]struct {
		deliveries []store.Delivery
		age        string // how old the first ones are when the last one comes
		want       []bool
	}{
		"the same webhook id is one event, whatever its bytes": {
			deliveries: []store.Delivery{delivery("w1", "apt1", booked), delivery("w1", "apt1", cancelled)}, want: []bool{false, true},
		},
		"the same webhook id is one event a month later": {
			deliveries: []store.Delivery{delivery("w1", "apt1", booked), delivery("w1", "apt1", booked)}, age: "30 days", want: []bool{false, true},
		},
		"another webhook id with the same bytes is another event": {
			deliveries: []store.Delivery{delivery("w1", "apt1", booked), delivery("w2", "apt1", booked)}, want: []bool{false, false},
		},
		"the same body without an id is one event": {
			deliveries: []store.Delivery{delivery("", "apt1", booked), delivery("", "apt1", booked)}, want: []bool{false, true},
		},
		"the same body a day later is another event": {
			deliveries: []store.Delivery{delivery("", "apt1", booked), delivery("", "apt1", booked)}, age: "25 hours", want: []bool{false, false},
		},
		"booked, cancelled and booked again are three events": {
			deliveries: []store.Delivery{delivery("", "apt1", booked), delivery("", "apt1", cancelled), delivery("", "apt1", booked)},
			want:       []bool{false, false, false},
		},
		"another event with an id in between makes it another event": {
			deliveries: []store.Delivery{delivery("", "apt1", booked), delivery("w1", "apt1", cancelled), delivery("", "apt1", booked)},
			want:       []bool{false, false, false},
		},
		"the same body of another entity is another event": {
			deliveries: []store.Delivery{delivery("", "apt1", booked), delivery("", "apt2", booked)}, want: []bool{false, false},
		},
		"without an entity the same body within the hour is one event, even after others": {
			deliveries: []store.Delivery{delivery("", "", booked), delivery("", "", cancelled), delivery("", "", booked)},
			want:       []bool{false, false, true},
		},
		"without an entity the same body after an hour is another event": {
			deliveries: []store.Delivery{delivery("", "", booked), delivery("", "", booked)}, age: "61 minutes", want: []bool{false, false},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEnvironment(t)
			w := b.writer(store.WriterOptions{})
			ids := map[uuid.UUID]bool{}
			for i, d := range tc.deliveries {
				if i == len(tc.deliveries)-1 && tc.age != "" {
					b.exec(`UPDATE webhook_events SET received_at = received_at - $1::text::interval`, tc.age)
				}
				r, err := w.Commit(t.Context(), d)
				require.NoError(t, err)
				assert.Equal(t, tc.want[i], r.Duplicate, "delivery %d", i)
				assert.Equal(t, r.Duplicate, ids[r.ID], "a duplicate names the first one's id")
				ids[r.ID] = true
			}
			assert.EqualValues(t, len(ids), value[int64](b, `SELECT count(*) FROM webhook_events`))
		})
	}
}

func TestConcurrentCommitsOfTheSameDeliveryAgree(t *testing.T) {
	t.Parallel()
	for name, webhookID := range map[string]string{"with a webhook id": "w1", "without one": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEnvironment(t)
			writers := []*store.Writer{b.writer(store.WriterOptions{}), b.writer(store.WriterOptions{})}
			var mu sync.Mutex
			ids, added := map[uuid.UUID]bool{}, 0
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					r, err := writers[i%2].Commit(t.Context(), delivery(webhookID, "apt1", `{"x":1}`))
					if !assert.NoError(t, err) {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					ids[r.ID] = true
					if !r.Duplicate {
						added++
					}
				})
			}
			wg.Wait()
			assert.Len(t, ids, 1)
			assert.Equal(t, 1, added)
			assert.EqualValues(t, 1, value[int64](b, `SELECT count(*) FROM webhook_events`))
		})
	}
}

func TestBatchesWithCrossedKeysDoNotDeadlock(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	writers := []*store.Writer{b.writer(store.WriterOptions{}), b.writer(store.WriterOptions{})}
	const keys = 30
	var wg sync.WaitGroup
	for round := range 20 {
		for i := range keys {
			for side, w := range writers {
				n := i
				if side == 1 {
					n = keys - 1 - i
				}
				id := fmt.Sprintf("w%d-%d", round, n)
				if n%3 == 0 {
					id = "" // Locks on ordering keys are crossed with waits on dedupe keys.
				}
				wg.Go(func() {
					_, err := w.Commit(t.Context(), delivery(id, fmt.Sprintf("apt%d-%d", round, n%7), fmt.Sprintf(`{"n":%d}`, n)))
					assert.NoError(t, err)
				})
			}
		}
		wg.Wait()
	}
	assert.EqualValues(t, 20*keys, value[int64](b, `SELECT count(DISTINCT dedupe_key) FROM webhook_events WHERE dedupe_key LIKE 'ghl:w%'`)+
		20*10, "every key is there")
}

func TestConcurrentCommitsShareTransactions(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	var mu sync.Mutex
	var sizes []int
	w := b.writer(store.WriterOptions{Committers: 1, Observe: func(n int) { mu.Lock(); sizes = append(sizes, n); mu.Unlock() }})
	// The table is locked, so that the other commits queue behind the first one.
	unlock := b.lockTable()
	var wg sync.WaitGroup
	commit := func(i int) {
		wg.Go(func() {
			_, err := w.Commit(t.Context(), delivery(fmt.Sprint("w", i), "apt1", `{}`))
			assert.NoError(t, err)
		})
	}
	commit(0)
	b.waiting()
	for i := range 49 {
		commit(i + 1)
	}
	require.Eventually(t, func() bool { return w.Queued() == 49 }, time.Minute, time.Millisecond)
	unlock()
	wg.Wait()
	assert.Equal(t, []int{1, 49}, sizes, "the first, and those that queued behind it")
}

func TestABadRowDoesNotFailItsNeighbours(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	w := b.writer(store.WriterOptions{Committers: 1})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			body := `{"i":1}`
			if i == 7 {
				body = "{not json" // The receiver would never send this.
			}
			_, err := w.Commit(t.Context(), delivery(fmt.Sprint("w", i), "apt1", body))
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	assert.EqualValues(t, 20, value[int64](b, `SELECT count(*) FROM webhook_events`))
	assert.Equal(t, "{not json", string(value[[]byte](b, `SELECT payload_raw FROM webhook_events WHERE dedupe_key = 'ghl:w7'`)), "nothing is lost or altered")
}

func TestCommitFailsInTimeAndRecoversWithoutARestart(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	w := b.writer(store.WriterOptions{Committers: 1, Timeout: 200 * time.Millisecond, Queue: 1})
	unlock := b.lockTable()
	_, err := w.Commit(withTimeout(t, 300*time.Millisecond), delivery("w1", "apt1", `{}`))
	require.Error(t, err, "it does not wait for the lock, which is held until the next line")
	unlock()
	require.Eventually(t, func() bool {
		_, err := w.Commit(withTimeout(t, time.Second), delivery("w1", "apt1", `{}`))
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	assert.EqualValues(t, 1, value[int64](b, `SELECT count(*) FROM webhook_events`))
}

func TestCommitReportsOverloadAndShutdown(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	w := b.writer(store.WriterOptions{Committers: 1, Queue: 1})
	unlock := b.lockTable()
	var wg sync.WaitGroup
	overloaded := make(chan struct{}, 10)
	for i := range 10 {
		wg.Go(func() {
			if _, err := w.Commit(withTimeout(t, 5*time.Second), delivery(fmt.Sprint("w", i), "apt1", `{}`)); err != nil {
				assert.ErrorIs(t, err, store.ErrOverloaded)
				overloaded <- struct{}{}
			}
		})
	}
	<-overloaded
	unlock()
	wg.Wait()
	w.Close()
	_, err := w.Commit(t.Context(), delivery("w11", "apt1", `{}`))
	require.ErrorIs(t, err, store.ErrClosed)
}

func TestTimesOfReceiptFollowTheOrderOfArrivalWithinABatch(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	w := b.writer(store.WriterOptions{})
	first := b.commit(w, delivery("z", "apt1", `{"n":1}`))
	second := b.commit(w, delivery("a", "apt1", `{"n":2}`))
	assert.Equal(t, first, value[uuid.UUID](b, `SELECT id FROM webhook_events ORDER BY received_at, id LIMIT 1`))
	assert.Equal(t, second, value[uuid.UUID](b, `SELECT id FROM webhook_events ORDER BY received_at DESC, id DESC LIMIT 1`))
	assert.Equal(t, event.OrderingKeyOf("appointment", "apt1"), value[string](b, `SELECT DISTINCT ordering_key FROM webhook_events`))
}
