package relay_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/relay"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const timeout = 2 * time.Minute

// environment is a database and a namespace for one test.
type environment struct {
	t         *testing.T
	db        *store.Store
	client    client.Client
	namespace string
}

func newEnvironment(t *testing.T) *environment {
	t.Helper()
	cluster := testenv.Kubernetes(t)
	return newEnvironmentOn(t, cluster, testenv.Namespace(t, cluster))
}

func newEnvironmentOn(t *testing.T, cluster *rest.Config, namespace string) *environment {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	c, err := client.New(cluster, client.Options{Scheme: scheme})
	require.NoError(t, err)
	url := testenv.Postgres(t)
	_, err = store.Migrate(t.Context(), url, store.MigrateOptions{Normalise: func([]byte, time.Time) event.Event { return event.Event{} }})
	require.NoError(t, err)
	db, err := store.Open(t.Context(), url, store.Options{Name: "test", MaxConns: 8})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return &environment{t: t, db: db, client: c, namespace: namespace}
}

// relay starts a relay and returns a writer whose commits it relays.
func (b *environment) relay(change func(*relay.Options)) *store.Writer {
	b.t.Helper()
	opts := relay.Options{
		Rows: b.db, Creator: b.client, Namespace: b.namespace, Identity: uuid.NewString(), Poll: 20 * time.Millisecond,
		Grace: 200 * time.Millisecond, CallTimeout: 10 * time.Second, Log: testr.New(b.t),
	}
	if change != nil {
		change(&opts)
	}
	r, err := relay.New(opts)
	require.NoError(b.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { assert.NoError(b.t, r.Run(ctx)) })
	b.t.Cleanup(func() { cancel(); wg.Wait() })
	return b.writer(r.Offer)
}

func (b *environment) writer(committed func([]store.EventMeta)) *store.Writer {
	w := store.NewWriter(b.db, store.WriterOptions{Committed: committed})
	b.t.Cleanup(w.Close)
	return w
}

func (b *environment) commit(w *store.Writer, change func(*event.Event)) uuid.UUID {
	b.t.Helper()
	key := uuid.NewString()
	e := event.Event{
		Source: event.SourceGHL, Type: event.TypeContactUpdated, EntityType: event.EntityContact, EntityID: key, LocationID: "loc1",
		DedupeKey: "ghl:" + key, OrderingKey: event.OrderingKeyOf(event.EntityContact, key),
	}
	if change != nil {
		change(&e)
	}
	r, err := w.Commit(b.t.Context(), store.Delivery{Event: e, Payload: []byte(`{}`), BodyHash: sha256.Sum256([]byte(key))})
	require.NoError(b.t, err)
	return r.ID
}

func (b *environment) get(id uuid.UUID) *v1alpha1.WebhookEvent {
	b.t.Helper()
	var e v1alpha1.WebhookEvent
	err := b.client.Get(b.t.Context(), client.ObjectKey{Namespace: b.namespace, Name: v1alpha1.NameOf("ghl", id.String())}, &e)
	if err != nil {
		return nil
	}
	return &e
}

func (b *environment) count() int {
	b.t.Helper()
	var list v1alpha1.WebhookEventList
	require.NoError(b.t, b.client.List(b.t.Context(), &list, client.InNamespace(b.namespace)))
	return len(list.Items)
}

func (b *environment) exec(sql string, args ...any) {
	b.t.Helper()
	_, err := b.db.Pool().Exec(b.t.Context(), sql, args...)
	require.NoError(b.t, err)
}

func (b *environment) eventually(what string, is func() bool) {
	b.t.Helper()
	require.Eventually(b.t, is, timeout, 10*time.Millisecond, what)
}

func (b *environment) undispatched() int64 {
	b.t.Helper()
	backlog, err := b.db.Backlog(b.t.Context())
	require.NoError(b.t, err)
	return backlog.Undispatched
}

// creator counts, orders and fails creates.
type creator struct {
	client.Client
	mu    sync.Mutex
	names []string
	fail  atomic.Bool
	// failed counts the creates that did not succeed.
	failed atomic.Int32
}

func (c *creator) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	if c.fail.Load() {
		c.failed.Add(1)
		return errors.New("the API server is away")
	}
	err := c.Client.Create(ctx, obj, opts...)
	if err != nil {
		c.failed.Add(1)
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = append(c.names, obj.GetName())
	return nil
}

