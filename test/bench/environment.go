package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dfmiddleware/verity-sync/test/bench/load"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/sim/verity"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

const (
	webhookPath = "/api/webhooks/ghl"
	// people is how many contacts there are, each with a phone number and a contact in Verity: the leads of a few are written again and
	// again, as those of a busy location are.
	people = 1000
)

// environment is what all that is measured stands on: two durable Postgres servers, one for the middleware's database and one for
// Verity's, so that what is counted of the first is the middleware's own; Verity's endpoint; and a GoHighLevel.
type environment struct {
	options  options
	postgres *postgres.Server
	// verityServer has Verity's database, verityDatabase is the URL of that.
	verityServer      *postgres.Server
	verityDatabaseURL string
	verityDatabase    *verity.Database
	verityPool        *pgxpool.Pool
	verity            *verity.Server
	verityURL         string
	sender            *ghlsender.Sender
	dir               string
	databases         int
	// microOutput is what the Go benchmarks have said so far.
	microOutput []byte

	closers []func() error
}

// options are those of the command.
type options struct {
	repetitions int
	// duration is how long each rate is measured.
	duration time.Duration
	// events is how many the end-to-end row is about.
	events int
	// rate is how many events a second are put through the store on each of the settings.
	rate float64
	// binaries has verity-sync, and below bench the baselines.
	binaries string
	say      func(format string, arguments ...any)
}

func newEnvironment(ctx context.Context, o options) (*environment, error) {
	e := &environment{options: o, sender: ghlsender.New(nil), verity: verity.New()}
	if err := e.start(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *environment) start(ctx context.Context) (err error) {
	dir, remove, err := proc.TempDir("verity-sync-bench-")
	if err != nil {
		return err
	}
	e.dir = dir
	e.closers = append(e.closers, remove)
	if e.postgres, err = e.startPostgres(ctx); err != nil {
		return err
	}
	if e.verityServer, err = e.startPostgres(ctx); err != nil {
		return err
	}
	e.verityDatabaseURL = e.verityServer.URL()
	if e.verityDatabase, err = verity.OpenDatabase(ctx, e.verityDatabaseURL); err != nil {
		return fmt.Errorf("make Verity's database: %w", err)
	}
	e.closers = append(e.closers, func() error { e.verityDatabase.Close(); return nil })
	if e.verityPool, err = pgxpool.New(ctx, e.verityDatabaseURL); err != nil {
		return fmt.Errorf("connect to Verity's database: %w", err)
	}
	e.closers = append(e.closers, func() error { e.verityPool.Close(); return nil })
	if err := e.addContacts(ctx, 0, people); err != nil {
		return err
	}
	e.verity.Secret = "the benchmark's"
	return e.serveVerity(ctx)
}

// startPostgres starts a durable server: fsync and synchronous_commit are on, as they are by default.
func (e *environment) startPostgres(ctx context.Context) (*postgres.Server, error) {
	server, err := postgres.Start(ctx, postgres.Options{})
	if err != nil {
		return nil, err
	}
	e.closers = append(e.closers, server.Close)
	return server, nil
}

func (e *environment) serveVerity(ctx context.Context) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for Verity: %w", err)
	}
	e.verityURL = "http://" + listener.Addr().String()
	server := &http.Server{Handler: e.verity, ReadHeaderTimeout: 10 * time.Second}
	e.closers = append(e.closers, server.Close)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(fmt.Errorf("the simulator of Verity ended: %w", err))
		}
	}()
	return nil
}

// Close stops everything. It may be called on one that has not started to the end.
func (e *environment) Close() error {
	var failures []error
	for i := len(e.closers) - 1; i >= 0; i-- {
		failures = append(failures, e.closers[i]())
	}
	return errors.Join(failures...)
}

// variables returns the variables that a measured system needs. The names are those of verity-sync.
func (e *environment) variables() map[string]string {
	return map[string]string{
		"PATH":                    os.Getenv("PATH"),
		"GHL_WEBHOOK_PUBLIC_KEYS": e.sender.PublicKey(),
		"VERITY_BASE_URL":         e.verityURL,
		"VERITY_WEBHOOK_SECRET":   e.verity.Secret,
		"VERITY_DATABASE_URL":     e.verityDatabaseURL,
	}
}

// newDatabase makes an empty database and returns its URL.
func (e *environment) newDatabase(ctx context.Context) (string, error) {
	e.databases++
	name := fmt.Sprintf("bench_%d", e.databases)
	if err := execute(ctx, e.postgres.URL(), "CREATE DATABASE "+name); err != nil {
		return "", fmt.Errorf("create a database: %w", err)
	}
	u, err := url.Parse(e.postgres.URL())
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

// addContacts makes the people from one number to below another known to Verity.
func (e *environment) addContacts(ctx context.Context, from, to int) error {
	const contacts = `INSERT INTO contacts (phone_e164) SELECT '+1212' || (5550000 + n) FROM generate_series($1::int, $2 - 1) n`
	if _, err := e.verityPool.Exec(ctx, contacts, from, to); err != nil {
		return fmt.Errorf("make Verity's contacts: %w", err)
	}
	return nil
}

// introduce makes the same people known to a middleware database.
func introduce(ctx context.Context, databaseURL string, from, to int) error {
	const mappings = `
		INSERT INTO contact_mappings (ghl_contact_id, phone_number, sync_direction)
		SELECT 'contact-' || n, '+1212' || (5550000 + n), 'ghl_to_verity' FROM generate_series($1::int, $2 - 1) n`
	if err := execute(ctx, databaseURL, mappings, from, to); err != nil {
		return fmt.Errorf("make the mappings of contacts: %w", err)
	}
	return nil
}

// forget has Verity as it was before the first webhook.
func (e *environment) forget(ctx context.Context) error {
	e.verity.Forget()
	e.verity.Requests.Clear()
	if _, err := e.verityPool.Exec(ctx, "TRUNCATE leads"); err != nil {
		return fmt.Errorf("empty Verity's leads: %w", err)
	}
	return nil
}

// settle flushes what earlier measurements have left to be written, so that none pays for another.
func (e *environment) settle(ctx context.Context) error {
	if err := execute(ctx, e.postgres.URL(), "CHECKPOINT"); err != nil {
		return fmt.Errorf("flush Postgres: %w", err)
	}
	return nil
}

// supply makes n signed webhooks: each books another appointment for one of the people.
func (e *environment) supply(n int) []load.Request {
	requests := make([]load.Request, n)
	now := time.Now()
	for i := range requests {
		requests[i] = load.Encode(e.sender, webhookPath, e.webhook(i, now))
	}
	return requests
}

func (e *environment) webhook(i int, now time.Time) ghlsender.Webhook {
	return e.sender.Appointment(ghlsender.Create, ghlsender.Appointment{
		ID: ghlsender.NewID(), CalendarID: "calendar", ContactID: fmt.Sprintf("contact-%d", i%people), Status: "confirmed",
		Start: now.Add(24 * time.Hour), UpdatedAt: now,
	})
}

func execute(ctx context.Context, databaseURL, statement string, arguments ...any) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement, arguments...)
	return err
}

func query[T any](ctx context.Context, pool *pgxpool.Pool, statement string, arguments ...any) (value T, err error) {
	err = pool.QueryRow(ctx, statement, arguments...).Scan(&value)
	return value, err
}
