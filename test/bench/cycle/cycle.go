// Package cycle puts events through the store as receivers and controllers do: commit, dispatch, claim, merge into the appointment and its
// contact, record the attempt, query the backlog, and delete what is past its retention. There is no API server and no destination: only
// Postgres is loaded, so that its settings can be compared.
package cycle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
)

const (
	// senders is how many deliveries can be in flight, and workers how many attempts.
	senders, workers = 16, 8
	// markEvery and askEvery are those of the relay, which marks rows as dispatched in batches and queries the backlog.
	markEvery, askEvery = 250 * time.Millisecond, 500 * time.Millisecond
	// One event in failEvery meets a destination that does not answer, and is tried again after failDelay.
	failEvery, failDelay = 20, time.Second
	// retentionEvery is how many events are finished between two rounds of retention, which removes as many.
	retentionEvery = 500
	// grace is how long a row may be without a WebhookEvent.
	grace = 2 * time.Second
	// commitTimeout is longer than a receiver's: no sender waits, and a machine that stalls for seconds must not end a run.
	commitTimeout = 15 * time.Second
	// drainTimeout bounds how long the last events may take.
	drainTimeout = 5 * time.Minute
)

// Options say what is put through.
type Options struct {
	// DatabaseURL is a database with the tables of verity-sync.
	DatabaseURL string
	// Rate is how many events come in a second, and Duration for how long.
	Rate     float64
	Duration time.Duration
	// Contacts are those of the History.
	Contacts int
}

// Result is how long the parts took, one value for each time.
type Result struct {
	// Events is how many were put through.
	Events int
	// Commit is measured from when the event was due. Ask is one round of the backlog queries.
	Commit, Claim, Record, Ask []time.Duration
}

// run is one run of the cycle.
type run struct {
	options              Options
	receiver, controller *store.Store
	term                 int64
	sender               *ghlsender.Sender
	// committed are rows on their way to the relay, todo those that wait for an attempt.
	committed chan store.EventMeta
	todo      chan uuid.UUID
	// left counts events that are not done yet; allDone is closed when there are none.
	left    atomic.Int64
	allDone chan struct{}
	// finished is sent to for each event that is done.
	finished chan struct{}

	mu     sync.Mutex
	result Result
}

// Run puts events through at a rate and returns once all of them are done.
func Run(ctx context.Context, o Options) (Result, error) {
	total := max(1, int(o.Rate*o.Duration.Seconds()))
	r := &run{
		options: o, sender: ghlsender.New(nil), allDone: make(chan struct{}),
		committed: make(chan store.EventMeta, total), todo: make(chan uuid.UUID, total), finished: make(chan struct{}, total),
	}
	r.left.Store(int64(total))
	var err error
	if r.receiver, err = store.Open(ctx, o.DatabaseURL, store.Options{Name: "bench-receiver", MaxConns: 8}); err != nil {
		return Result{}, err
	}
	defer r.receiver.Close()
	if r.controller, err = store.Open(ctx, o.DatabaseURL, store.Options{Name: "bench-controller", MaxConns: 16}); err != nil {
		return Result{}, err
	}
	defer r.controller.Close()
	if r.term, err = r.controller.AcquireTerm(ctx, "bench"); err != nil {
		return Result{}, err
	}
	if err := r.run(ctx, total); err != nil {
		return Result{}, err
	}
	r.result.Events = total
	return r.result, nil
}

func (r *run) run(ctx context.Context, total int) error {
	writer := store.NewWriter(r.receiver, store.WriterOptions{Timeout: commitTimeout, Committed: func(rows []store.EventMeta) {
		for _, row := range rows {
			r.committed <- row // It has room for all of them.
		}
	}})
	defer writer.Close()
	group, ctx := errgroup.WithContext(ctx)
	background, stop := context.WithCancel(ctx)
	defer stop()
	var next atomic.Int64
	start := time.Now()
	for range senders {
		group.Go(func() error { return r.deliver(ctx, writer, start, &next, total) })
	}
	for range workers {
		group.Go(func() error { return r.work(ctx) })
	}
	group.Go(func() error { return r.mark(background) })
	group.Go(func() error { return r.ask(background) })
	group.Go(func() error { return r.retain(background) })
	group.Go(func() error {
		defer stop()
		limit := time.NewTimer(r.options.Duration + drainTimeout)
		defer limit.Stop()
		select {
		case <-r.allDone:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return fmt.Errorf("%d events are not done: the rate is more than the machine bears", r.left.Load())
		}
	})
	return group.Wait()
}

