package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/bench/cycle"
	"github.com/dfmiddleware/verity-sync/test/bench/load"
	"github.com/dfmiddleware/verity-sync/test/bench/relations"
	"github.com/dfmiddleware/verity-sync/test/bench/stats"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

const (
	// burstPeople are the contacts that the events are about.
	burstPeople = 20_000
	// calmRate is how many webhooks a second come before and after the burst, for a calmShare of it.
	calmRate, calmShare = 10, 20
	// The burst follows the system: every burstSlice, the rate is set so that burstUnfinished events are unfinished.
	burstSlice, burstUnfinished = 2 * time.Second, 200
	firstRate                   = 50
	// quarters are the parts in which the burst is shown.
	quarters = 4
)

const (
	phaseBefore, phaseAfter, phasePacked = "before", "after", "rewritten"

	measureAnsweredP50 = "webhook answered, p50, ms"
	measureAnsweredP99 = "webhook answered, p99, ms"
	measureRefused     = "webhooks answered 429"
	measureWALFiles    = "WAL on disk, MiB"
	measureWithIndexes = " with indexes, MiB"
)

// burstOf says what the burst row is.
func burstOf(o options) string {
	return fmt.Sprintf("one burst of %s, with %s of %d webhooks a second before and after", o.duration, calmOf(o.duration), calmRate)
}

func calmOf(duration time.Duration) time.Duration { return max(burstSlice, duration/calmShare) }

// burst is a run of the burst row.
type burst struct {
	*running
	env   *environment
	store *store.Store
	// posted counts the webhooks that were made, acknowledged those that were answered 200.
	posted, acknowledged int
	// done is how many events are done, at is when that was read.
	done int
	at   time.Time
	// rate is that of the last slice of the burst.
	rate float64
}

// phase is what was seen in a part of the run.
type phase struct {
	answered, asked []time.Duration
	refused         int
}

// burst posts as many webhooks as the system works off, for as long as the command says, with a calm before and after.
func (e *environment) burst(ctx context.Context, r record) error {
	cluster, err := startControlPlane(ctx)
	if err != nil {
		return err
	}
	defer cluster.Close() //nolint:errcheck // It is killed; what is left goes with this process.
	system, err := e.startSystem(ctx, veritySync, setup{work: true, kubeconfig: cluster.Kubeconfig()})
	if err != nil {
		return err
	}
	defer system.Close() //nolint:errcheck // What a system leaves goes with this process.
	if err := e.addContacts(ctx, people, burstPeople); err != nil {
		return err
	}
	if err := introduce(ctx, system.system.DatabaseURL, people, burstPeople); err != nil {
		return err
	}
	b := &burst{running: system, env: e, rate: firstRate}
	if b.store, err = store.Open(ctx, system.system.DatabaseURL, store.Options{Name: "bench", MaxConns: 2}); err != nil {
		return err
	}
	defer b.store.Close()
	if err := e.settle(ctx); err != nil {
		return err
	}
	return b.measure(ctx, r)
}

