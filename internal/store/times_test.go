package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// notes are two events of one entity, in the order of their ids.
const notes = `
INSERT INTO webhook_events (id, received_at, source, event_type, entity_type, entity_id, ordering_key, payload_json, body_hash, dedupe_key)
SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, now() + n * interval '1 microsecond', 'ghl', 'note.updated', 'note', 'n', 'note:n',
       '{}', '\x00', 'ghl:' || n
FROM generate_series(1, 2) n`

var (
	first  = uuid.MustParse("00000000-0000-0000-0000-000000000001")
	second = uuid.MustParse("00000000-0000-0000-0000-000000000002")
)

// held runs f while a transaction holds a lock for which f must wait. It returns the database's time of the release of the lock.
func (b *environment) held(lock string, meanwhile func(pgx.Tx), f func() error) (released time.Time) {
	b.t.Helper()
	ended := make(chan error, 1)
	require.NoError(b.t, pgx.BeginFunc(b.t.Context(), b.Pool(), func(tx pgx.Tx) error {
		_, err := tx.Exec(b.t.Context(), lock)
		require.NoError(b.t, err)
		var holder int
		require.NoError(b.t, tx.QueryRow(b.t.Context(), `SELECT pg_backend_pid()`).Scan(&holder))
		go func() { ended <- f() }()
		require.Eventually(b.t, func() bool {
			return value[bool](b, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))`, holder)
		}, time.Minute, 2*time.Millisecond, "it waits for the lock")
		if meanwhile != nil {
			meanwhile(tx)
		}
		return tx.QueryRow(b.t.Context(), `SELECT clock_timestamp()`).Scan(&released)
	}))
	require.NoError(b.t, <-ended)
	return released
}

func TestAClaimThatWaitedBeginsAfterTheFinishThatItSaw(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	b.exec(notes)
	// A new connection: on one that has prepared the statement, a claim has started when it waits for the table.
	db := open(t, b.url)
	term, err := db.AcquireTerm(t.Context(), "one")
	require.NoError(t, err)
	_, err = db.Claim(t.Context(), first, term)
	require.NoError(t, err)
	_, err = db.Claim(t.Context(), second, term)
	require.ErrorIs(t, err, store.ErrNotClaimable, "the first one is not finished")

	var claimed *store.Attempt
	b.held(`LOCK TABLE webhook_events IN ACCESS EXCLUSIVE MODE`, func(tx pgx.Tx) {
		_, err := tx.Exec(t.Context(), `UPDATE webhook_events SET status = 'done', processed_at = clock_timestamp() WHERE id = $1`, first)
		require.NoError(t, err)
	}, func() (err error) {
		claimed, err = db.Claim(t.Context(), second, term)
		return err
	})

	finished := value[time.Time](b, `SELECT processed_at FROM webhook_events WHERE id = $1`, first)
	started := value[time.Time](b, `SELECT started_at FROM webhook_events WHERE id = $1`, second)
	assert.Greater(t, started, finished)
	assert.True(t, started.Equal(claimed.StartedAt), "the recorded time is returned")
}

func TestARecordedTimeIsLaterThanTheChangesThatTheStatementWaitedFor(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		table string
		// prepare returns the statement that must wait.
		prepare func(*testing.T, *environment) func(context.Context) error
		time    string
	}{
		"a claim": {
			"webhook_events",
			func(t *testing.T, b *environment) func(context.Context) error {
				term, err := b.AcquireTerm(t.Context(), "one")
				require.NoError(t, err)
				return func(ctx context.Context) error {
					_, err := b.Claim(ctx, first, term)
					return err
				}
			}, `SELECT started_at FROM webhook_events WHERE status = 'processing'`,
		},
		"the end of an event": {
			"webhook_events",
			func(t *testing.T, b *environment) func(context.Context) error {
				return b.finishing(t, store.AttemptResult{Status: store.StatusDone})
			},
			`SELECT processed_at FROM webhook_events WHERE status = 'done'`,
		},
		"the delay until another attempt": {
			"webhook_events",
			func(t *testing.T, b *environment) func(context.Context) error {
				return b.finishing(t, store.AttemptResult{Status: store.StatusPending, Delay: time.Hour})
			},
			`SELECT next_attempt_at - interval '1 hour' FROM webhook_events WHERE next_attempt_at IS NOT NULL`,
		},
		"the end of an event that the API server refuses": {
			"webhook_events",
			func(_ *testing.T, b *environment) func(context.Context) error {
				return func(ctx context.Context) error { return b.MarkUnacceptable(ctx, first, "Rejected", "invalid") }
			}, `SELECT processed_at FROM webhook_events WHERE status = 'error'`,
		},
		"a term": {
			"controller_term",
			func(_ *testing.T, b *environment) func(context.Context) error {
				return func(ctx context.Context) error {
					_, err := b.AcquireTerm(ctx, "two")
					return err
				}
			}, `SELECT since FROM controller_term`,
		},
		"the request of an audit": {
			"controller_term",
			func(_ *testing.T, b *environment) func(context.Context) error { return b.RequestAudit },
			`SELECT audit_requested_at FROM controller_term`,
		},
		"a contact that was synced": {
			"contact_mappings",
			func(_ *testing.T, b *environment) func(context.Context) error {
				return func(ctx context.Context) error {
					return b.ContactSynced(ctx, "c", store.AlowareContact{ID: "a", Phone: "+12055550142"}, time.Now())
				}
			}, `SELECT least(last_synced_at, updated_at) FROM contact_mappings`,
		},
		"a contact with a new value": {
			"contact_mappings",
			func(_ *testing.T, b *environment) func(context.Context) error {
				return func(ctx context.Context) error {
					return b.RememberContact(ctx, store.Mapping{GHLContactID: "c", Email: "ada@example.com"}, time.Now())
				}
			}, `SELECT updated_at FROM contact_mappings`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEnvironment(t)
			b.exec(notes)
			b.exec(`INSERT INTO contact_mappings (ghl_contact_id) VALUES ('c')`)
			run := test.prepare(t, b)
			released := b.held(`UPDATE `+test.table+` SET `+touched[test.table]+` = `+touched[test.table], nil, func() error { return run(t.Context()) })
			assert.Less(t, released, value[time.Time](b, test.time))
		})
	}
}

// touched is a column of each table that a write need not change.
var touched = map[string]string{"webhook_events": "source", "controller_term": "holder", "contact_mappings": "email"}

// finishing claims the first event and returns a function that finishes it.
func (b *environment) finishing(t *testing.T, f store.AttemptResult) func(context.Context) error {
	t.Helper()
	term, err := b.AcquireTerm(t.Context(), "one")
	require.NoError(t, err)
	claimed, err := b.Claim(t.Context(), first, term)
	require.NoError(t, err)
	return func(ctx context.Context) error {
		_, err := b.FinishAttempt(ctx, claimed, f)
		return err
	}
}

// The controller looks for a request that is later than the last one that it saw.
func TestEveryRequestOfAnAuditIsLaterThanTheOneBefore(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	b.exec(`UPDATE controller_term SET audit_requested_at = now() + interval '1 hour'`) // The clock has been set back since.
	seen, err := b.AuditRequestedAt(t.Context())
	require.NoError(t, err)

	require.NoError(t, b.RequestAudit(t.Context()))

	requested, err := b.AuditRequestedAt(t.Context())
	require.NoError(t, err)
	assert.Greater(t, requested, seen)
}

func TestTheLedgerHasTheTimesOfTheDatabase(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{
		"of a controller whose clock agrees":      0,
		"of a controller whose clock is ahead":    time.Hour,
		"of a controller whose clock lags behind": -time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEnvironment(t)
			b.exec(notes)
			term, err := b.AcquireTerm(t.Context(), "one")
			require.NoError(t, err)
			claimed, err := b.Claim(t.Context(), first, term)
			require.NoError(t, err)
			claimed.ClaimedAt = claimed.ClaimedAt.Add(ahead)
			started := time.Now().Add(ahead)
			b.exec(`SELECT 1`) // The operation.
			_, err = b.FinishAttempt(t.Context(), claimed, store.AttemptResult{Status: store.StatusDone, Ledger: []store.LedgerEntry{{
				Operation: store.OperationForward, Direction: store.DirectionToVerity, Status: store.LedgerSuccess,
				StartedAt: started, FinishedAt: time.Now().Add(ahead),
			}}})
			require.NoError(t, err)

			assert.True(t, value[bool](b, `
				SELECT e.started_at <= l.started_at AND l.started_at < l.finished_at AND l.finished_at <= e.processed_at
				FROM webhook_events e JOIN sync_log l ON l.webhook_event_id = e.id`),
				"the attempt begins, the operation begins and ends, the event ends")
		})
	}
}
