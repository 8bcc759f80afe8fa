package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/sim/fault"
	"github.com/dfmiddleware/verity-sync/internal/testenv/postgres"
)

// leaseDuration is how long a leader leads that does not say a word, and a little more.
const leaseDuration = 17 * time.Second

// kind is a way to break something.
type kind struct {
	name string
	// does breaks it for about as long, and mends it.
	does func(ctx context.Context, w *world, long time.Duration) error
	// marks says what may be seen meanwhile.
	marks Fault
}

var (
	forgets = Fault{Forgets: true}
	refuses = Fault{Refuses: true}
)

// kinds are all faults that are made.
func kinds() []kind {
	return []kind{
		{"a receiver is killed", endReceiver(func(r *replica) error { return r.Kill() }), refuses},
		{"a receiver is told to stop", endReceiver(func(r *replica) error { return r.Stop() }), refuses},
		{"the leader is killed", endLeader(func(r *replica) error { return r.Kill() }), forgets},
		{"the leader is told to stop", endLeader(func(r *replica) error { return r.Stop() }), Fault{}},
		{"the leader is paused for longer than its lease", pauseLeader, forgets},
		{"both controllers are gone", endControllers, forgets},
		{"Postgres is restarted at once", restartPostgres(own, stopImmediately), forgets},
		{"Postgres is killed", restartPostgres(own, (*postgres.Server).Kill), forgets},
		{"the connections to Postgres are ended", endBackends, forgets},
		{"Verity's Postgres is killed", restartPostgres(veritys, (*postgres.Server).Kill), Fault{Destination: DestinationLeads}},
		{"the API server is killed", endAPIServer, Fault{}},
		{"etcd is killed", endEtcd, Fault{}},
		{"all WebhookEvents are deleted", deleteAll, Fault{Deletes: true}},
		{"the leader is killed in the middle of a call", midCall(endLeader(func(r *replica) error { return r.Kill() })), forgets},
		{"the leader is told to stop in the middle of a call", midCall(endLeader(func(r *replica) error { return r.Stop() })), Fault{}},
		{"the leader is paused in the middle of a call", midCall(pauseLeader), forgets},
		{"Postgres is killed in the middle of a call", midCall(restartPostgres(own, (*postgres.Server).Kill)), forgets},
		{"all WebhookEvents are deleted in the middle of a call", midCall(deleteAll), Fault{Deletes: true}},
		{"the connections to Verity's database are ended", endVerityBackends, Fault{}},
		{"Verity answers 401", failing(DestinationVerity, fault.Status(http.StatusUnauthorized)), toVerity},
		{"Verity answers 500", failing(DestinationVerity, fault.Status(http.StatusInternalServerError)), toVerity},
		{"Verity answers 429 with Retry-After", failing(DestinationVerity, tooMany()), toVerity},
		{"Verity does not answer", failing(DestinationVerity, fault.Fault{Kind: fault.Hang}), toVerity},
		{"Verity hangs after its headers", failing(DestinationVerity, fault.Fault{Kind: fault.HangAfterHeaders}), Fault{}},
		{"Verity's answers are lost", failing(DestinationVerity, fault.Fault{Kind: fault.ResetAfterHandling}), toVerity},
		{"Aloware answers 500", failing(DestinationAloware, fault.Status(http.StatusInternalServerError)), toAloware},
		{"Aloware answers 429 with Retry-After", failing(DestinationAloware, tooMany()), toAloware},
		{"Aloware does not answer", failing(DestinationAloware, fault.Fault{Kind: fault.Hang}), toAloware},
	}
}

var (
	toVerity  = Fault{Destination: DestinationVerity}
	toAloware = Fault{Destination: DestinationAloware}
)

func endReceiver(how func(*replica) error) func(context.Context, *world, time.Duration) error {
	return func(_ context.Context, w *world, long time.Duration) error {
		r := w.receivers()[int(long)%2]
		return r.end(func() error { return how(r) }, false)
	}
}

func endLeader(how func(*replica) error) func(context.Context, *world, time.Duration) error {
	return func(ctx context.Context, w *world, _ time.Duration) error {
		leader, err := w.leader(ctx)
		if err != nil {
			return err
		}
		return leader.end(func() error { return how(leader) }, false)
	}
}