// deliver commits events when they are due.
func (r *run) deliver(ctx context.Context, writer *store.Writer, start time.Time, next *atomic.Int64, total int) error {
	interval := float64(time.Second) / r.options.Rate
	for {
		i := int(next.Add(1) - 1)
		if i >= total {
			return nil
		}
		due := start.Add(time.Duration(float64(i) * interval))
		if err := sleep(ctx, time.Until(due)); err != nil {
			return err
		}
		d, err := r.delivery(i)
		if err != nil {
			return err
		}
		receipt, err := writer.Commit(ctx, d)
		if err != nil {
			return fmt.Errorf("commit an event: %w", err)
		}
		if receipt.Duplicate {
			return errors.New("a fresh event was taken for a duplicate")
		}
		r.took(&r.result.Commit, due)
	}
}

// delivery makes the webhook number i of the run, as a receiver reads it.
func (r *run) delivery(i int) (store.Delivery, error) {
	now := time.Now()
	webhook := Webhook(r.sender, i, r.options.Contacts, now)
	body, err := ghl.Decode(webhook.ContentType, webhook.Body)
	if err != nil {
		return store.Delivery{}, fmt.Errorf("read a webhook: %w", err)
	}
	e := ghl.Normalise(body, now)
	return store.Delivery{
		Event: e, Payload: body.Payload, Raw: body.Raw, Occurrence: body.IsOccurrence(e),
		Headers: map[string]string{"Content-Type": webhook.ContentType}, BodyHash: sha256.Sum256(webhook.Body),
	}, nil
}

// mark records, in batches, that rows have their WebhookEvents, and hands them to the workers.
func (r *run) mark(ctx context.Context) error {
	for sleep(ctx, markEvery) == nil {
		var rows []store.EventMeta
		for more := true; more; {
			select {
			case row := <-r.committed:
				rows = append(rows, row)
			default:
				more = false
			}
		}
		if len(rows) == 0 {
			continue
		}
		if err := r.receiver.MarkDispatched(ctx, rows); err != nil {
			return err
		}
		for _, row := range rows {
			r.todo <- row.ID // It has room for all of them.
		}
	}
	return nil
}

// ask runs the queries of the relay and the metrics.
func (r *run) ask(ctx context.Context) error {
	for sleep(ctx, askEvery) == nil {
		began := time.Now()
		_, err := r.receiver.TakeRelayLease(ctx, "bench", 10*askEvery)
		if err == nil {
			_, err = r.receiver.FindOrphans(ctx, grace)
		}
		if err == nil {
			_, err = r.receiver.ListUndispatched(ctx, store.DispatchQuery{Limit: 200, Returning: 100, SkipBlocked: true})
		}
		if err == nil {
			_, err = r.receiver.CountLive(ctx)
		}
		if err == nil {
			_, err = r.controller.Stats(ctx)
		}
		if err != nil {
			return unlessEnded(ctx, err)
		}
		r.took(&r.result.Ask, began)
	}
	return nil
}

// retain removes as many outlived events as are finished.
func (r *run) retain(ctx context.Context) error {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-r.finished:
		}
		if n%retentionEvery != 0 {
			continue
		}
		if _, _, err := r.controller.DeleteFinished(ctx, Retention); err != nil {
			return unlessEnded(ctx, err)
		}
	}
}

// unlessEnded returns nil once ctx has ended: the statement was interrupted because all events are done.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// took adds to one of the parts how long it took since began.
func (r *run) took(part *[]time.Duration, began time.Time) {
	took := time.Since(began)
	r.mu.Lock()
	defer r.mu.Unlock()
	*part = append(*part, took)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
