package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store/dbsqlc"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

// plan is the executed plan of a statement.
type plan struct {
	nodes []node
	// pages is the number of pages that it read. Unlike the time, it does not depend on the load of the machine.
	pages int
}

// node is a step of a plan, as EXPLAIN prints it.
type node struct {
	Kind     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Index    string  `json:"Index Name"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Hit      int     `json:"Shared Hit Blocks"`
	Read     int     `json:"Shared Read Blocks"`
	Plans    []node
}

// errExplained ends every query of an explainer.
var errExplained = errors.New("explained")

// explainer makes Postgres run the statements of the store, explain them, and roll them back.
type explainer struct {
	pool *pgxpool.Pool
	last plan
	err  error
}

func (e *explainer) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, e.explain(ctx, sql, args)
}

func (e *explainer) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return nil, e.explain(ctx, sql, args)
}

func (e *explainer) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return explainedRow{e.explain(ctx, sql, args)}
}

type explainedRow struct{ err error }

func (r explainedRow) Scan(...any) error { return r.err }

func (e *explainer) explain(ctx context.Context, sql string, args []any) error {
	e.err = pgx.BeginFunc(ctx, e.pool, func(tx pgx.Tx) error {
		var text []byte
		if err := tx.QueryRow(ctx, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+sql, args...).Scan(&text); err != nil {
			return err
		}
		var explained []struct{ Plan node }
		if err := json.Unmarshal(text, &explained); err != nil {
			return err
		}
		e.last = plan{pages: explained[0].Plan.Hit + explained[0].Plan.Read}
		e.last.gather(explained[0].Plan)
		return errExplained // Rolls back.
	})
	return e.err
}

func (p *plan) gather(n node) {
	p.nodes = append(p.nodes, n)
	for _, child := range n.Plans {
		p.gather(child)
	}
}

// The tables after years of operation, during an outage.
const (
	finishedRows = 100_000
	// liveRows is the number of rows with a WebhookEvent in any backlog.
	liveRows = 500

	finishedEvents = `
INSERT INTO webhook_events (id, received_at, source, event_type, entity_type, entity_id, ordering_key, payload_json, body_hash, dedupe_key,
                            status, processed_at, dispatched_at, attempts)
SELECT gen_random_uuid(), now() - interval '60 days' + n * interval '10 seconds', 'ghl', 'contact.updated', 'contact', 'c' || n % 100000,
       'contact:c' || n % 100000, '{}', '\x00', 'done:' || n, CASE WHEN n % 1000 = 0 THEN 'error' ELSE 'done' END,
       now() - interval '60 days' + n * interval '10 seconds', now(), 1
FROM generate_series(1, $1::int) n`
	ledger = `
INSERT INTO sync_log (webhook_event_id, direction, operation, entity_type, status)
SELECT id, 'ghl_to_verity', 'verity.forward', entity_type, 'success' FROM webhook_events WHERE status = 'done' LIMIT 100000`

	// Every fifth event is the second one of its entity, and every fourth without a WebhookEvent is parked.
	pendingEvents = `
INSERT INTO webhook_events (id, received_at, source, event_type, entity_type, entity_id, ordering_key, payload_json, body_hash, dedupe_key,
                            dispatched_at, parked, next_attempt_at)
SELECT gen_random_uuid(), now() - interval '1 day' + n * interval '1 second', 'ghl', 'contact.updated', 'contact', e, 'contact:' || e, '{}',
       '\x00', 'pending:' || n, CASE WHEN n <= $3 THEN now() - interval '1 hour' END, n > $3 AND n % 4 = 0,
       CASE WHEN n > $3 AND n % 4 = 0 THEN now() + interval '1 hour' END
FROM (SELECT n, 'p' || n - CASE WHEN n % 5 = 0 THEN 1 ELSE 0 END AS e FROM generate_series($1::int, $2::int) n) n`
)

// statements runs each statement that is run for an event or regularly, and returns the plans by name.
func statements(t *testing.T, pool *pgxpool.Pool) map[string]plan {
	t.Helper()
	e := &explainer{pool: pool}
	q, ctx := dbsqlc.New(e), t.Context()
	one := func(sql string) (id uuid.UUID) {
		require.NoError(t, pool.QueryRow(ctx, sql).Scan(&id))
		return id
	}
	// The youngest event that may be claimed, the one behind it, and one that is being processed.
	first := one(`SELECT id FROM webhook_events WHERE dedupe_key = 'pending:494'`)
	second := one(`SELECT id FROM webhook_events WHERE dedupe_key = 'pending:495'`)
	fresh := one(`SELECT id FROM webhook_events WHERE dispatched_at IS NULL AND NOT parked AND status = 'pending' LIMIT 1`)
	working := one(`UPDATE webhook_events SET status = 'processing', claimed_term = 0, started_at = now() WHERE dedupe_key = 'pending:489' RETURNING id`)
	plans := map[string]plan{}
	for name, run := range map[string]func() error{
		"intake: InsertEvents": func() error {
			_, err := q.InsertEvents(ctx, insertOne())
			return err
		},
		"intake: NewestOfOrderingKeys": func() error {
			_, err := q.NewestOfOrderingKeys(ctx, []string{"contact:c7"})
			return err
		},
		"intake: EventsByDedupeKeys": func() error {
			_, err := q.EventsByDedupeKeys(ctx, []string{"done:7"})
			return err
		},
		"relay: FindOrphans": func() error { _, err := q.FindOrphans(ctx, 2); return err },
		"relay: ListUndispatched": func() error {
			_, err := q.ListUndispatched(ctx, dbsqlc.ListUndispatchedParams{MaxRows: 100, MaxReturning: 25})
			return err
		},
		"relay: CountLive": func() error { _, err := q.CountLive(ctx); return err },
		"relay: MarkDispatched": func() error {
			_, err := q.MarkDispatched(ctx, dbsqlc.MarkDispatchedParams{Ids: []uuid.UUID{fresh}, StartedAts: []time.Time{time.Unix(0, 0)}})
			return err
		},
		"controller: LoadEvent, of one that waits for another": func() error {
			_, err := q.LoadEvent(ctx, second)
			return err
		},
		"controller: ClaimEvent": func() error { _, err := q.ClaimEvent(ctx, dbsqlc.ClaimEventParams{ID: first}); return err },
		"controller: ClaimEvent, of one that waits for another": func() error {
			_, err := q.ClaimEvent(ctx, dbsqlc.ClaimEventParams{ID: second})
			return err
		},
		"controller: FinishAttempt": func() error {
			_, err := q.FinishAttempt(ctx, finishOne(working))
			return err
		},
		"controller: ListDispatched": func() error {
			_, err := q.ListDispatched(ctx, dbsqlc.ListDispatchedParams{GraceSeconds: 10, MaxRows: 500})
			return err
		},
		"controller: StatusOfEvents": func() error { _, err := q.StatusOfEvents(ctx, []uuid.UUID{first}); return err },
		"controller: ParkEvents":     func() error { _, err := q.ParkEvents(ctx, []uuid.UUID{first}); return err },
		"controller: UndispatchEvents": func() error {
			_, err := q.UndispatchEvents(ctx, []uuid.UUID{first})
			return err
		},
		"controller: DeleteFinishedBatch": func() error {
			_, err := q.DeleteFinishedBatch(ctx, dbsqlc.DeleteFinishedBatchParams{RetentionSeconds: (59 * 24 * time.Hour).Seconds(), MaxRows: 500})
			return err
		},
		"controller: CountReleasedForSlots": func() error {
			_, err := q.CountReleasedForSlots(ctx, "places:aloware")
			return err
		},
		"controller: ReleaseForSlots": func() error {
			_, err := q.ReleaseForSlots(ctx, dbsqlc.ReleaseForSlotsParams{LimitName: "places:aloware", MaxRows: 10})
			return err
		},
		"stats: ReadStats":    func() error { _, err := q.ReadStats(ctx); return err },
		"stats: CountBacklog": func() error { _, err := q.CountBacklog(ctx); return err },
	} {
		require.ErrorIs(t, run(), errExplained, name)
		plans[name] = e.last
	}
	return plans
}

func insertOne() dbsqlc.InsertEventsParams {
	one := func(s string) []string { return []string{s} }
	return dbsqlc.InsertEventsParams{
		Ids: []uuid.UUID{uuid.New()}, Ns: []int32{0}, Sources: one("ghl"), EventTypes: one("contact.updated"), EntityTypes: one("contact"),
		EntityIds: one("new"), LocationIds: one(""), ContactIds: one(""), AppointmentStatuses: one(""), PayloadsJson: one("{}"),
		PayloadsRaw: [][]byte{nil}, Truncateds: []bool{false}, Headers: one("{}"), DedupeKeys: one(uuid.NewString()),
		BodyHashes: [][]byte{{0}}, OrderingKeys: one("contact:new"), OccurredAts: []time.Time{{}},
	}
}

func finishOne(id uuid.UUID) dbsqlc.FinishAttemptParams {
	one := func(s string) []string { return []string{s} }
	return dbsqlc.FinishAttemptParams{
		ID: id, Status: "done", Attempts: 1, Attempt: 1, Operations: one("verity.forward"), Directions: one("ghl_to_verity"),
		TargetIds: one(""), Statuses: one("success"), ErrorMessages: one(""), Details: one("{}"), StartedAts: []time.Time{time.Now()},
		FinishedAts: []time.Time{time.Now()},
	}
}

// perEvent are the statements that are run for each event, and perBatch those that a batch of the relay shares.
var (
	perEvent = []string{
		"intake: InsertEvents", "relay: MarkDispatched", "controller: ClaimEvent", "controller: FinishAttempt",
	}
	perBatch = []string{"relay: FindOrphans", "relay: ListUndispatched", "relay: CountLive"}
)

const (
	relayBatch = 100
	// growth is the factor by which the cost of an event may grow, and depth the number of additional pages that a statement may read: indexes
	// become a page deeper with a hundred times as many rows.
	growth = 1.15
	depth  = 10
)

func TestTheCostOfAnEventDoesNotGrowWithTheBacklog(t *testing.T) {
	t.Parallel()
	// The timeouts of a store's connections are too short for this on a busy machine.
	// A separate database, since transactions of other tests would keep VACUUM from removing dead rows.
	url := testenv.Database(t)
	migrate(t, url)
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	exec := func(sql string, args ...any) {
		_, err := pool.Exec(t.Context(), sql, args...)
		require.NoError(t, err)
	}
	// A running autovacuum would keep VACUUM from removing dead rows.
	exec(`ALTER TABLE webhook_events SET (autovacuum_enabled = false)`)
	exec(`ALTER TABLE sync_log SET (autovacuum_enabled = false)`)
	exec(finishedEvents, finishedRows)
	exec(ledger)
	backlogs := []int{1_000, 10_000, 50_000}
	pages := map[string][]int{}
	pending := 0
	for _, backlog := range backlogs {
		exec(pendingEvents, pending+1, backlog, liveRows)
		pending = backlog
		exec(`VACUUM (ANALYZE) webhook_events`)
		exec(`VACUUM (ANALYZE) sync_log`)
		for name, p := range statements(t, pool) {
			pages[name] = append(pages[name], p.pages)
			for _, n := range p.nodes {
				assert.False(t, n.Kind == "Seq Scan" && (n.Relation == "webhook_events" || n.Relation == "sync_log"),
					"with %d unfinished, %s reads all of %s", backlog, name, n.Relation)
				assert.False(t, n.Kind == "Sort" && n.Rows*n.Loops > 2*liveRows, "with %d unfinished, %s sorts %.0f rows", backlog, name, n.Rows)
			}
		}
	}
	costs := make([]float64, len(backlogs))
	for i := range backlogs {
		for _, name := range perEvent {
			costs[i] += float64(pages[name][i])
		}
		for _, name := range perBatch {
			costs[i] += float64(pages[name][i]) / relayBatch
		}
	}
	t.Logf("pages that are looked at for an event, with %v unfinished ones: %.1f", backlogs, costs)
	assert.LessOrEqual(t, slices.Max(costs), costs[0]*growth)
	for name, p := range pages {
		t.Logf("%s: %v", name, p)
		if !strings.HasPrefix(name, "stats: ") { // Counts read all that they count; scrapes run them.
			assert.LessOrEqual(t, float64(slices.Max(p)), float64(p[0])*growth+depth, name)
		}
	}
}
