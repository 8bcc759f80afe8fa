package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/test/bench/stats"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
)

// backlogs are how many events wait when the cost of one is measured.
var backlogs = []int{1_000, 10_000, 50_000}

const (
	// Each backlog has more events than its name says: those that go before what is counted, and those that are counted.
	backlogPrelude = 500
	backlogEvents  = 2000
)

func measureBacklogCPU(backlog int) string {
	return "own CPU an event, ms, with " + thousands(int64(backlog)) + " waiting"
}

func measureBacklogRate(backlog int) string {
	return measureDone + ", with " + thousands(int64(backlog)) + " waiting"
}

// backlog measures what an event costs while many wait behind it.
func (e *environment) backlog(ctx context.Context, r record) error {
	for _, n := range backlogs {
		cluster, err := startControlPlane(ctx)
		if err != nil {
			return err
		}
		for _, name := range []string{veritySync, riverName} {
			if err := e.backlogOf(ctx, r, name, n, cluster); err != nil {
				return errors.Join(fmt.Errorf("%s with %d: %w", name, n, err), cluster.Close())
			}
		}
		if err := cluster.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (e *environment) backlogOf(ctx context.Context, r record, name string, backlog int, cluster *controlplane.ControlPlane) error {
	system, err := e.startSystem(ctx, name, setup{work: true, kubeconfig: cluster.Kubeconfig()})
	if err != nil {
		return err
	}
	defer system.Close() //nolint:errcheck // What a system leaves goes with this process.
	if err := system.pile(ctx, e, backlog+backlogPrelude+backlogEvents); err != nil {
		return err
	}
	if err := e.settle(ctx); err != nil {
		return err
	}
	if err := system.reach(ctx, backlogPrelude); err != nil {
		return err
	}
	first, err := system.done(ctx)
	if err != nil {
		return err
	}
	before, err := e.take(ctx, system, nil)
	if err != nil {
		return err
	}
	if err := system.reach(ctx, first+backlogEvents); err != nil {
		return err
	}
	after, err := e.take(ctx, system, nil)
	if err != nil {
		return err
	}
	last, err := system.done(ctx)
	if err != nil {
		return err
	}
	n := last - first
	cost := (after.app + after.database - before.app - before.database) / time.Duration(n)
	r.addDuration(measureBacklogCPU(backlog), name, cost)
	r.add(measureBacklogRate(backlog), name, float64(n)/after.at.Sub(before.at).Seconds())
	e.options.say("  %-11s with %d behind: %s ms own CPU an event, %s/s", name, backlog, figure(r.last(measureBacklogCPU(backlog), name)),
		figure(r.last(measureBacklogRate(backlog), name)))
	return nil
}

func (r *running) done(ctx context.Context) (int, error) {
	return query[int](ctx, r.database, "SELECT count(*) FROM webhook_events WHERE status = 'done'")
}

// reach waits until so many rows are done.
func (r *running) reach(ctx context.Context, n int) error {
	return await(ctx, timeout, func() (bool, error) {
		done, err := r.done(ctx)
		return done >= n, err
	})
}

// pile inserts n events into the database, as a receiver stores them.
func (r *running) pile(ctx context.Context, e *environment, n int) error {
	body := string(e.webhook(0, time.Now()).Body)
	const rows = `
		INSERT INTO webhook_events (received_at, source, event_type, entity_type, entity_id, contact_id, appointment_status, payload_json,
			headers, dedupe_key, body_hash, ordering_key, occurred_at)
		SELECT now() - interval '1 minute' + n * interval '1 microsecond', 'ghl', 'appointment.created', 'appointment', 'appointment-' || n,
			'contact-' || n % $3, 'confirmed', $1::json, '{"Content-Type":"application/json"}', 'ghl:' || gen_random_uuid(),
			sha256(int4send(n)), 'appointment:appointment-' || n, now()
		FROM generate_series(1, $2) n`
	const jobs = `
		WITH stored AS (
			INSERT INTO webhook_events (source, event_type, entity_type, entity_id, payload_json, dedupe_key)
			SELECT 'ghl', 'appointment.created', 'appointment', 'appointment-' || n, $1::jsonb, 'ghl:' || gen_random_uuid()
			FROM generate_series(1, $2) n
			RETURNING id, entity_id)
		INSERT INTO river_job (args, kind, max_attempts, priority, queue, state, scheduled_at)
		SELECT jsonb_build_object('event_id', id, 'entity_id', entity_id,
			'contact_id', 'contact-' || substr(entity_id, length('appointment-') + 1)::int % $3),
			'webhook_event', 25, 1, 'default', 'available', now()
		FROM stored`
	statement := rows
	if r.system == nil {
		statement = jobs
	}
	if _, err := r.database.Exec(ctx, statement, body, n, people); err != nil {
		return fmt.Errorf("make a backlog: %w", err)
	}
	return nil
}

func renderBacklog(r record) string {
	var measures []string
	var costs []float64
	for _, n := range backlogs {
		measures = append(measures, measureBacklogCPU(n))
		costs = append(costs, r.median(measureBacklogCPU(n), veritySync))
	}
	for _, n := range backlogs {
		measures = append(measures, measureBacklogRate(n))
	}
	spread := stats.Spread(costs)
	if len(costs) == 0 || math.IsNaN(costs[0]) {
		spread = math.NaN()
	}
	var out strings.Builder
	out.WriteString(r.table([]string{veritySync, riverName}, measures...))
	fmt.Fprintf(&out, "\n%s\n", atMost("flat within 15 %", spread*100, 15, " %"))
	return out.String()
}
