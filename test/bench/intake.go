package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/test/bench/load"
	"github.com/dfmiddleware/verity-sync/test/bench/stats"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgproxy"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

const (
	connections = 32
	// warmUp is how many webhooks are accepted before anything is measured: the live events are then at their limit, so the relay waits as
	// it does in a burst.
	warmUp = 1200
	// openRate is one that every system bears: half of what the slowest takes.
	openRate = 200
	// databaseDelay is what a Postgres in another zone may take longer.
	databaseDelay = 10 * time.Millisecond
	// most is how many webhooks a second are ready to be sent.
	most = 15_000
)

const (
	measureRate    = "acknowledged a second"
	measureP50     = "p50, ms"
	measureP99     = "p99, ms"
	measureOpenP50 = "p50 at 200 a second, ms"
	measureOpenP99 = "p99 at 200 a second, ms"
	measureHWM     = "peak memory, MiB"
	measureDelayed = ", Postgres 10 ms away"
	measureBusy    = ", while processing events"
)

// intake measures how fast webhooks are acknowledged, in each of three conditions.
func (e *environment) intake(ctx context.Context, r record) error {
	cluster, err := startControlPlane(ctx)
	if err != nil {
		return err
	}
	defer cluster.Close() //nolint:errcheck // It is killed; what is left goes with this process.
	requests := e.supply(warmUp + int(e.options.duration.Seconds()*(most+2*openRate)))
	peers := []string{veritySync, riverName, pgbossName}
	for _, condition := range []struct {
		suffix string
		work   bool
		delay  time.Duration
	}{{"", false, 0}, {measureDelayed, false, databaseDelay}, {measureBusy, true, 0}} {
		for _, name := range peers {
			s := setup{work: condition.work, kubeconfig: cluster.Kubeconfig()}
			if err := e.intakeOf(ctx, r, name, s, condition.suffix, condition.delay, requests); err != nil {
				return fmt.Errorf("%s%s: %w", name, condition.suffix, err)
			}
		}
		if !condition.work {
			if err := e.pgbench(ctx, r, condition.suffix, condition.delay); err != nil {
				return fmt.Errorf("pgbench%s: %w", condition.suffix, err)
			}
		}
	}
	return nil
}

func (e *environment) intakeOf(ctx context.Context, r record, name string, s setup, suffix string, delay time.Duration,
	requests []load.Request,
) (err error) {
	if delay > 0 {
		if s.database, err = pgproxy.NewDelayed(ctx, e.postgres.URL(), delay); err != nil {
			return err
		}
		defer s.database.Close() //nolint:errcheck // No connection uses it any more.
	}
	system, err := e.startSystem(ctx, name, s)
	if err != nil {
		return err
	}
	defer system.Close() //nolint:errcheck // What a system leaves goes with this process.
	supply := load.NewSupply(requests)
	if _, err := load.Count(ctx, system.address, supply, connections, warmUp); err != nil {
		return err
	}
	if name == veritySync && !s.work {
		if err := untilFull(ctx, system); err != nil {
			return err
		}
	}
	if err := e.settle(ctx); err != nil {
		return err
	}
	closed, err := load.Closed(ctx, system.address, supply, connections, e.options.duration)
	if err != nil {
		return err
	}
	e.enterLoad(r, name, suffix, closed)
	if suffix != "" {
		return nil
	}
	hwm, err := proc.Memory(system.intake, "VmHWM")
	if err != nil {
		return err
	}
	r.add(measureHWM, name, float64(hwm)/(1<<20))
	open, err := load.Open(ctx, system.address, supply, connections, openRate, e.options.duration)
	if err != nil {
		return err
	}
	r.addDuration(measureOpenP50, name, stats.Percentile(open.Latencies, 50))
	r.addDuration(measureOpenP99, name, stats.Percentile(open.Latencies, 99))
	return nil
}

// enterLoad adds the result of sending as fast as webhooks were accepted.
func (e *environment) enterLoad(r record, name, suffix string, result load.Result) {
	r.add(measureRate+suffix, name, result.Rate())
	r.addDuration(measureP50+suffix, name, stats.Percentile(result.Latencies, 50))
	r.addDuration(measureP99+suffix, name, stats.Percentile(result.Latencies, 99))
	e.options.say("  %-11s%s: %s/s, p50 %s ms, p99 %s ms, %d refused", name, suffix, figure(result.Rate()),
		figure(r.last(measureP50+suffix, name)), figure(r.last(measureP99+suffix, name)), result.Refused)
}

// untilFull waits until verity-sync has as many WebhookEvents as it may have.
func untilFull(ctx context.Context, system *running) error {
	const maxLive = 1000
	return await(ctx, time.Minute, func() (bool, error) {
		live, err := query[int](ctx, system.database, "SELECT count(*) FROM webhook_events WHERE dispatched_at IS NOT NULL")
		return live >= maxLive, err
	})
}

// lookEvery is the time between two checks whether a measurement is complete. Postgres answers a check, which costs the measured system a
// little, and a measurement ends later by half of this time; both are the same for all.
const lookEvery = 100 * time.Millisecond

// await repeats done until it returns true.
func await(ctx context.Context, timeout time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		if is, err := done(); is || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a measurement to end: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

// startControlPlane starts a durable one.
func startControlPlane(ctx context.Context) (*controlplane.ControlPlane, error) {
	crds, err := repo.Path("config", "crd", "bases")
	if err != nil {
		return nil, err
	}
	return controlplane.Start(ctx, controlplane.Options{CRDs: []string{crds}})
}

func renderIntake(r record) string {
	systems := []string{veritySync, riverName, pgbossName, pgbench}
	var out strings.Builder
	out.WriteString(r.table(systems, measureRate, measureP50, measureP99, measureOpenP50, measureOpenP99,
		measureRate+measureDelayed, measureP50+measureDelayed, measureP99+measureDelayed,
		measureRate+measureBusy, measureP50+measureBusy, measureP99+measureBusy, measureHWM))
	out.WriteByte('\n')
	// The peers work in the process that takes webhooks in, and cannot put that off.
	busyRate, busyP99 := measureRate+measureBusy, measureP99+measureBusy
	for _, aim := range []aim{
		atLeast("12 × pg-boss as it runs, with processing", r.ratioTo(measureRate, veritySync, busyRate, pgbossName), 12),
		atLeast("12 × pg-boss without processing", r.ratio(measureRate, veritySync, pgbossName), 12),
		atLeast("5 × River as it runs, with processing", r.ratioTo(measureRate, veritySync, busyRate, riverName), 5),
		atLeast("5 × River without processing", r.ratio(measureRate, veritySync, riverName), 5),
		atLeast("0.8 × pgbench", r.ratio(measureRate, veritySync, pgbench), 0.8),
		atMost("p99 a fifth of River's as it runs, with processing", r.ratioTo(measureP99, veritySync, busyP99, riverName), 0.2, " ×"),
		atMost("p99 a fifth of River's without processing", r.ratio(measureP99, veritySync, riverName), 0.2, " ×"),
		atMost("receiver under 64 MiB at full rate", r.median(measureHWM, veritySync), 64, " MiB"),
	} {
		fmt.Fprintln(&out, aim)
	}
	return out.String()
}
