package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/dfmiddleware/verity-sync/controllers"
	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/plan"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// eventSource is the reporting controller of Kubernetes Events.
const eventSource = "verity-sync"

// controllerConns is the maximum number of database connections of a controller. An attempt mostly waits for networks: its claim and its
// record take a few milliseconds each.
const controllerConns = 16

// runController reconciles until ctx ends and all attempts in flight have finished.
func runController(ctx context.Context, cfg config.Controller, flags controllerFlags, log logr.Logger) error {
	db, err := store.Open(ctx, cfg.DatabaseURL.Reveal(), store.Options{Name: "verity-sync controller", MaxConns: controllerConns})
	if err != nil {
		return classified(err)
	}
	defer db.Close()
	checks := newPreflights(log)
	if err := checkMiddleware(ctx, db, checks, ofMiddleware(db, cfg.DatabaseURL, store.ControllerProcess), log); err != nil {
		return err
	}
	controllerMetrics := metrics.NewController(ctrlmetrics.Registry, plan.Specs())
	if err := registerCommon(db); err != nil {
		return err
	}
	namespace := flags.kubernetes.resolveNamespace(os.Getenv, serviceAccountNamespace)
	mark := &controllers.Mark{}
	mgr, recorder, err := newManager(flags, namespace, db.Installation, mark, controllerMetrics, log)
	if err != nil {
		return err
	}
	changed := func(name string, up bool) {
		if up {
			log.Info("circuit breaker closed; held events are released", "destination", name)
		} else {
			log.Info("circuit breaker opened; events that need the destination are held until a trial call succeeds", "destination", name)
		}
		controllerMetrics.Breaker(name, up)
		recorder.destination(name, up)
	}
	planner, err := openPlanner(ctx, plan.Options{
		Config: cfg, Workers: flags.maxConcurrentReconciles, Store: db, Metrics: controllerMetrics, Changed: changed, Log: log,
	})
	if err != nil {
		return err
	}
	defer planner.Close()
	if leads := planner.Leads(); leads != nil {
		if err := checks.start(ctx, preflight.Verity, ofVerity(leads, cfg.VerityDatabaseURL)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	heartbeat := &controllers.Heartbeat{
		Rows: db, Mark: mark, RolledBack: recorder.databaseRolledBack, Log: mgr.GetLogger().WithName("heartbeat"),
	}
	if err := addController(mgr, cfg, flags, namespace, db, planner, heartbeat, controllerMetrics, cancel); err != nil {
		return err
	}
	go func() {
		if err := checks.repeat(ctx); err != nil {
			cancel(err)
		}
	}()
	log.Info("starting the controller",
		"namespace", namespace, "middlewareDatabase", cfg.DatabaseURL.String(), "verityDatabase", cfg.VerityDatabaseURL.String())
	err = mgr.Start(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, store.ErrFenced) || errors.Is(cause, preflight.ErrFailed) {
		return cause
	}
	if err != nil {
		return fmt.Errorf("run the controller: %w", err)
	}
	return nil
}

// addController adds the reconciler and the controller's background tasks to the manager.
func addController(mgr ctrl.Manager, cfg config.Controller, flags controllerFlags, namespace string, db *store.Store,
	planner *plan.Planner, heartbeat *controllers.Heartbeat, controllerMetrics *metrics.Controller, stop context.CancelCauseFunc,
) error {
	reconciler := &controllers.WebhookEventReconciler{
		Client:    mgr.GetClient(),
		APIReader: mgr.GetAPIReader(),
		Rows:      db,
		Plan:      planner,
		Recorder:  mgr.GetEventRecorder(eventSource),
		Backoff: controllers.Backoff{
			Base: cfg.RetryBaseDelay, Max: cfg.RetryMaxDelay,
			MaxAttempts: int32(cfg.RetryMaxAttempts), //nolint:gosec // Checked at start.
		},
		TTL:         controllers.TTL{Done: cfg.DoneTTL, Error: cfg.ErrorTTL},
		Retention:   cfg.Retention,
		Metrics:     controllerMetrics,
		Identity:    identity(),
		Concurrency: flags.maxConcurrentReconciles,
		OnFenced:    func(err error) { stop(err) },
	}
	if err := addControllers(mgr, reconciler, mgr.GetLogger().WithName("setup")); err != nil {
		return err
	}
	heartbeat.Reconciler = reconciler
	if err := mgr.Add(heartbeat); err != nil {
		return fmt.Errorf("set up the heartbeat: %w", err)
	}
	if err := mgr.Add(&controllers.Housekeeper{
		Reconciler:    reconciler,
		Rows:          db,
		Namespace:     namespace,
		FinishedLimit: cfg.FinishedHistoryLimit,
		MaxWaiting:    cfg.MaxWaitingEvents,
		Log:           mgr.GetLogger().WithName("housekeeping"),
	}); err != nil {
		return fmt.Errorf("set up housekeeping: %w", err)
	}
	if err := mgr.Add(&controllers.Releaser{
		Reconciler: reconciler, Rows: db, Namespace: namespace, Outages: planner.Outages,
		Capacity: controllers.Capacity{Slots: planner.Slots, Released: planner.Released()},
		Log:      mgr.GetLogger().WithName("releaser"),
	}); err != nil {
		return fmt.Errorf("set up the release of held events: %w", err)
	}
	if err := mgr.Add(&controllers.Retention{Rows: db, Keep: cfg.Retention, Log: mgr.GetLogger().WithName("retention")}); err != nil {
		return fmt.Errorf("set up retention: %w", err)
	}
	return nil
}

// newManager returns a manager that watches one namespace, and the recorder of Kubernetes Events about its lease. The manager is ready
// while it can list and watch WebhookEvents.
func newManager(flags controllerFlags, namespace string, installation installationOf, mark *controllers.Mark,
	controllerMetrics *metrics.Controller, log logr.Logger,
) (ctrl.Manager, *leaseEvents, error) {
	cluster, err := clusterConfig()
	if err != nil {
		return nil, nil, err
	}
	lock, recorder, err := newElectionLock(cluster, namespace, installation, mark, log)
	if err != nil {
		return nil, nil, err
	}
	health := controllers.NewWatchHealth(controllerMetrics, log.WithName("watch"), controllers.WatchTolerance)
	mgr, err := ctrl.NewManager(cluster, ctrl.Options{
		Scheme: newScheme(),
		Logger: log,
		Cache: cache.Options{
			DefaultNamespaces: map[string]cache.Config{namespace: {}},
			DefaultTransform:  cache.TransformStripManagedFields(),
			NewInformer:       health.NewInformer,
		},
		Metrics:                             flags.metrics.serverOptions(),
		HealthProbeBindAddress:              flags.healthProbeBindAddress,
		LeaderElection:                      flags.leaderElect,
		LeaderElectionID:                    leaderElectionID, // For the metrics of the election.
		LeaderElectionResourceLockInterface: lock,
		RenewDeadline:                       new(renewDeadline),
		// The process ends with its leadership. Its successor does not wait until the lease expires.
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &flags.shutdownTimeout,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("set up the manager: %w", err)
	}
	recorder.recorder = mgr.GetEventRecorder(eventSource)
	if err := mgr.AddHealthzCheck("healthz", healthz.Ping); err != nil {
		return nil, nil, fmt.Errorf("set up liveness: %w", err)
	}
	health.Cache = mgr.GetCache()
	if err := errors.Join(mgr.Add(health), mgr.AddReadyzCheck("watch", health.Ready)); err != nil {
		return nil, nil, fmt.Errorf("set up readiness: %w", err)
	}
	return mgr, recorder, nil
}
