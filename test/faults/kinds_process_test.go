package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// leaseDuration is how long a leader leads without renewing its lease, and a little more.
const leaseDuration = 17 * time.Second

const waitsForLease = "the lease of a leader that was killed or paused runs for 15 seconds, and cannot be taken away"

func processKinds() []kind {
	drains := Fault{Refuses: true, Drain: drainDelay}
	return []kind{
		{name: "a receiver is killed", does: endReceiver((*replica).Kill), marks: refuses},
		{name: "a receiver is stopped", does: endReceiver((*replica).Stop), marks: drains, first: true},
		{name: "the leader is killed", does: endLeader((*replica).Kill), marks: forgets, slow: waitsForLease},
		{name: "the leader is stopped", does: endLeader((*replica).Stop), first: true},
		{name: "the leader is paused for longer than its lease", does: pauseLeader, marks: forgets, slow: waitsForLease},
		{name: "both controllers are killed", does: endControllers((*replica).Kill), marks: forgets, slow: waitsForLease},
		{name: "both controllers are stopped", does: endControllers((*replica).Stop)},
		// In the short runs this one, and the one that is paused, stand for all kinds that wait for the lease.
		{name: "the leader is killed in the middle of a call", does: midCall(endLeader((*replica).Kill)), marks: forgets},
		{name: "the leader is stopped in the middle of a call", does: midCall(endLeader((*replica).Stop))},
		{name: "the leader is paused in the middle of a call", does: midCall(pauseLeader), marks: forgets, first: true},
		{name: "all replicas are replaced one after the other", does: roll, marks: drains, first: true},
	}
}

func endReceiver(how func(*replica) error) func(context.Context, *breaking) error {
	return func(_ context.Context, b *breaking) error {
		r := b.receivers()[int(b.long)%2]
		if b.fault.Drain > 0 {
			b.fault.Drains = r.Name
		}
		return r.end(func() error { return how(r) }, false)
	}
}

func endLeader(how func(*replica) error) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		leader, err := b.leader(ctx)
		if err != nil {
			return err
		}
		return leader.end(func() error { return errors.Join(how(leader), b.owe(ctx)) }, false)
	}
}

// owe records the events that are in progress.
func (b *breaking) owe(ctx context.Context) error {
	rows, err := b.system.Database.Query(ctx, "SELECT id::text FROM webhook_events WHERE status = 'processing'")
	if err != nil {
		return fmt.Errorf("list the events in progress: %w", err)
	}
	b.fault.OwedFrom = time.Now()
	b.fault.Owed, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

// settled waits until the events of the former leader are done, or should be.
func (b *breaking) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, limits.Handover)
	defer cancel()
	for {
		var unfinished int
		err := b.system.Database.QueryRow(ctx,
			"SELECT count(*) FROM webhook_events WHERE id = ANY($1::uuid[]) AND processed_at IS NULL", b.fault.Owed).Scan(&unfinished)
		if err == nil && unfinished == 0 || !pause(ctx, tick) {
			return nil // The checker reports those that are not done.
		}
	}
}

func pauseLeader(ctx context.Context, b *breaking) error {
	leader, err := b.leader(ctx)
	if err != nil {
		return err
	}
	return leader.end(func() error {
		err := leader.Pause()
		err = errors.Join(err, b.owe(ctx))
		pause(ctx, leaseDuration+b.long)
		err = errors.Join(err, leader.Continue())
		b.fault.OwedFrom = time.Now()
		return err
	}, false)
}

func endControllers(how func(*replica) error) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		var failures []error
		for _, r := range b.controllers() {
			failures = append(failures, r.end(func() error { return how(r) }, true))
		}
		pause(ctx, b.long)
		for _, r := range b.controllers() {
			r.up()
		}
		return errors.Join(failures...)
	}
}

// roll replaces replica after replica, as a Deployment does, while webhooks come in through a proxy that obeys readiness.
func roll(ctx context.Context, b *breaking) error {
	balancing, stop := context.WithCancel(ctx)
	defer stop()
	b.balancer.start(balancing)
	posting, enough := context.WithCancel(ctx)
	posts := b.load.postThrough(posting, b.balancer)
	defer func() {
		enough()
		posts.Wait()
	}()
	for i, r := range b.replicas {
		err := within(ctx, func(ctx context.Context) error {
			return r.end(func() error {
				defer func() { r.broken = false }()
				return errors.Join(r.Stop(), r.Start(ctx))
			}, false)
		})
		if err != nil {
			return fmt.Errorf("replace %s: %w", r.Name, err)
		}
		if i < len(b.receivers()) {
			if err := until(ctx, "the balancer has "+r.Name, func(context.Context) bool { return b.balancer.has(r.URL) }); err != nil {
				return err
			}
		}
	}
	return nil
}
