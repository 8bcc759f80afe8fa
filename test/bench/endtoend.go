package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/bench/load"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgproxy"
)

const (
	// prelude is how many events go before those that are counted, so that connections are open and programs warm.
	prelude = 100
	// timeout is how long a measurement may take at most.
	timeout = 10 * time.Minute
)

const (
	measureDone     = "events done a second"
	measureCPU      = "own CPU an event, ms"
	measureAppCPU   = "of which its processes"
	measurePgCPU    = "of which Postgres"
	measureWAL      = "Postgres WAL an event, bytes"
	measureTrips    = "Postgres round trips an event"
	measureEtcd     = "etcd received an event, bytes"
	measureEtcdWAL  = "etcd WAL an event, bytes"
	measureRequests = "API requests an event: "
)

// endToEnd measures how long it takes until the last of many events is done in every respect, and what that costs; beside it, how fast the
// same API server takes the writes alone.
func (e *environment) endToEnd(ctx context.Context, r record) error {
	cluster, err := startControlPlane(ctx)
	if err != nil {
		return err
	}
	defer cluster.Close() //nolint:errcheck // It is killed; what is left goes with this process.
	requests := e.supply(prelude + e.options.events)
	for _, name := range []string{veritySync, riverName, pgbossName} {
		if err := e.endToEndOf(ctx, r, name, cluster, requests); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, f := range floors {
		rate, err := f.measure(ctx, cluster, e.options.events)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		e.options.say("  %s: %s/s", f.name, figure(rate))
		r.add(measureDone, f.name, rate)
	}
	// measureCPU is in milliseconds.
	own := r.last(measureCPU, veritySync) / 1e3 / float64(runtime.NumCPU())
	r.add(measureDone, sharedFloor, 1/(1/r.last(measureDone, neededWrites.name)+own))
	return nil
}

func (e *environment) endToEndOf(
	ctx context.Context, r record, name string, cluster *controlplane.ControlPlane, requests []load.Request,
) error {
	system, err := e.startSystem(ctx, name, setup{work: true, kubeconfig: cluster.Kubeconfig()})
	if err != nil {
		return err
	}
	defer system.Close() //nolint:errcheck // What a system leaves goes with this process.
	supply := load.NewSupply(requests)
	if err := e.drive(ctx, system, supply, 0, prelude); err != nil {
		return err
	}
	if err := e.settle(ctx); err != nil {
		return err
	}
	before, err := e.take(ctx, system, cluster)
	if err != nil {
		return err
	}
	if err := e.drive(ctx, system, supply, prelude, e.options.events); err != nil {
		return err
	}
	after, err := e.take(ctx, system, cluster)
	if err != nil {
		return err
	}
	r.enter(name, before, after, e.options.events)
	e.options.say("  %-11s: %s/s, %s ms own CPU an event", name, figure(float64(e.options.events)/after.at.Sub(before.at).Seconds()),
		figure(r.last(measureCPU, name)))
	return e.check(ctx, prelude+e.options.events)
}

// enter adds what was used between two accounts.
func (r record) enter(name string, before, after account, events int) {
	n := float64(events)
	r.add(measureDone, name, n/after.at.Sub(before.at).Seconds())
	app, database := after.app-before.app, after.database-before.database
	r.addDuration(measureCPU, name, (app+database)/time.Duration(events))
	r.addDuration(measureAppCPU, name, app/time.Duration(events))
	r.addDuration(measurePgCPU, name, database/time.Duration(events))
	r.add(measureWAL, name, (after.wal-before.wal)/n)
	if after.requests == nil {
		return
	}
	r.add(measureEtcd, name, (after.etcdReceived-before.etcdReceived)/n)
	r.add(measureEtcdWAL, name, (after.etcdLogged-before.etcdLogged)/n)
	for what, count := range after.requests {
		r.add(measureRequests+what, name, (count-before.requests[what])/n)
	}
}

// last is the newest figure.
func (r record) last(measure, system string) float64 {
	values := r[key{measure, system}]
	return values[len(values)-1]
}

// drive posts n events after those that there are, and waits until all of them are done in every respect.
func (e *environment) drive(ctx context.Context, system *running, supply *load.Supply, there, n int) error {
	result, err := load.Count(ctx, system.address, supply, connections, n)
	if err != nil {
		return err
	}
	if result.Acknowledged != n {
		return fmt.Errorf("%d of %d webhooks were acknowledged", result.Acknowledged, n)
	}
	return system.finished(ctx, there+n)
}

// finished waits until n events are done: the row says so, and with verity-sync the WebhookEvent.
func (r *running) finished(ctx context.Context, n int) error {
	if err := await(ctx, timeout, func() (bool, error) {
		done, err := query[int](ctx, r.database, "SELECT count(*) FROM webhook_events WHERE status = 'done'")
		return done >= n, err
	}); err != nil || r.system == nil {
		return err
	}
	unfinished := []client.ListOption{client.InNamespace(r.system.Namespace), client.Limit(1)}
	for _, phase := range []v1alpha1.WebhookEventPhase{v1alpha1.PhasePending, v1alpha1.PhaseProcessing} {
		options := append(slices.Clone(unfinished), client.MatchingFields{"status.phase": string(phase)})
		if err := await(ctx, timeout, func() (bool, error) {
			var left v1alpha1.WebhookEventList
			err := r.system.Kubernetes.List(ctx, &left, options...)
			return len(left.Items) == 0, err
		}); err != nil {
			return err
		}
	}
	return nil
}

// check fails where an event was not forwarded or a lead was not written: what is fast and wrong is not measured.
func (e *environment) check(ctx context.Context, events int) error {
	if forwarded := len(e.verity.Deliveries()); forwarded != events {
		return fmt.Errorf("%d of %d events were forwarded", forwarded, events)
	}
	leads, err := query[int](ctx, e.verityPool, "SELECT count(DISTINCT contact_id) FROM leads WHERE ghl_appointment_id IS NOT NULL")
	if err != nil {
		return err
	}
	if want := min(events, people); leads != want {
		return fmt.Errorf("%d of %d contacts have a lead with an appointment", leads, want)
	}
	return nil
}

// trips counts the round trips to Postgres, through a proxy that would be in the way of other figures.
func (e *environment) trips(ctx context.Context, r record) error {
	cluster, err := startControlPlane(ctx)
	if err != nil {
		return err
	}
	defer cluster.Close() //nolint:errcheck // It is killed; what is left goes with this process.
	const events = 1000
	requests := e.supply(prelude + events)
	for _, name := range []string{veritySync, riverName, pgbossName} {
		if err := e.tripsOf(ctx, r, name, cluster, requests, events); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (e *environment) tripsOf(ctx context.Context, r record, name string, cluster *controlplane.ControlPlane, requests []load.Request,
	events int,
) (err error) {
	p, err := pgproxy.NewDelayed(ctx, e.postgres.URL(), 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	system, err := e.startSystem(ctx, name, setup{work: true, kubeconfig: cluster.Kubeconfig(), database: p})
	if err != nil {
		return err
	}
	defer system.Close() //nolint:errcheck // What a system leaves goes with this process.
	supply := load.NewSupply(requests)
	if err := e.drive(ctx, system, supply, 0, prelude); err != nil {
		return err
	}
	before := p.Trips()
	if err := e.drive(ctx, system, supply, prelude, events); err != nil {
		return err
	}
	r.add(measureTrips, name, float64(p.Trips()-before)/float64(events))
	e.options.say("  %-11s: %s round trips an event", name, figure(r.last(measureTrips, name)))
	return nil
}

func renderEndToEnd(r record) string {
	systems := []string{veritySync, riverName, pgbossName}
	measures := []string{measureDone, measureCPU, measureAppCPU, measurePgCPU, measureWAL, measureEtcd, measureEtcdWAL}
	var requests []string
	for k := range r {
		if strings.HasPrefix(k.measure, measureRequests) && r.median(k.measure, veritySync) >= 0.001 {
			requests = append(requests, k.measure)
		}
	}
	slices.Sort(requests)
	var out strings.Builder
	out.WriteString(r.table(systems, append(measures, requests...)...))
	out.WriteString("\n| the API server alone | " + measureDone + " |\n| --- | ---: |\n")
	for _, f := range floors {
		fmt.Fprintf(&out, "| %s | %s |\n", f.name, r.cell(measureDone, f.name))
	}
	fmt.Fprintf(&out, "| %s | %s |\n\n", sharedFloor, r.cell(measureDone, sharedFloor))
	for _, aim := range []aim{
		atLeast("0.9 × the floor of the writes that it needs", r.ratio(measureDone, veritySync, neededWrites.name), 0.9),
		atLeast("0.9 × the same floor on the cores that its own CPU leaves", r.ratio(measureDone, veritySync, sharedFloor), 0.9),
		atMost("own CPU of an event less than River's", r.ratio(measureCPU, veritySync, riverName), 1, " ×"),
	} {
		fmt.Fprintln(&out, aim)
	}
	return out.String()
}

func renderTrips(r record) string {
	return r.table([]string{veritySync, riverName, pgbossName}, measureTrips)
}
