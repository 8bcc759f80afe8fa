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

// environment is a new migrated database.
type environment struct {
	*store.Store
	t   *testing.T
	url string
}

func newEnvironment(t *testing.T) *environment {
	t.Helper()
	url := testenv.Postgres(t)
	migrate(t, url)
	return &environment{Store: open(t, url), t: t, url: url}
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

// proxy is a path to the database that can be cut.
func (b *environment) proxy() *pgproxy.Proxy {
	b.t.Helper()
	proxy, err := pgproxy.New(b.t.Context(), b.url)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { assert.NoError(b.t, proxy.Close()) })
	return proxy
}

func (b *environment) writer(opts store.WriterOptions) *store.Writer {
	w := store.NewWriter(b.Store, opts)
	b.t.Cleanup(w.Close)
	return w
}

// exec runs SQL, for example to change the past.
func (b *environment) exec(sql string, args ...any) {
	b.t.Helper()
	_, err := b.Pool().Exec(b.t.Context(), sql, args...)
	require.NoError(b.t, err)
}

// value returns the result of a query with one column and one row.
func value[T any](b *environment, sql string, args ...any) T {
	b.t.Helper()
	var v T
	require.NoError(b.t, b.Pool().QueryRow(b.t.Context(), sql, args...).Scan(&v))
	return v
}

// delivery is an appointment webhook, without a webhook id if webhookID is empty.
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
func (b *environment) commit(w *store.Writer, d store.Delivery) uuid.UUID {
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
