package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/receiver"
)

// receiverFlags are the flags of `verity-sync receiver`.
type receiverFlags struct {
	log        logFlags
	metrics    metricsFlags
	kubernetes kubernetesFlags

	listenAddress          string
	healthProbeBindAddress string
	maxInFlight            int
	idleTimeout            time.Duration
	drainDelay             time.Duration
	drainTimeout           time.Duration
	shutdownTimeout        time.Duration
}

func (f *receiverFlags) bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.listenAddress, "listen-address", ":8080", "address of the webhook endpoint, the jobs endpoint and the probes")
	fs.StringVar(&f.healthProbeBindAddress, "health-probe-bind-address", ":8081",
		"separate address of the probes, which open connections for webhooks cannot block; 0 for none")
	fs.IntVar(&f.maxInFlight, "max-in-flight", 1000,
		"maximum number of webhooks in flight, from authentication to commit; further webhooks are answered 429")
	fs.DurationVar(&f.idleTimeout, "idle-timeout", receiver.DefaultIdleTimeout,
		"how long a connection stays open without a request; it must exceed the idle timeout of the load balancer")
	fs.DurationVar(&f.drainDelay, "drain-delay", 5*time.Second,
		"after SIGTERM, the receiver is not ready, and accepts webhooks until none has arrived for this long: "+
			"by then load balancers have removed it")
	fs.DurationVar(&f.drainTimeout, "drain-timeout", 30*time.Second,
		"maximum time after SIGTERM in which webhooks are accepted; the drain delay if that is longer")
	fs.DurationVar(&f.shutdownTimeout, "shutdown-timeout", 20*time.Second,
		"timeout of webhooks in flight after the drain; the pod's grace period must exceed the sum of both")
	f.kubernetes.bind(fs)
	f.metrics.bind(fs)
	f.log.bind(fs)
}

func (f *receiverFlags) validate() error {
	return errors.Join(
		required("listen-address", f.listenAddress),
		required("health-probe-bind-address", f.healthProbeBindAddress),
		atLeast("max-in-flight", f.maxInFlight, 1),
		atLeast("idle-timeout", f.idleTimeout, time.Second),
		atLeast("drain-delay", f.drainDelay, 0),
		atLeast("drain-timeout", f.drainTimeout, 0),
		atLeast("shutdown-timeout", f.shutdownTimeout, time.Second),
		f.metrics.validate(),
	)
}

func newReceiverCommand(environ []string) *cobra.Command {
	var flags receiverFlags
	cmd := &cobra.Command{
		Use:   "receiver",
		Short: "Receive webhooks, store them and create their WebhookEvents",
		Long: "Receive GoHighLevel's webhooks on POST /api/webhooks/ghl, store each webhook in Postgres, acknowledge it, and\n" +
			"create its WebhookEvent. Any number of receivers can run at the same time.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load[config.Receiver](environ, flags.validate())
			if err != nil {
				return err
			}
			return runReceiver(cmd.Context(), cfg, flags, flags.log.logger().WithName("receiver"))
		},
	}
	flags.bind(cmd.Flags())
	return setup[config.Receiver](cmd)
}
