package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dfmiddleware/verity-sync/internal/config"
)

// controllerFlags are the flags of `verity-sync controller`.
type controllerFlags struct {
	log        logFlags
	metrics    metricsFlags
	kubernetes kubernetesFlags

	healthProbeBindAddress  string
	leaderElect             bool
	maxConcurrentReconciles int
	shutdownTimeout         time.Duration
}

func (f *controllerFlags) bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.healthProbeBindAddress, "health-probe-bind-address", ":8081", "address of the probes")
	fs.BoolVar(&f.leaderElect, "leader-elect", false,
		"elect a leader among several controllers; only the leader processes events. Required if more than one can run")
	fs.IntVar(&f.maxConcurrentReconciles, "max-concurrent-reconciles", 32,
		"maximum number of events that are processed at the same time; they mostly wait for networks")
	fs.DurationVar(&f.shutdownTimeout, "shutdown-timeout", 20*time.Second,
		"timeout of attempts in flight after SIGTERM; the pod's grace period must be longer")
	f.kubernetes.bind(fs)
	f.metrics.bind(fs)
	f.log.bind(fs)
}

func (f *controllerFlags) validate() error {
	return errors.Join(
		required("health-probe-bind-address", f.healthProbeBindAddress),
		atLeast("max-concurrent-reconciles", f.maxConcurrentReconciles, 1),
		atLeast("shutdown-timeout", f.shutdownTimeout, time.Second),
		f.metrics.validate(),
	)
}

func newControllerCommand(environ []string) *cobra.Command {
	var flags controllerFlags
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Reconcile WebhookEvents: forward them, sync leads and contacts",
		Long: "Reconcile WebhookEvents: forward each event to Verity, sync appointments to Verity's leads and contacts to\n" +
			"Aloware, and record the results in the status.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load[config.Controller](environ, flags.validate())
			if err != nil {
				return err
			}
			return runController(cmd.Context(), cfg, flags, flags.log.logger().WithName("controller"))
		},
	}
	flags.bind(cmd.Flags())
	return setup[config.Controller](cmd)
}
