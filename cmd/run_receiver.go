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
	"github.com/dfmiddleware/verity-sync/internal/receiver"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// receiverConns is how many connections to the database a receiver has: the writer's, the relay's and a few to spare.
const receiverConns = 8

// runReceiver serves until ctx ends and everything that was accepted has been answered.
func runReceiver(ctx context.Context, cfg config.Receiver, flags receiverFlags, log logr.Logger) error {
	verifier, err := ghl.NewVerifier(cfg.Auth())
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
	measures := metrics.NewRelay(ctrlmetrics.Registry)
	relay, err := newRelay(cfg, flags.kubernetes, db, measures, log)
	if err != nil {
		return err
	}
	writer := store.NewWriter(db, store.WriterOptions{Committed: relay.Offer, Observe: measures.Committed})
	defer writer.Close()

	server, err := receiver.New(receiver.Config{
		Verifier:            verifier,
		Committer:           writer,
		Unanswered:          writer.Unanswered,
		Jobs:                receiverJobs{Store: db, relay: relay},
		JobsSecret:          cfg.JobsSecret.Reveal(),
		WarnUnauthenticated: cfg.AllowUnauthenticated,
		MaxInFlight:         flags.maxInFlight,
		MemoryLimit:         memory.SetLimit(),
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
	log.Info("listening for webhooks", "address", listener.Addr().String(), "database", cfg.DatabaseURL.String())

	group, ctx := errgroup.WithContext(ctx)
	// Metrics and probes are served, and rows relayed, until the last post is answered.
	rest, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		defer stopRest()
		return server.Serve(ctx, listener)
	})
	group.Go(func() error { return relay.Run(rest) })
	group.Go(func() error {
		// A receiver that ended would answer nobody: it stays, and answers 429.
		if err := checks.repeat(rest); err != nil {
			log.Error(err, "the database cannot serve; webhooks are answered 429")
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

// listen opens the listeners of the webhooks and of the probes; the latter is nil where there is none to be served.
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

// registerCommon registers what every process shows: what it is, what the database knows of all events, and how it is
// connected to it.
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

// newMetricsServer returns nil where there is none to be served.
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

// checkMiddleware refuses a database that is not this binary's, or that can never serve. One that does not answer now is no reason not to
// start: until it does, webhooks are answered 429.
func checkMiddleware(ctx context.Context, db *store.Store, checks *preflights, inspect inspection, log logr.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, schemaTimeout)
	defer cancel()
	path, err := db.Path(ctx)
	if errors.Is(err, database.ErrUnusable) {
		return permanent(err)
	}
	if path.Pooler {
		log.Info("the database is " + path.String())
	}
	if err == nil {
		err = db.CheckSchema(ctx)
	}
	// A migration may be under way, or a rollback.
	if errors.Is(err, store.ErrSchemaOutdated) || errors.Is(err, store.ErrSchemaTooNew) {
		return err
	}
	return checks.start(ctx, inspect)
}
