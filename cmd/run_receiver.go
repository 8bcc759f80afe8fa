package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/memory"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
	"github.com/dfmiddleware/verity-sync/internal/receiver"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// receiverConns is the maximum number of database connections of a receiver: for the writer, for the relay, and a few to spare.
const receiverConns = 8

// runReceiver serves until ctx ends and every accepted request is answered.
func runReceiver(ctx context.Context, cfg config.Receiver, flags receiverFlags, log logr.Logger) error {
	sources, err := newSources(cfg)
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, cfg.DatabaseURL.Reveal(), store.Options{Name: "verity-sync receiver", MaxConns: receiverConns})
	if err != nil {
		return classified(err)
	}
	defer db.Close()
	checks := newPreflights(log)
	if err := checkMiddleware(ctx, db, checks, ofMiddleware(db, cfg.DatabaseURL, store.ReceiverProcess), log); err != nil {
		return err
	}
	if err := registerCommon(db); err != nil {
		return err
	}
	relayMetrics := metrics.NewRelay(ctrlmetrics.Registry)
	relay, err := newRelay(cfg, flags.kubernetes, db, relayMetrics, log)
	if err != nil {
		return err
	}
	writer := store.NewWriter(db, store.WriterOptions{Committed: relay.Offer, Observe: relayMetrics.Committed})
	defer writer.Close()

	server, err := receiver.New(receiver.Config{
		Sources:             sources,
		Committer:           writer,
		Unanswered:          writer.Unanswered,
		Jobs:                receiverJobs{Store: db, relay: relay},
		JobsSecret:          cfg.JobsSecret.Reveal(),
		WarnUnauthenticated: cfg.AllowUnauthenticated,
		MaxInFlight:         flags.maxInFlight,
		MemoryLimit:         memory.SetLimit(),
		IdleTimeout:         flags.idleTimeout,
		DrainDelay:          flags.drainDelay,
		DrainTimeout:        flags.drainTimeout,
		ShutdownTimeout:     flags.shutdownTimeout,
		Metrics:             metrics.NewReceiver(ctrlmetrics.Registry),
		Log:                 log,
	})
	if err != nil {
		return err
	}
	metricsServer, err := newMetricsServer(flags.metrics)
	if err != nil {
		return err
	}
	listener, probes, err := listen(ctx, flags)
	if err != nil {
		return err
	}
	log.Info("listening for webhooks", "address", listener.Addr().String(), "middlewareDatabase", cfg.DatabaseURL.String())

	group, ctx := errgroup.WithContext(ctx)
	// Metrics, probes and the relay continue until the last request has its answer.
	rest, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		defer stopRest()
		return server.Serve(ctx, listener)
	})
	group.Go(func() error { return relay.Run(rest) })
	group.Go(func() error {
		// The receiver does not exit: it must answer 429.
		if err := checks.repeat(rest); err != nil {
			log.Error(err, "the middleware database is unusable; webhooks are answered 429 until it is fixed")
		}
		return nil
	})
	if probes != nil {
		group.Go(func() error { return server.ServeProbes(rest, probes) })
	}
	if metricsServer != nil {
		group.Go(func() error { return metricsServer.Start(rest) })
	}
	return group.Wait()
}

// newSources returns the sources that are configured.
func newSources(cfg config.Receiver) ([]receiver.Source, error) {
	goHighLevel, err := ghl.NewSource(cfg.Auth())
	if err != nil {
		return nil, err
	}
	return []receiver.Source{goHighLevel}, nil
}

// listen opens the listeners of the webhooks and of the probes. The latter is nil if it is disabled.
func listen(ctx context.Context, flags receiverFlags) (webhooks, probes net.Listener, err error) {
	var config net.ListenConfig
	webhooks, err = config.Listen(ctx, "tcp", flags.listenAddress)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for webhooks: %w", err)
	}
	if flags.healthProbeBindAddress == "0" {
		return webhooks, nil, nil
	}
	probes, err = config.Listen(ctx, "tcp", flags.healthProbeBindAddress)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for probes: %w", errors.Join(err, webhooks.Close()))
	}
	return webhooks, probes, nil
}

// registerCommon registers the metrics of every process: its version, the events in the database, and the database connections.
func registerCommon(db *store.Store) error {
	err := errors.Join(
		metrics.RegisterBuild(ctrlmetrics.Registry),
		metrics.RegisterEvents(ctrlmetrics.Registry, db),
		metrics.RegisterPool(ctrlmetrics.Registry, "middleware", db.Pool().Stat),
	)
	if err != nil {
		return fmt.Errorf("set up metrics: %w", err)
	}
	return nil
}

// newMetricsServer returns nil if the endpoint is disabled.
func newMetricsServer(flags metricsFlags) (metricsserver.Server, error) {
	var cluster *rest.Config
	var client *http.Client
	if flags.needsKubernetes() {
		var err error
		if cluster, err = clusterConfig(); err != nil {
			return nil, err
		}
		if client, err = rest.HTTPClientFor(cluster); err != nil {
			return nil, fmt.Errorf("connect to the cluster: %w", err)
		}
	}
	server, err := metricsserver.NewServer(flags.serverOptions(), cluster, client)
	if err != nil {
		return nil, fmt.Errorf("set up the metrics endpoint: %w", err)
	}
	return server, nil
}

// checkMiddleware returns an error for a database with another schema version, or one that can never work. An unreachable database is no
// error: webhooks are answered 429 until it is reachable.
func checkMiddleware(ctx context.Context, db *store.Store, checks *preflights, inspect inspection, log logr.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, schemaTimeout)
	defer cancel()
	path, err := db.Path(ctx)
	if errors.Is(err, database.ErrUnusable) {
		return permanent(err)
	}
	if path.Pooler {
		log.Info("the middleware database is behind a pooler", "connection", path.String())
	}
	if err == nil {
		err = db.CheckSchema(ctx)
	}
	// A migration or a rollback may be in progress.
	if errors.Is(err, store.ErrSchemaOutdated) || errors.Is(err, store.ErrSchemaTooNew) {
		return err
	}
	return checks.start(ctx, preflight.Middleware, inspect)
}
