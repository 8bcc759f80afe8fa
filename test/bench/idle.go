package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/bench/load"
	"github.com/dfmiddleware/verity-sync/test/bench/stats"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
)

const (
	measureIdleP50 = "sent to done, p50, ms"
	measureIdleP90 = "sent to done, p90, ms"
	// idleEvents are posted one by one, each when the one before has been done for idlePause.
	idleEvents = 20
	idlePause  = 250 * time.Millisecond
)

// idle measures how long a single event takes on a system that has nothing else to do.
func (e *environment) idle(ctx context.Context, r record) error {
	cluster, err := startControlPlane(ctx)
	if err != nil {
		return err
	}
	defer cluster.Close() //nolint:errcheck // It is killed; what is left goes with this process.
	for _, name := range []string{veritySync, riverName, pgbossName} {
		if err := e.idleOf(ctx, r, name, cluster); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (e *environment) idleOf(ctx context.Context, r record, name string, cluster *controlplane.ControlPlane) error {
	system, err := e.startSystem(ctx, name, setup{work: true, kubeconfig: cluster.Kubeconfig()})
	if err != nil {
		return err
	}
	defer system.Close() //nolint:errcheck // What a system leaves goes with this process.
	supply := load.NewSupply(e.supply(prelude + idleEvents))
	if err := e.drive(ctx, system, supply, 0, prelude); err != nil {
		return err
	}
	wait, stop, err := system.watchDone(ctx, prelude)
	if err != nil {
		return err
	}
	defer stop()
	var latencies []time.Duration
	for range idleEvents {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(idlePause):
		}
		began := time.Now()
		if _, err := load.Count(ctx, system.address, supply, 1, 1); err != nil {
			return err
		}
		if err := wait(ctx); err != nil {
			return err
		}
		latencies = append(latencies, time.Since(began))
	}
	r.addDuration(measureIdleP50, name, stats.Percentile(latencies, 50))
	r.addDuration(measureIdleP90, name, stats.Percentile(latencies, 90))
	e.options.say("  %-11s: p50 %s ms, p90 %s ms", name, figure(r.last(measureIdleP50, name)), figure(r.last(measureIdleP90, name)))
	return nil
}

// watchDone returns a function that waits until one more event is done than at its last call: what a watch of the WebhookEvents says where
// there are any, else the row, which is asked for every millisecond.
func (r *running) watchDone(ctx context.Context, done int) (wait func(context.Context) error, stop func(), err error) {
	if r.system == nil {
		return func(ctx context.Context) error {
			done++
			return r.awaitRows(ctx, done)
		}, func() {}, nil
	}
	var there v1alpha1.WebhookEventList
	if err := r.system.Kubernetes.List(ctx, &there, client.InNamespace(r.system.Namespace)); err != nil {
		return nil, nil, fmt.Errorf("list WebhookEvents: %w", err)
	}
	finished := map[string]bool{}
	for i := range there.Items {
		finished[there.Items[i].Name] = true
	}
	events, err := r.system.Kubernetes.Watch(ctx, &v1alpha1.WebhookEventList{}, client.InNamespace(r.system.Namespace))
	if err != nil {
		return nil, nil, fmt.Errorf("watch WebhookEvents: %w", err)
	}
	return func(ctx context.Context) error { return nextDone(ctx, events, finished) }, events.Stop, nil
}

// nextDone waits until an event is done that was not.
func nextDone(ctx context.Context, events watch.Interface, finished map[string]bool) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, open := <-events.ResultChan():
			if !open {
				return errors.New("the watch of WebhookEvents has ended")
			}
			object, ok := e.Object.(*v1alpha1.WebhookEvent)
			if ok && object.Status.Phase == v1alpha1.PhaseDone && !finished[object.Name] {
				finished[object.Name] = true
				return nil
			}
		}
	}
}

func (r *running) awaitRows(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		done, err := query[int](ctx, r.database, "SELECT count(*) FROM webhook_events WHERE status = 'done'")
		if err != nil || done >= n {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for an event: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

func renderIdle(r record) string {
	var out strings.Builder
	out.WriteString(r.table([]string{veritySync, riverName, pgbossName}, measureIdleP50, measureIdleP90))
	fmt.Fprintf(&out, "\n%s\n", atMost("p50 under 50 ms", r.median(measureIdleP50, veritySync), 50, " ms"))
	return out.String()
}