func pauseLeader(ctx context.Context, w *world, long time.Duration) error {
	leader, err := w.leader(ctx)
	if err != nil {
		return err
	}
	return leader.end(func() error {
		err := leader.Pause()
		pause(ctx, leaseDuration+long)
		return errors.Join(err, leader.Continue())
	}, false)
}

func endControllers(ctx context.Context, w *world, long time.Duration) error {
	var failures []error
	for _, r := range w.controllers() {
		failures = append(failures, r.end(r.Kill, true))
	}
	pause(ctx, long)
	for _, r := range w.controllers() {
		r.up()
	}
	return errors.Join(failures...)
}

func own(w *world) *postgres.Server     { return w.system.Postgres }
func veritys(w *world) *postgres.Server { return w.system.VerityPostgres }

func stopImmediately(s *postgres.Server) error { return s.Stop(postgres.Immediate) }

func restartPostgres(which func(*world) *postgres.Server, stop func(*postgres.Server) error) func(context.Context, *world,
	time.Duration) error {
	return func(ctx context.Context, w *world, long time.Duration) error {
		ctx, cancel := context.WithTimeout(ctx, mendTimeout)
		defer cancel()
		err := stop(which(w))
		pause(ctx, long)
		return errors.Join(err, which(w).Start(ctx))
	}
}

const terminate = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE datname = current_database() AND application_name LIKE 'verity-sync%'`

func endBackends(ctx context.Context, w *world, _ time.Duration) error {
	_, err := w.system.Database.Exec(ctx, terminate)
	return err
}

func endVerityBackends(ctx context.Context, w *world, _ time.Duration) error {
	conn, err := pgx.Connect(ctx, w.system.VerityDatabaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, terminate)
	return err
}

// midCall makes another fault while destinations take their time, and as soon as one of them is called.
func midCall(does func(context.Context, *world, time.Duration) error) func(context.Context, *world, time.Duration) error {
	return func(ctx context.Context, w *world, long time.Duration) error {
		verity, aloware := &w.system.Verity.Faults, &w.system.Aloware.Faults
		slow := fault.Fault{Kind: fault.Delay, DelayMillis: slowness, Times: -1}
		defer verity.Clear()
		defer aloware.Clear()
		if err := errors.Join(verity.Add(slow), aloware.Add(slow)); err != nil {
			return fmt.Errorf("script a slow answer: %w", err)
		}
		calls := w.calls.Load()
		for w.calls.Load() == calls && pause(ctx, tick/10) {
			continue
		}
		pause(ctx, long%(slowness*time.Millisecond))
		return does(ctx, w, long)
	}
}

// slowness is how long a slow destination takes, in milliseconds.
const slowness = 800

func endAPIServer(ctx context.Context, w *world, long time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, mendTimeout)
	defer cancel()
	err := w.system.ControlPlane.APIServer.Kill()
	pause(ctx, long)
	return errors.Join(err, w.system.ControlPlane.APIServer.Start(ctx))
}

func endEtcd(ctx context.Context, w *world, long time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, mendTimeout)
	defer cancel()
	err := w.system.ControlPlane.Etcd.Kill()
	pause(ctx, long)
	return errors.Join(err, w.system.ControlPlane.Etcd.Start(ctx))
}

func deleteAll(ctx context.Context, w *world, _ time.Duration) error {
	return w.system.Kubernetes.DeleteAllOf(ctx, &v1alpha1.WebhookEvent{}, client.InNamespace(w.system.Namespace))
}

func tooMany() fault.Fault {
	f := fault.Status(http.StatusTooManyRequests)
	f.Header.Set("Retry-After", "3")
	return f
}

func failing(destination string, f fault.Fault) func(context.Context, *world, time.Duration) error {
	return func(ctx context.Context, w *world, long time.Duration) error {
		script := &w.system.Verity.Faults
		if destination == DestinationAloware {
			script = &w.system.Aloware.Faults
		}
		f.Times = -1
		if err := script.Add(f); err != nil {
			return fmt.Errorf("script %s: %w", destination, err)
		}
		pause(ctx, long)
		script.Clear()
		return nil
	}
}