func TestCommittedRowsAreRelayedAtOnce(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	w := b.relay(func(o *relay.Options) { o.Grace = time.Hour })
	long := strings.Repeat("é", 300)
	id := b.commit(w, func(e *event.Event) {
		e.Type, e.EntityType, e.EntityID, e.LocationID = "not a label!", "unknown", long, "loc1"
	})
	b.eventually("created", func() bool { return b.get(id) != nil })
	e := b.get(id)
	assert.Equal(t, v1alpha1.PhasePending, e.Status.Phase, "by the schema's default")
	assert.Equal(t, strings.Repeat("é", 256), e.Spec.EntityID, "bounded")
	assert.Equal(t, "not a label!", e.Spec.EventType)
	assert.NotContains(t, e.Labels, v1alpha1.EventTypeLabel)
	assert.Equal(t, "loc1", e.Labels[v1alpha1.LocationLabel])
	b.eventually("marked", func() bool { return b.undispatched() == 0 })
}

func TestNewRowsQueueBehindOrphanedOnes(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	var want []string
	for range 30 { // A replica that died before it relayed any of them.
		want = append(want, v1alpha1.NameOf("ghl", b.commit(b.writer(nil), nil).String()))
	}
	b.exec(`UPDATE webhook_events SET received_at = received_at - interval '1 minute'`)
	c := &creator{Client: b.client}
	c.fail.Store(true)
	w := b.relay(func(o *relay.Options) { o.Creator, o.Workers, o.Batch = c, 1, 7 })
	b.eventually("the orphaned rows are known", func() bool { return c.failed.Load() > 0 })
	for range 5 {
		want = append(want, v1alpha1.NameOf("ghl", b.commit(w, nil).String()))
	}
	c.fail.Store(false)
	b.eventually("all relayed", func() bool { return b.undispatched() == 0 })
	assert.Equal(t, want, c.names)
	id := b.commit(w, nil)
	b.eventually("relayed as well", func() bool { return b.get(id) != nil })
}

func TestOneReplicaAtATimeRelaysOrphanedRows(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	for range 100 {
		b.commit(b.writer(nil), nil)
	}
	b.exec(`UPDATE webhook_events SET received_at = received_at - interval '1 minute'`)
	b.exec(`UPDATE relay_lease SET holder = 'another', expires_at = now() + interval '2 seconds'`)
	var all []*creator
	for range 3 {
		c := &creator{Client: b.client}
		all = append(all, c)
		b.relay(func(o *relay.Options) { o.Creator, o.Batch = c, 10 })
	}
	b.eventually("all are relayed after the lease of the dead replica expires", func() bool { return b.undispatched() == 0 })
	busy := 0
	for _, c := range all {
		if len(c.names) > 0 {
			busy++
		}
	}
	assert.Equal(t, 1, busy)
	assert.Equal(t, 100, b.count())
}

func TestARowThatCannotHaveAWebhookEventDelaysNoOther(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	bad := b.commit(b.writer(nil), func(e *event.Event) { e.Source = "Not A Name" })
	good := b.commit(b.writer(nil), nil)
	b.exec(`UPDATE webhook_events SET received_at = received_at - interval '1 minute'`)
	b.relay(nil)
	b.eventually("the good one is relayed", func() bool { return b.get(good) != nil })
	b.eventually("the bad one is in error", func() bool {
		state, err := b.db.Load(t.Context(), bad)
		require.NoError(t, err)
		return state.Status == store.StatusError && strings.Contains(state.Message, "Not A Name")
	})
}

func TestAnExistingWebhookEventIsASuccess(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	w := b.relay(nil)
	id := b.commit(w, nil)
	b.eventually("created", func() bool { return b.get(id) != nil })
	uid := b.get(id).UID
	b.eventually("marked", func() bool { return b.undispatched() == 0 })
	b.exec(`UPDATE webhook_events SET dispatched_at = NULL`)
	b.eventually("marked again", func() bool { return b.undispatched() == 0 })
	assert.Equal(t, uid, b.get(id).UID)
}

func TestTheNumberOfDueWebhookEventsIsBounded(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	const live, batch = 20, 5
	w := b.relay(func(o *relay.Options) { o.MaxLive, o.Batch = live, batch })
	for range 60 {
		b.commit(w, nil)
	}
	b.eventually("the limit is reached", func() bool { return b.count() >= live })
	for done := 0; done < 60; done += 10 {
		b.eventually("there is something to finish", func() bool { return b.count() > done })
		counts, err := b.db.CountLive(t.Context())
		require.NoError(t, err)
		assert.LessOrEqual(t, counts.Due, int64(live+batch))
		b.exec(`UPDATE webhook_events SET status = 'done', processed_at = now() WHERE id IN (
			SELECT id FROM webhook_events WHERE status = 'pending' AND dispatched_at IS NOT NULL ORDER BY received_at LIMIT 10)`)
	}
	b.eventually("all were relayed", func() bool { return b.count() == 60 })
}

