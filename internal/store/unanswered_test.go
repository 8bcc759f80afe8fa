package store_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgproxy"
)

// reply is an SMS reply from a workflow: about a contact, without a webhook id.
func reply(body string) store.Delivery {
	d := delivery("", "contact1", body)
	d.Event.Type, d.Event.EntityType = event.TypeContactUpdated, event.EntityContact
	d.Event.OrderingKey = event.OrderingKeyOf(event.EntityContact, "contact1")
	d.Occurrence = true
	return d
}

// anonymous is an occurrence without an entity.
func anonymous(body string) store.Delivery {
	d := delivery("", "", body)
	d.Event.Type, d.Event.EntityType, d.Occurrence = event.TypeUnknown, event.EntityUnknown, true
	return d
}

// withoutAnID are deliveries without a webhook id, one for each way to detect duplicates.
func withoutAnID() map[string]store.Delivery {
	return map[string]store.Delivery{
		"a booking":                  delivery("", "apt1", `{"s":"booked"}`),
		"a reply":                    reply(`{"message":{"body":"Yes"}}`),
		"an event without an entity": anonymous(`{"form":"contact us"}`),
	}
}

func TestOccurrencesWithTheSameBytesAreSeveralEvents(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]store.Delivery{"a reply": reply(`{"message":"Yes"}`), "an event without an entity": anonymous(`{"form":1}`)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEnvironment(t)
			writers := []*store.Writer{b.writer(store.WriterOptions{}), b.writer(store.WriterOptions{})}
			ids := map[uuid.UUID]bool{}
			for i := range 6 {
				ids[b.commit(writers[i%2], d)] = true
			}
			assert.Len(t, ids, 6)
			assert.EqualValues(t, 6, value[int64](b, `SELECT count(*) FROM webhook_events WHERE NOT unanswered`))
		})
	}
}

// lockTable makes every commit wait until unlock is called.
func (b *environment) lockTable() (unlock func()) {
	b.t.Helper()
	return testenv.LockTable(b.t, b.url, "webhook_events", "SHARE")
}

// waiting waits until a commit waits for the table.
func (b *environment) waiting() {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		return value[bool](b, `SELECT EXISTS (SELECT 1 FROM pg_locks WHERE relation = 'webhook_events'::regclass AND NOT granted)`)
	}, time.Minute, time.Millisecond)
}

func (b *environment) eventually(sql string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return value[bool](b, sql) }, 30*time.Second, 5*time.Millisecond, sql)
}

func TestTheRetryOfAStoredDeliveryThatWasAnswered429IsADuplicateOnce(t *testing.T) {
	t.Parallel()
	const stored = `SELECT count(*) = 1 FROM webhook_events`
	for name, d := range withoutAnID() {
		for where, same := range map[string]bool{"the same receiver": true, "another receiver": false} {
			t.Run(name+" is sent again to "+where, func(t *testing.T) {
				t.Parallel()
				b := newEnvironment(t)
				first, second := b.writer(store.WriterOptions{Timeout: time.Minute}), b.writer(store.WriterOptions{})
				unlock := b.lockTable()
				ctx, giveUp := context.WithCancel(t.Context())
				result := make(chan error, 1)
				go func() {
					_, err := first.Commit(ctx, d)
					result <- err
				}()
				b.waiting()
				giveUp() // The answer timed out; the commit is in progress.
				require.ErrorIs(t, <-result, store.ErrUncertain)
				unlock()
				b.eventually(stored)
				if same {
					second = first
				} else {
					b.eventually(`SELECT unanswered FROM webhook_events`)
				}

				again, err := second.Commit(t.Context(), d)
				require.NoError(t, err)
				assert.True(t, again.Duplicate)
				assert.Equal(t, value[uuid.UUID](b, `SELECT id FROM webhook_events`), again.ID)
				b.eventually(`SELECT NOT unanswered FROM webhook_events`)

				for _, w := range []*store.Writer{first, second} {
					third, err := w.Commit(t.Context(), d)
					require.NoError(t, err)
					assert.Equal(t, !d.Occurrence, third.Duplicate, "it has been answered")
				}
			})
		}
	}
}

func TestARetryIsADuplicateEvenAfterAnotherEventOfItsEntity(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	w := b.writer(store.WriterOptions{})
	booked, cancelled := delivery("", "apt1", `{"s":"booked"}`), delivery("", "apt1", `{"s":"cancelled"}`)
	r, err := w.Commit(t.Context(), booked)
	require.NoError(t, err)
	w.Unanswered(booked, r)
	b.commit(w, cancelled)
	b.eventually(`SELECT bool_or(unanswered) FROM webhook_events`)

	again, err := b.writer(store.WriterOptions{}).Commit(t.Context(), booked)
	require.NoError(t, err)
	assert.Equal(t, store.Receipt{ID: r.ID, ReceivedAt: again.ReceivedAt, Duplicate: true}, again,
		"the retry of an older state does not make it the newest")
	b.commit(w, booked)
}

