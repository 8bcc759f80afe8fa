package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dfmiddleware/verity-sync/internal/config"
)

// receiverFlags say how the receiver runs.
type receiverFlags struct {
	log        logFlags
	metrics    metricsFlags
	kubernetes kubernetesFlags

	listenAddress          string
	healthProbeBindAddress string
	maxInFlight            int
	drainDelay             time.Duration
	drainTimeout           time.Duration
	shutdownTimeout        time.Duration
}

func (f *receiverFlags) bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.listenAddress, "listen-address", ":8080", "address of the webhooks, the jobs endpoint and the probes")
	fs.StringVar(&f.healthProbeBindAddress, "health-probe-bind-address", ":8081",
		"address of the probes alone, which answers however many connections there are to the other; 0 for none")
	fs.IntVar(&f.maxInFlight, "max-in-flight", 1000, "webhooks that are authenticated and committed at a time; more are answered 429")
	fs.DurationVar(&f.drainDelay, "drain-delay", 5*time.Second,
		"how long no post must have come after SIGTERM turned readiness off, until posts are no longer accepted: "+
			"load balancers have noticed then")
	fs.DurationVar(&f.drainTimeout, "drain-timeout", 30*time.Second,
		"how long posts are accepted after SIGTERM at most; it is the drain delay where that is longer")
	fs.DurationVar(&f.shutdownTimeout, "shutdown-timeout", 20*time.Second,
		"how long posts under way have to finish after the drain; the pod's grace period must be longer than both together")
	f.kubernetes.bind(fs)
	f.metrics.bind(fs)
	f.log.bind(fs)
}

func (f *receiverFlags) mistakes() error {
	return errors.Join(
		required("listen-address", f.listenAddress),
		required("health-probe-bind-address", f.healthProbeBindAddress),
		atLeast("max-in-flight", f.maxInFlight, 1),
		atLeast("drain-delay", f.drainDelay, 0),
		atLeast("drain-timeout", f.drainTimeout, 0),
		atLeast("shutdown-timeout", f.shutdownTimeout, time.Second),
		f.metrics.mistakes(),
	)
}

func newReceiverCommand(environ []string) *cobra.Command {
	var flags receiverFlags
	cmd := &cobra.Command{
		Use:   "receiver",
		Short: "Receive webhooks, store them and create their WebhookEvents",
		Long: "Receive GoHighLevel's webhooks on POST /api/webhooks/ghl, store each one in Postgres before it is\n" +
			"acknowledged, and create its WebhookEvent. Any number of receivers can run at a time.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load[config.Receiver](environ, flags.mistakes())
			if err != nil {
				return err
			}
			return runReceiver(cmd.Context(), cfg, flags, flags.log.logger().WithName("receiver"))
		},
	}
	flags.bind(cmd.Flags())
	return setup[config.Receiver](cmd)
}
