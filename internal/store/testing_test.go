package store_test

import (
	"context"
	"crypto/sha256"
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

func TestMain(m *testing.M) { testenv.Main(m) }

// bundle is a migrated database of the test's own.
type bundle struct {
	*store.Store
	t   *testing.T
	url string
}

func newBundle(t *testing.T) *bundle {
	t.Helper()
	url := testenv.Postgres(t)
	migrate(t, url)
	return &bundle{Store: open(t, url), t: t, url: url}
}

func migrate(t *testing.T, url string) []store.MigrationStatus {
	t.Helper()
	applied, err := store.Migrate(t.Context(), url, store.MigrateOptions{Normalise: func([]byte, time.Time) event.Event { return event.Event{} }})
	require.NoError(t, err)
	return applied
}

func open(t *testing.T, url string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url, store.Options{Name: "test", MaxConns: 8})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// proxy is a way to the database that can be cut.
func (b *bundle) proxy() *pgproxy.Proxy {
	b.t.Helper()
	proxy, err := pgproxy.New(b.t.Context(), b.url)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { assert.NoError(b.t, proxy.Close()) })
	return proxy
}

func (b *bundle) writer(opts store.WriterOptions) *store.Writer {
	w := store.NewWriter(b.Store, opts)
	b.t.Cleanup(w.Close)
	return w
}

// exec runs SQL, to make the past what the test needs.
func (b *bundle) exec(sql string, args ...any) {
	b.t.Helper()
	_, err := b.Pool().Exec(b.t.Context(), sql, args...)
	require.NoError(b.t, err)
}

// value returns what a query with one column and one row says.
func value[T any](b *bundle, sql string, args ...any) T {
	b.t.Helper()
	var v T
	require.NoError(b.t, b.Pool().QueryRow(b.t.Context(), sql, args...).Scan(&v))
	return v
}

// delivery is an appointment webhook with an id of its own, or without one where webhookID is empty.
func delivery(webhookID, entityID, body string) store.Delivery {
	d := store.Delivery{
		Event: event.Event{
			Source: event.SourceGHL, Type: event.TypeAppointmentCreated, EntityType: event.EntityAppointment, EntityID: entityID,
			LocationID: "loc1", ContactID: "contact1", OrderingKey: event.OrderingKeyOf(event.EntityAppointment, entityID),
		},
		Payload:  []byte(body),
		Headers:  map[string]string{"Content-Type": "application/json"},
		BodyHash: sha256.Sum256([]byte(body)),
	}
	if webhookID != "" {
		d.Event.DedupeKey = "ghl:" + webhookID
	}
	return d
}

// commit stores d and requires that it is new.
func (b *bundle) commit(w *store.Writer, d store.Delivery) uuid.UUID {
	b.t.Helper()
	r, err := w.Commit(b.t.Context(), d)
	require.NoError(b.t, err)
	require.False(b.t, r.Duplicate)
	return r.ID
}

func withTimeout(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