func TestWaitingEventsTakeNoCapacity(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	w := b.relay(func(o *relay.Options) { o.MaxLive, o.Batch = 5, 5 })
	for i := range 15 {
		b.commit(w, nil)
		if i%5 == 4 {
			b.eventually("relayed", func() bool { return b.undispatched() == 0 })
			b.exec(`UPDATE webhook_events SET next_attempt_at = now() + interval '1 hour' WHERE dispatched_at IS NOT NULL`)
		}
	}
	// Events of one entity: the first is due, the others wait for it.
	for range 10 { // One more could exceed the limit of blocked events before the last is relayed.
		b.commit(w, func(e *event.Event) { e.OrderingKey = "contact:same" })
	}
	b.eventually("relayed", func() bool { return b.undispatched() == 0 })
	counts, err := b.db.CountLive(t.Context())
	require.NoError(t, err)
	assert.Equal(t, store.LiveCounts{Due: 1, Waiting: 15 + 9, Blocked: 9}, counts)
}

func TestCommitsContinueWhileTheAPIServerIsDown(t *testing.T) {
	t.Parallel()
	server := testenv.KubernetesServer(t)
	b := newEnvironmentOn(t, server.Config(), "default")
	w := b.relay(nil)
	first := b.commit(w, nil)
	b.eventually("created", func() bool { return b.get(first) != nil })
	require.NoError(t, server.APIServer.Kill())
	var ids []uuid.UUID
	for range 20 {
		ids = append(ids, b.commit(w, nil))
	}
	assert.GreaterOrEqual(t, b.undispatched(), int64(20))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, server.APIServer.Start(ctx))
	for i, id := range ids {
		b.eventually(fmt.Sprintf("event %d is relayed", i), func() bool { return b.get(id) != nil })
	}
}

func TestBlockedEventsAboveTheLimitGetNoWebhookEvent(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	const live, batch = 5, 5
	var ids []uuid.UUID
	for range 40 {
		ids = append(ids, b.commit(b.writer(nil), func(e *event.Event) { e.OrderingKey = "contact:same" }))
	}
	b.exec(`UPDATE webhook_events SET received_at = received_at - interval '1 minute'`)
	w := b.relay(func(o *relay.Options) { o.MaxLive, o.Batch = live, batch })
	b.eventually("the limit of blocked events is reached", func() bool { return b.count() > 2*live })
	other := b.commit(w, nil)
	b.eventually("an event of another entity is relayed", func() bool { return b.get(other) != nil })
	assert.LessOrEqual(t, b.count(), 1+2*live+batch+1)
	for i, id := range ids {
		b.eventually(fmt.Sprintf("event %d has its turn", i), func() bool { return b.get(id) != nil })
		b.exec(`UPDATE webhook_events SET status = 'done', processed_at = now() WHERE id = $1`, id)
	}
}

func TestParkedEventsLeaveCapacityForNewOnes(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	const live, batch, returning = 40, 10, 40/4 + 1
	for range 60 {
		b.commit(b.writer(nil), nil)
	}
	// All of them were parked, and may be tried again now.
	b.exec(`UPDATE webhook_events SET received_at = received_at - interval '1 hour', parked = true, next_attempt_at = now() - interval '1 second'`)
	w := b.relay(func(o *relay.Options) { o.MaxLive, o.Batch = live, batch })
	b.eventually("the share of parked events is used up", func() bool { return b.count() >= returning })
	for range 10 {
		id := b.commit(w, nil)
		b.eventually("a new one does not queue behind them", func() bool { return b.get(id) != nil })
	}
	counts, err := b.db.CountLive(t.Context())
	require.NoError(t, err)
	assert.LessOrEqual(t, counts.Returning, int64(returning+batch))
	assert.LessOrEqual(t, b.count(), returning+batch+10)

	// Each claim frees capacity for the next ones, until all are recreated.
	b.eventually("all are recreated", func() bool {
		b.exec(`UPDATE webhook_events SET status = 'done', processed_at = now(), parked = false WHERE status = 'pending' AND dispatched_at IS NOT NULL`)
		return b.undispatched() == 0
	})
	assert.Equal(t, 70, b.count())
}

// TestColumnsShowNothingInvisible has a row of the legacy middleware or of an earlier release.
func TestColumnsShowNothingInvisible(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	w := b.relay(func(o *relay.Options) { o.Grace = time.Hour })
	id := b.commit(w, func(e *event.Event) {
		e.Type, e.EntityType = "\u200b\u202e", "con\u2067tact"
		e.EntityID, e.LocationID, e.ContactID = "\u202eapt1\u202c", "loc1\x1b[2J\n\u2028x", "\ufeffcontact\u31641\u00a0"
	})
	b.eventually("created", func() bool { return b.get(id) != nil })
	spec := b.get(id).Spec
	assert.Equal(t, "unknown", spec.EventType)
	assert.Equal(t, "contact", spec.EntityType)
	assert.Equal(t, "apt1", spec.EntityID)
	assert.Equal(t, "loc1[2J  x", spec.LocationID)
	assert.Equal(t, "contact1", spec.ContactID)
}
