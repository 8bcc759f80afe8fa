package verity_test

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// waitForLock waits until that many sessions of the test wait for a lock. Their application_name is the test's name.
func (db *database) waitForLock(sessions int) {
	db.t.Helper()
	assert.Eventually(db.t, func() bool {
		// Sessions of other tests may wait on the same server.
		return db.query(`SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = $1`,
			db.t.Name()) == strconv.Itoa(sessions)
	}, time.Minute, 2*time.Millisecond)
}

func TestTwoProcessesNeverInsertTwoLeadsForAContact(t *testing.T) {
	t.Parallel()
	// Verity's administrator may have configured any isolation level as the default.
	for _, level := range []string{"read committed", "repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, schemas["uuid"])
			processes := []*verity.Leads{
				db.open("default_transaction_isolation", level), db.open("default_transaction_isolation", level),
			}
			const contacts, writers = 5, 12
			var inserted atomic.Int32
			var group errgroup.Group
			ids := make([]string, contacts)
			for c := range ids {
				ids[c] = db.contact()
				for w := range writers {
					group.Go(func() error {
						result, err := processes[w%2].SyncLead(t.Context(), ids[c], desire(fmt.Sprintf("apt_%d", w)))
						if result.Outcome == verity.LeadInserted {
							inserted.Add(1)
						}
						return err
					})
				}
			}
			require.NoError(t, group.Wait())
			assert.EqualValues(t, contacts, inserted.Load())
			for _, id := range ids {
				assert.Len(t, db.appointments(id), 1)
			}
		})
	}
}

func TestTheLaterWriterReadsLater(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, schemas["uuid"])
	contact := db.contact()
	first, second := db.open(), db.open("application_name", t.Name())

	// The appointment in the middleware database, which changes while the first writer holds the lock.
	var known atomic.Value
	known.Store("apt_1")
	read := func() verity.Desired {
		appointment, _ := known.Load().(string)
		return verity.Desired{AppointmentID: appointment}
	}
	var group errgroup.Group
	_, err := first.SyncLead(t.Context(), contact, func(context.Context) (verity.Desired, error) {
		stale := read()
		group.Go(func() error {
			_, err := second.SyncLead(t.Context(), contact, func(context.Context) (verity.Desired, error) { return read(), nil })
			return err
		})
		db.waitForLock(1)
		known.Store("apt_2")
		return stale, nil
	})
	require.NoError(t, err)
	require.NoError(t, group.Wait())
	assert.Equal(t, []string{"apt_2 active"}, db.appointments(contact))
}

func TestTheLaterWriterSetsALaterActivity(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		// between is executed between the first writer and the second.
		between string
		second  verity.Desired
	}{
		"a lead is updated":        {``, verity.Desired{AppointmentID: "apt_2"}},
		"another lead is updated":  {``, verity.Desired{AppointmentID: "apt_2", Scope: verity.OtherLeads}},
		"a lead is cleared":        {``, verity.Desired{Ended: []string{"apt_1"}}},
		"a lead is inserted again": {`DELETE FROM leads`, verity.Desired{AppointmentID: "apt_2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, schemas["uuid"])
			contact := db.contact()
			first, second := db.open(), db.open("application_name", t.Name())
			var group errgroup.Group
			_, err := first.SyncLead(t.Context(), contact, func(context.Context) (verity.Desired, error) {
				group.Go(func() error {
					_, err := second.SyncLead(t.Context(), contact, func(context.Context) (verity.Desired, error) {
						db.exec(`CREATE TABLE earlier AS SELECT clock_timestamp() AS at`)
						db.exec(test.between)
						return test.second, nil
					})
					return err
				})
				db.waitForLock(1) // Its transaction has begun.
				return verity.Desired{AppointmentID: "apt_1"}, nil
			})
			require.NoError(t, err)
			require.NoError(t, group.Wait())
			assert.Equal(t, "true", db.query(`SELECT (last_activity_at > at)::text FROM leads, earlier`))
			assert.Equal(t, "true", db.query(`SELECT (last_activity_at >= created_at)::text FROM leads`))
		})
	}
}

func TestContactsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, schemas["uuid"])
	one, other := db.contact(), db.contact()
	leads, others := db.open(), db.open()
	_, err := leads.SyncLead(t.Context(), one, func(ctx context.Context) (verity.Desired, error) {
		_, err := others.SyncLead(ctx, other, desire("apt_2"))
		return verity.Desired{AppointmentID: "apt_1"}, err
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"apt_1 active"}, db.appointments(one))
	assert.Equal(t, []string{"apt_2 active"}, db.appointments(other))
}

func TestALeadThatVerityInsertsAtTheSameTimeIsUpdated(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, schemas["uuid"])
	db.exec(`CREATE UNIQUE INDEX ON leads (contact_id)`)
	contact := db.contact()
	leads := db.open("application_name", t.Name())

	theirs, err := db.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = theirs.Exec(t.Context(), `INSERT INTO leads (contact_id) VALUES ($1)`, contact)
	require.NoError(t, err)

	var group errgroup.Group
	var result verity.Result
	group.Go(func() (err error) {
		result, err = leads.SyncLead(t.Context(), contact, desire("apt_1"))
		return err
	})
	db.waitForLock(1)
	require.NoError(t, theirs.Commit(t.Context()))
	require.NoError(t, group.Wait())
	assert.Equal(t, verity.Result{Outcome: verity.LeadUpdated, Leads: 1}, result)
	assert.Equal(t, []string{"apt_1 active"}, db.appointments(contact))
}

func TestAFrozenWriterDoesNotLockItsContactForever(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, schemas["uuid"])
	contact := db.contact()
	frozen, awake := db.open("idle_in_transaction_session_timeout", "500ms"), db.open()

	_, err := frozen.SyncLead(t.Context(), contact, func(ctx context.Context) (verity.Desired, error) {
		_, err := awake.SyncLead(ctx, contact, desire("apt_2"))
		return verity.Desired{AppointmentID: "apt_1"}, err
	})
	require.Error(t, err, "the server ended its transaction in the meantime")
	assert.Equal(t, destination.Transient, destination.ClassOf(err))
	assert.Equal(t, []string{"apt_2 active"}, db.appointments(contact))
}
