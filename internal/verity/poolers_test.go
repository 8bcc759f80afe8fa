package verity_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	pgdatabase "github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
	"github.com/dfmiddleware/verity-sync/internal/verity"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgbouncer"
)

// permissive makes PgBouncer accept and drop the parameters that it does not forward.
var permissive = map[string]string{"ignore_startup_parameters": pgbouncer.Permissive}

// poolers are the ways to connect to a database. nil is a direct connection.
var poolers = map[string]*pgbouncer.Options{
	"directly":                 nil,
	"sessions":                 {Mode: "session"},
	"sessions, permissive":     {Mode: "session", Settings: permissive},
	"transactions":             {Mode: "transaction"},
	"transactions, permissive": {Mode: "transaction", Settings: permissive},
}

// newOwnDatabase returns a separate database of Verity, and its URL through a pooler.
func newOwnDatabase(t *testing.T, options *pgbouncer.Options, statements ...string) (db *database, through string) {
	t.Helper()
	db = &database{t: t, url: testenv.Database(t, statements...)}
	pool, err := pgxpool.New(t.Context(), db.url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	db.pool = pool
	through = db.url
	if options != nil {
		_, through = testenv.PgBouncer(t, db.url, *options)
	}
	return db, through
}

func TestLeadsAreWrittenBehindAPooler(t *testing.T) {
	t.Parallel()
	for name, options := range poolers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, through := newOwnDatabase(t, options, schemas["uuid"])
			leads := openLeads(t, verity.LeadsConfig{URL: through})
			require.NoError(t, leads.Check(t.Context()))
			findings, err := leads.Inspect(t.Context())
			require.NoError(t, err)
			assert.Empty(t, slices.DeleteFunc(findings, func(f preflight.Finding) bool {
				return f.Severity == preflight.OK || f.Check == verity.CheckIndexes
			}))
			var all sync.WaitGroup
			for range 8 {
				contacts := []string{db.contact(), db.contact(), db.contact()}
				all.Go(func() {
					for i := range 30 {
						contact := contacts[i%3]
						_, _, err := leads.FindContact(t.Context(), []string{"+12055550142"}, "ada@example.com")
						assert.NoError(t, err)
						_, err = leads.SyncLead(t.Context(), contact, func(context.Context) (verity.Desired, error) {
							return verity.Desired{
								AppointmentID: fmt.Sprint("apt_", i), Spare: &verity.Spare{Known: []string{fmt.Sprint("apt_", i-3)}},
							}, nil
						})
						assert.NoError(t, err)
					}
				})
			}
			all.Wait()
			assert.Equal(t, "24", db.query(`SELECT count(*)::text FROM leads WHERE ghl_appointment_id IN ('apt_27', 'apt_28', 'apt_29')`))
		})
	}
}

func TestAFrozenWriterBehindAPoolerDoesNotBlockOthers(t *testing.T) {
	t.Parallel()
	db, through := newOwnDatabase(t, &pgbouncer.Options{Mode: "transaction"}, schemas["uuid"])
	contact := db.contact()
	frozen := openLeads(t, verity.LeadsConfig{URL: withSettings(t, through, "idle_in_transaction_session_timeout", "500ms")})
	began, thaw := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(thaw) })
	go func() {
		_, _ = frozen.SyncLead(context.WithoutCancel(t.Context()), contact, func(context.Context) (verity.Desired, error) {
			close(began)
			<-thaw
			return verity.Desired{}, nil
		})
	}()
	<-began
	result, err := openLeads(t, verity.LeadsConfig{URL: through}).SyncLead(t.Context(), contact, desire("apt_1"))
	require.NoError(t, err)
	assert.Equal(t, verity.LeadInserted, result.Outcome)
}

func TestAPoolerThatForbidsTransactionsIsReported(t *testing.T) {
	t.Parallel()
	db, through := newOwnDatabase(t, &pgbouncer.Options{Mode: "statement"}, schemas["uuid"])
	leads := openLeads(t, verity.LeadsConfig{URL: through})
	require.ErrorIs(t, leads.Check(t.Context()), pgdatabase.ErrUnusable)
	_, err := leads.SyncLead(t.Context(), db.contact(), desire("apt_1"))
	assert.Equal(t, destination.Unavailable, destination.ClassOf(err))
	require.ErrorContains(t, err, "pool_mode=statement")
}
