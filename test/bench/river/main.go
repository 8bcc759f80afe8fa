// Command river is the baseline of the benchmarks that a team on Go and Postgres would write today: a route that verifies the signature
// and commits the event together with a River job, and workers that forward the event and write the lead. It has what verity-sync is
// compared in, and nothing else: no order of events, no fence, no ledger, no breaker, nothing to look at.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

const (
	// poolSize is that of each pool: one connection for each of the benchmark's.
	poolSize = 32
	// workers is how many jobs are worked on at a time, a River fetch at most.
	workers = 100
	// How often River fetches: its default of 100 ms is meant for many small queues.
	fetchCooldown = 50 * time.Millisecond
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "river:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	pool, err := openPool(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return fmt.Errorf("connect to the middleware database: %w", err)
	}
	defer pool.Close()
	leads, err := openPool(ctx, os.Getenv("VERITY_DATABASE_URL"))
	if err != nil {
		return fmt.Errorf("connect to Verity's database: %w", err)
	}
	defer leads.Close()
	verifier, err := ghl.NewVerifier(ghl.AuthConfig{PublicKeys: []string{os.Getenv("GHL_WEBHOOK_PUBLIC_KEYS")}})
	if err != nil {
		return err
	}
	jobs, err := newJobs(ctx, pool, leads)
	if err != nil {
		return err
	}
	if working() {
		if err := jobs.Start(ctx); err != nil {
			return fmt.Errorf("start River's workers: %w", err)
		}
		defer func() { _ = jobs.StopAndCancel(context.WithoutCancel(ctx)) }()
	}
	return serve(ctx, &intake{pool: pool, jobs: jobs, verifier: verifier})
}

// working reports whether this process works on jobs, besides taking them in.
func working() bool {
	on, err := strconv.ParseBool(os.Getenv("WORK"))
	return err == nil && on
}

func newJobs(ctx context.Context, pool, leads *pgxpool.Pool) (*river.Client[pgx.Tx], error) {
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return nil, fmt.Errorf("set up River's tables: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, fmt.Errorf("make River's tables: %w", err)
	}
	config := &river.Config{}
	if working() {
		config.FetchCooldown = fetchCooldown
		config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}}
		config.Workers = river.NewWorkers()
		river.AddWorker(config.Workers, newWorker(pool, leads))
	}
	client, err := river.NewClient(driver, config)
	if err != nil {
		return nil, fmt.Errorf("set up River: %w", err)
	}
	return client, nil
}

func openPool(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("not a Postgres URL")
	}
	config.MaxConns = poolSize
	return pgxpool.NewWithConfig(ctx, config)
}

func serve(ctx context.Context, i *intake) error {
	mux := http.NewServeMux()
	mux.Handle("POST /api/webhooks/ghl", i)
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	server := &http.Server{Addr: os.Getenv("LISTEN_ADDRESS"), Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listen for webhooks: %w", err)
	}
	return nil
}