func (b *burst) measure(ctx context.Context, r record) error {
	watcher := relations.Watch(ctx, b.database, watchEvery)
	defer watcher.Stop()
	for name, length := range phases(calmOf(b.env.options.duration), b.env.options.duration) {
		if err := b.phase(ctx, r, watcher, name, length); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := b.check(ctx); err != nil {
		return err
	}
	packed, err := pack(ctx, b.database)
	if err != nil {
		return err
	}
	r.addSizes(phasePacked, packed)
	return nil
}

// phases are the parts of a run and how long each is.
func phases(calm, duration time.Duration) func(yield func(string, time.Duration) bool) {
	return func(yield func(string, time.Duration) bool) {
		if !yield(phaseBefore, calm) {
			return
		}
		for i := range quarters {
			if !yield(quarter(i), duration/quarters) {
				return
			}
		}
		yield(phaseAfter, calm)
	}
}

func quarter(i int) string { return fmt.Sprintf("%d of %d", i+1, quarters) }

// phase measures one of them.
func (b *burst) phase(ctx context.Context, r record, watcher *relations.Watcher, name string, length time.Duration) error {
	postmaster, err := postmasterOf(b.env.postgres)
	if err != nil {
		return err
	}
	cpu, err := proc.CPU(postmaster)
	if err != nil {
		return err
	}
	before, err := relations.Read(ctx, b.database)
	if err != nil {
		return err
	}
	claims, err := b.claims(ctx)
	if err != nil {
		return err
	}
	if _, err := b.progress(ctx); err != nil {
		return err
	}
	done, began := b.done, b.at
	seen, err := b.load(ctx, name, length)
	if err != nil {
		return err
	}
	used, err := proc.CPU(postmaster)
	if err != nil {
		return err
	}
	after, err := relations.Read(ctx, b.database)
	if err != nil {
		return err
	}
	claimed, err := b.claims(ctx)
	if err != nil {
		return err
	}
	dead, err := watcher.MostDead()
	if err != nil {
		return err
	}
	events := float64(b.done - done)
	r.add(measureDone, name, events/b.at.Sub(began).Seconds())
	r.addDuration(measureAnsweredP50, name, stats.Percentile(seen.answered, 50))
	r.addDuration(measureAnsweredP99, name, stats.Percentile(seen.answered, 99))
	r.add(measureRefused, name, float64(seen.refused))
	r.addDuration(measureAskP50, name, stats.Percentile(seen.asked, 50))
	r.addDuration(measureAskP99, name, stats.Percentile(seen.asked, 99))
	r.add(measureClaimP50, name, claimed.since(claims).quantile(0.50)*1e3)
	r.add(measureClaimP99, name, claimed.since(claims).quantile(0.99)*1e3)
	r.add("webhook_events"+measureDead, name, float64(dead["webhook_events"]))
	r.add("webhook_events"+measureVacuums, name, float64(after.AutovacuumsSince(before, "webhook_events")))
	r.add(measureWAL, name, float64(after.WAL-before.WAL)/events)
	r.add(measurePostgresMS, name, float64((used-cpu)/time.Millisecond)/events)
	r.add(measureWALFiles, name, mebibytes(after.WALFiles))
	r.addSizes(name, after)
	b.env.options.say("  %-8s: %s events a second, webhook_events has %s MiB", name, figure(r.last(measureDone, name)),
		figure(mebibytes(after.Tables["webhook_events"].Total())))
	return nil
}

func (r record) addSizes(name string, s relations.Snapshot) {
	events := s.Tables["webhook_events"]
	r.add(measureHeap, name, mebibytes(events.Heap+events.Toast))
	r.add(measureIndexes, name, mebibytes(events.Indexes))
	r.add(measurePartial, name, mebibytes(partialIndexes(s)))
	for _, table := range hotTables[1:] {
		r.add(table+measureWithIndexes, name, mebibytes(s.Tables[table].Total()))
	}
}

// load posts webhooks for as long as a phase lasts, and times the backlog queries meanwhile. The burst and the last calm end when all
// events are done.
func (b *burst) load(ctx context.Context, name string, length time.Duration) (seen phase, err error) {
	calm := name == phaseBefore || name == phaseAfter
	for end := time.Now().Add(length); time.Now().Before(end); {
		if calm {
			b.rate = calmRate
		}
		result, err := b.slice(ctx)
		if err != nil {
			return seen, err
		}
		seen.answered = append(seen.answered, result.Latencies...)
		seen.refused += result.Refused
		asked, err := b.ask(ctx)
		if err != nil {
			return seen, err
		}
		seen.asked = append(seen.asked, asked)
		finished, err := b.progress(ctx)
		if err != nil {
			return seen, err
		}
		b.rate = max(1, finished+float64(burstUnfinished-(b.acknowledged-b.done))/burstSlice.Seconds())
		b.env.verity.Forget() // Half a million deliveries would fill the memory.
	}
	if name != phaseAfter && name != quarter(quarters-1) {
		return seen, nil
	}
	return seen, await(ctx, timeout, func() (bool, error) {
		_, err := b.progress(ctx)
		return b.done == b.acknowledged, err
	})
}

// slice posts at the rate for a while.
func (b *burst) slice(ctx context.Context) (load.Result, error) {
	n := int(math.Ceil(b.rate*burstSlice.Seconds())) + 1
	requests := make([]load.Request, n)
	now := time.Now()
	for i := range requests {
		requests[i] = load.Encode(b.env.sender, webhookPath, cycle.Webhook(b.env.sender, b.posted+i, burstPeople, now))
	}
	b.posted += n
	result, err := load.Open(ctx, b.address, load.NewSupply(requests), connections, b.rate, burstSlice)
	b.acknowledged += result.Acknowledged
	return result, err
}

// ask runs the backlog queries of the relay and the metrics once, and returns how long they took.
func (b *burst) ask(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	_, err := b.store.FindOrphans(ctx, time.Second)
	if err != nil {
		return 0, err
	}
	if _, err := b.store.CountLive(ctx); err != nil {
		return 0, err
	}
	_, err = b.store.Stats(ctx)
	return time.Since(began), err
}

// progress reads how many events are done, and returns how many that were a second since it was read last.
func (b *burst) progress(ctx context.Context) (rate float64, err error) {
	backlog, err := b.store.Backlog(ctx)
	if err != nil {
		return 0, err
	}
	now, done := time.Now(), b.acknowledged-int(backlog.Pending)
	rate = float64(done-b.done) / now.Sub(b.at).Seconds()
	b.done, b.at = done, now
	return rate, nil
}

// check fails if an event was not forwarded or its lead was not written.
func (b *burst) check(ctx context.Context) error {
	for _, operation := range []string{store.OperationForward, store.OperationLead} {
		const successes = "SELECT count(*) FROM sync_log WHERE operation = $1 AND status = 'success'"
		n, err := query[int](ctx, b.database, successes, operation)
		if err != nil {
			return err
		}
		if n != b.acknowledged {
			return fmt.Errorf("%s succeeded for %d of %d events", operation, n, b.acknowledged)
		}
	}
	return nil
}

// claims reads how long the controller's claims took.
func (b *burst) claims(ctx context.Context) (histogram, error) {
	h := histogram{}
	err := scrape(ctx, http.DefaultClient, b.system.Controllers[0].MetricsURL, func(name string, labels map[string]string, value float64) {
		if name != "verity_sync_step_duration_seconds_bucket" || labels["step"] != "claim" || labels["result"] != "success" {
			return
		}
		if bound, err := strconv.ParseFloat(labels["le"], 64); err == nil {
			h[bound] = value
		}
	})
	if err == nil && len(h) == 0 {
		err = errors.New("the controller has no metric of its claims")
	}
	return h, err
}

func renderBurst(r record) string {
	names := []string{phaseBefore}
	for i := range quarters {
		names = append(names, quarter(i))
	}
	names = append(names, phaseAfter, phasePacked)
	measures := []string{
		measureDone, measureRefused, measureAnsweredP50, measureAnsweredP99, measureClaimP50, measureClaimP99, measureAskP50, measureAskP99,
		measureHeap, measureIndexes, measurePartial,
	}
	for _, table := range hotTables[1:] {
		measures = append(measures, table+measureWithIndexes)
	}
	measures = append(measures, "webhook_events"+measureDead, "webhook_events"+measureVacuums, measureWAL, measureWALFiles,
		measurePostgresMS)
	var out strings.Builder
	out.WriteString(r.table(names, measures...))
	return out.String()
}