func TestACommitWhoseAnswerIsLostIsRepeatedOnce(t *testing.T) {
	t.Parallel()
	for name, d := range withoutAnID() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEnvironment(t)
			proxy := b.proxy()
			w := store.NewWriter(open(t, proxy.URL()), store.WriterOptions{})
			t.Cleanup(w.Close)
			b.commit(w, delivery("", "apt0", `{}`)) // The pool has a connection.
			proxy.Cut(&pgproxy.Cut{Command: "COMMIT"})
			_, err := w.Commit(t.Context(), d)
			require.ErrorIs(t, err, store.ErrUncertain)
			b.eventually(`SELECT count(*) = 2 FROM webhook_events`)

			again, err := w.Commit(t.Context(), d)
			require.NoError(t, err)
			assert.True(t, again.Duplicate)
			b.eventually(`SELECT NOT bool_or(unanswered) FROM webhook_events`)
			assert.EqualValues(t, 2, value[int64](b, `SELECT count(*) FROM webhook_events`))
		})
	}
}

func TestEachOfSeveralUnansweredRepliesIsRepeatedOnce(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	w := b.writer(store.WriterOptions{})
	d := reply(`{"message":"Yes"}`)
	for _, id := range []uuid.UUID{b.commit(w, d), b.commit(w, d)} {
		w.Unanswered(d, store.Receipt{ID: id})
	}
	var duplicates []bool
	ids := map[uuid.UUID]bool{}
	for range 3 {
		r, err := w.Commit(t.Context(), d)
		require.NoError(t, err)
		duplicates = append(duplicates, r.Duplicate)
		ids[r.ID] = true
	}
	assert.Equal(t, []bool{true, true, false}, duplicates)
	assert.Len(t, ids, 3)
}

func TestADeliveryIsUncertainOnlyIfItMayBeStored(t *testing.T) {
	t.Parallel()
	t.Run("an unreachable database", func(t *testing.T) {
		t.Parallel()
		w := store.NewWriter(open(t, "postgres://nobody@127.0.0.1:1/nothing"), store.WriterOptions{})
		t.Cleanup(w.Close)
		_, err := w.Commit(t.Context(), delivery("w1", "apt1", `{}`))
		require.Error(t, err)
		assert.NotErrorIs(t, err, store.ErrUncertain)
	})
	t.Run("a statement that Postgres refuses", func(t *testing.T) {
		t.Parallel()
		b := newEnvironment(t)
		b.exec(`DROP TABLE webhook_events CASCADE`)
		_, err := b.writer(store.WriterOptions{}).Commit(t.Context(), delivery("w1", "apt1", `{}`))
		require.Error(t, err)
		assert.NotErrorIs(t, err, store.ErrUncertain)
	})
}

// lookedAt is a context that reports the first call of Err.
type lookedAt struct {
	context.Context //nolint:containedctx // It is one.
	once            sync.Once
	looked          chan struct{}
}

func (c *lookedAt) Err() error {
	err := c.Context.Err()
	c.once.Do(func() { close(c.looked) })
	return err
}

func TestADeliveryWhoseRetryOvertookItIsNotStored(t *testing.T) {
	t.Parallel()
	for name, d := range withoutAnID() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEnvironment(t)
			slow, err := store.Open(t.Context(), b.url, store.Options{Name: "slow", MaxConns: 1})
			require.NoError(t, err)
			t.Cleanup(slow.Close)
			w := store.NewWriter(slow, store.WriterOptions{Committers: 1, Timeout: time.Minute})
			t.Cleanup(w.Close)
			conn, err := slow.Pool().Acquire(t.Context()) // The writer waits for it.
			require.NoError(t, err)
			release := sync.OnceFunc(conn.Release)
			t.Cleanup(release)
			inner, giveUp := context.WithCancel(t.Context())
			defer giveUp()
			ctx := &lookedAt{Context: inner, looked: make(chan struct{})}
			result := make(chan error, 1)
			go func() {
				_, err := w.Commit(ctx, d)
				result <- err
			}()
			<-ctx.looked // The delivery is in a batch.
			giveUp()
			require.ErrorIs(t, <-result, store.ErrUncertain)

			retry := b.commit(b.writer(store.WriterOptions{}), d)
			release()
			_, err = w.Commit(t.Context(), delivery("w1", "apt9", `{}`)) // It comes after the first one.
			require.NoError(t, err)
			assert.Equal(t, retry, value[uuid.UUID](b, `SELECT id FROM webhook_events WHERE entity_id IS DISTINCT FROM 'apt9'`))
			assert.EqualValues(t, 2, value[int64](b, `SELECT count(*) FROM webhook_events`))
		})
	}
}
