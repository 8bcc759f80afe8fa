// Package system runs the whole of verity-sync as real processes on this machine: receivers and controllers, a Postgres, a control plane,
// and simulators of everything that they talk to, each on a free port of 127.0.0.1. The processes can be killed, paused and started again
// one by one, and the simulators can be set to fail. Nothing outlives the process that started it, and no file remains.
//
// It serves the dev environment, tests and benchmarks alike, and therefore knows nothing of package testing.
package system

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/go-logr/logr"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/dfmiddleware/verity-sync/test/sim/aloware"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/sim/verity"
	"github.com/dfmiddleware/verity-sync/test/sim/webhooksink"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// Options shape a system. The zero value is one without receivers and controllers.
type Options struct {
	// Receivers and Controllers are how many of each are started. More than one controller elect a leader.
	Receivers, Controllers int
	// Binary is the verity-sync to run. Without it, it is built, with BuildFlags as further flags of go build.
	Binary     string
	BuildFlags []string
	// DatabaseURL names a database of a Postgres that runs already, whose user may create others; Kubeconfig a control plane that has the
	// custom resource definition. The system makes databases and a namespace of its own there, and drops the databases in the end. Where
	// one is not given, it starts a server of its own.
	DatabaseURL, Kubeconfig string
	// Namespace is one that exists already, for instance that of another system; "" makes a new one.
	Namespace string
	// OwnVerityServer has Verity's database on a second Postgres of the system's own, so that either can fail without the other.
	OwnVerityServer bool
	// WebhookSink configures the webhook sink.
	WebhookSink bool
	// Durable has what is committed survive a crash of the machine, as in production. Without it the servers that the system starts are
	// faster.
	Durable bool
	// PostgresSettings are configuration parameters of the servers that the system starts.
	PostgresSettings map[string]string
	// Env is added to the environment of all processes, which otherwise has only the variables of the system.
	Env map[string]string
	// Wire is called before the processes start, when all that they talk to is there, with the environment that they will have: it can put
	// something in between. It may be nil.
	Wire func(ctx context.Context, s *System, env map[string]string) error
	// Say is called with each step, in a sentence. It may be nil.
	Say func(string)
}

// A System is everything that runs. Its fields are for its users to read.
type System struct {
	// Receivers and Controllers can be stopped, killed, paused and started again.
	Receivers, Controllers []*Process

	// Sender is a GoHighLevel that posts webhooks, with the key and the secret that the receivers know.
	Sender *ghlsender.Sender
	// Verity, GHL and Aloware are the simulators; their faults can be scripted at any time. Verity makes its contacts from the webhooks
	// that are forwarded to it. GHL knows the sender's location, the one whose token serves what names no location.
	Verity  *verity.Server
	GHL     *ghlapi.Server
	Aloware *aloware.Server
	// WebhookSink is used if Options.WebhookSink is set.
	WebhookSink *webhooksink.Server
	// VerityURL, GHLURL, AlowareURL and WebhookSinkURL are where they listen.
	VerityURL, GHLURL, AlowareURL, WebhookSinkURL string

	// Database is the middleware database, VerityDatabase Verity's.
	Database                       *pgxpool.Pool
	VerityDatabase                 *verity.Database
	DatabaseURL, VerityDatabaseURL string

	// Kubernetes acts as an administrator. Kubeconfig is the path of a file that does so in Namespace.
	Kubernetes client.WithWatch
	Kubeconfig string
	Namespace  string

	// JobsSecret is what the jobs endpoint wants.
	JobsSecret string
	// Dir is the temporary directory of the system. The logs are in it.
	Dir string

	// Postgres and ControlPlane are the system's own; nil where they were given. VerityPostgres is nil unless it was asked for.
	Postgres       *postgres.Server
	VerityPostgres *postgres.Server
	ControlPlane   *controlplane.ControlPlane
	// Binary is the verity-sync that runs.
	Binary string

	options Options
	// alowareToken is what its simulator wants.
	alowareToken  string
	simulators    []*simulator
	reservations  []net.Listener
	remove, close func() error

	sayMu sync.Mutex
}

// quietClients gives controller-runtime a logger. Its clients have nothing to say that their errors do not, but complain without one.
var quietClients = sync.OnceFunc(func() { log.SetLogger(logr.Discard()) })

// Start starts a system and waits until all of it is ready, for as long as ctx allows. Close must be called in the end.
func Start(ctx context.Context, options Options) (*System, error) {
	quietClients()
	s := &System{options: options, Binary: options.Binary, JobsSecret: rand.Text()}
	s.close = sync.OnceValue(s.closeAll)
	var err error
	if s.Dir, s.remove, err = proc.TempDir("verity-sync-system-"); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *System) start(ctx context.Context) error {
	parts, partsCtx := errgroup.WithContext(ctx)
	parts.Go(func() error { return s.startDatabases(partsCtx) })
	parts.Go(func() error { return s.startKubernetes(partsCtx) })
	parts.Go(func() error { return s.build(partsCtx) })
	if err := parts.Wait(); err != nil {
		return err
	}
	if err := s.startSimulators(ctx); err != nil {
		return err
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	return s.startProcesses(ctx)
}

func (s *System) startProcesses(ctx context.Context) error {
	env := s.environment()
	maps.Copy(env, s.options.Env)
	if s.options.Wire != nil {
		if err := s.options.Wire(ctx, s, env); err != nil {
			return err
		}
	}
	for i := range s.options.Receivers {
		p, err := s.newReceiver(ctx, i, env)
		if err != nil {
			return err
		}
		s.Receivers = append(s.Receivers, p)
	}
	for i := range s.options.Controllers {
		p, err := s.newController(ctx, i, env)
		if err != nil {
			return err
		}
		s.Controllers = append(s.Controllers, p)
	}
	s.say("starting %d × verity-sync receiver and %d × verity-sync controller", len(s.Receivers), len(s.Controllers))
	var group errgroup.Group
	for _, p := range s.processes() {
		group.Go(func() error { return p.Start(ctx) })
	}
	return group.Wait()
}

func (s *System) processes() []*Process { return slices.Concat(s.Receivers, s.Controllers) }

// Close kills the processes, stops everything else and removes what it left. It may be called again. The error is about what could not be
// stopped, or a data race in one of the processes.
func (s *System) Close() error { return s.close() }

func (s *System) closeAll() error {
	var group errgroup.Group
	for _, p := range s.processes() {
		group.Go(p.Kill)
	}
	failures := []error{group.Wait(), s.races()}
	for _, sim := range s.simulators {
		failures = append(failures, sim.close())
	}
	failures = append(failures, s.closeReservations(), s.closeDatabases())
	if s.ControlPlane != nil {
		failures = append(failures, s.ControlPlane.Close())
	}
	return errors.Join(append(failures, s.remove())...)
}

// say is called from several goroutines, and Options.Say from one at a time.
func (s *System) say(format string, arguments ...any) {
	if s.options.Say == nil {
		return
	}
	s.sayMu.Lock()
	defer s.sayMu.Unlock()
	s.options.Say(fmt.Sprintf(format, arguments...))
}
