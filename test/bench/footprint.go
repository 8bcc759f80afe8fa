package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/test/bench/load"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

const (
	measureReady  = "start to ready, s"
	measureLive   = "memory with 1,500 unfinished events, MiB"
	measureAtMost = "peak until then, MiB"
	receiverName  = "receiver"
	controller    = "controller"
	liveEvents    = 1500
)

// footprint measures how soon the processes are ready, and how much memory they need with many events that wait.
func (e *environment) footprint(ctx context.Context, r record) error {
	cluster, err := startControlPlane(ctx)
	if err != nil {
		return err
	}
	defer cluster.Close() //nolint:errcheck // It is killed; what is left goes with this process.
	down := fault.Status(http.StatusServiceUnavailable)
	down.Times = -1
	if err := e.verity.Faults.Add(down); err != nil {
		return err
	}
	defer e.verity.Faults.Clear()
	for _, name := range []string{veritySync, riverName, pgbossName} {
		if err := e.footprintOf(ctx, r, name, cluster); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (e *environment) footprintOf(ctx context.Context, r record, name string, cluster *controlplane.ControlPlane) error {
	s, err := e.startSystem(ctx, name, setup{work: true, kubeconfig: cluster.Kubeconfig()})
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // What a system leaves goes with this process.
	if s.system == nil {
		r.add(measureReady, name, s.ready.Seconds())
	} else if err := restart(ctx, r, s); err != nil {
		return err
	}
	if name == pgbossName {
		return nil // It does not try again by itself.
	}
	if _, err := load.Count(ctx, s.address, load.NewSupply(e.supply(liveEvents)), connections, liveEvents); err != nil {
		return err
	}
	attempted := "SELECT count(*) FROM river_job WHERE attempt > 0"
	processes := map[string]int{name: s.intake}
	if s.system != nil {
		// An attempt that met a destination that is down does not count.
		attempted = "SELECT count(*) FROM webhook_events WHERE started_at IS NOT NULL AND status = 'pending'"
		processes = map[string]int{receiverName: s.system.Receivers[0].PID(), controller: s.system.Controllers[0].PID()}
	}
	if err := await(ctx, timeout, func() (bool, error) {
		tried, err := query[int](ctx, s.database, attempted)
		return tried >= liveEvents, err
	}); err != nil {
		return err
	}
	for process, pid := range processes {
		for measure, field := range map[string]string{measureLive: "VmRSS", measureAtMost: "VmHWM"} {
			bytes, err := proc.Memory(pid, field)
			if err != nil {
				return err
			}
			r.add(measure, process, float64(bytes)/(1<<20))
		}
		e.options.say("  %-11s: ready after %s s, %s MiB, at most %s MiB", process, figure(r.last(measureReady, process)),
			figure(r.last(measureLive, process)), figure(r.last(measureAtMost, process)))
	}
	return nil
}

// restart restarts verity-sync's processes one by one, so that none waits for another.
func restart(ctx context.Context, r record, s *running) error {
	for name, p := range map[string]*system.Process{receiverName: s.system.Receivers[0], controller: s.system.Controllers[0]} {
		if err := p.Stop(); err != nil {
			return err
		}
		began := time.Now()
		if err := p.Start(ctx); err != nil {
			return err
		}
		r.add(measureReady, name, time.Since(began).Seconds())
	}
	return nil
}

func renderFootprint(r record) string {
	var out strings.Builder
	out.WriteString(r.table([]string{receiverName, controller, riverName, pgbossName}, measureReady, measureLive, measureAtMost))
	out.WriteByte('\n')
	for _, aim := range []aim{
		atMost("controller under 96 MiB with 1,500 live WebhookEvents", r.median(measureLive, controller), 96, " MiB"),
		atMost("receiver ready in under 1 s", r.median(measureReady, receiverName), 1, " s"),
		atMost("controller ready in under 3 s", r.median(measureReady, controller), 3, " s"),
	} {
		fmt.Fprintln(&out, aim)
	}
	return out.String()
}
