// Package receiver accepts webhooks over HTTP. It answers 200 after the event is stored, and 429 if the event cannot be stored. GoHighLevel
// retries a 429 under every version of its rules, so an internal failure is never a 5xx or a redirect. The package knows no source of
// webhooks beyond the Source interface, nothing of what happens to an event afterwards, and no Kubernetes.
package receiver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Limits of a request. Those of memory are in memory.go.
const (
	// unparseableRate is how many bodies that cannot be parsed are stored a second, and unparseableBurst how many at once.
	unparseableRate  = 1
	unparseableBurst = 100

	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	commitTimeout = 3 * time.Second
	// writeTimeout starts at the end of the headers: body, commit, and time for a slow client to read the answer.
	writeTimeout = bodyTimeout + commitTimeout + 7*time.Second
)

// DefaultIdleTimeout is the idle timeout of a Config without one.
const DefaultIdleTimeout = time.Minute

// warnInterval is the interval of the warning about ALLOW_UNAUTHENTICATED.
const warnInterval = time.Minute

// Committer stores deliveries.
type Committer interface {
	// Commit returns after d is stored, or when ctx ends. An error of class destination.Permanent means that d can never be stored. After
	// any other error the sender must send it again.
	Commit(ctx context.Context, d store.Delivery) (store.Receipt, error)
}

// Jobs is what the jobs endpoint needs.
type Jobs interface {
	// Backlog counts unfinished events.
	Backlog(ctx context.Context) (store.Backlog, error)
	// Wake makes the relay and the controllers look for work now. It does not wait for them.
	Wake(ctx context.Context) error
}

// Config configures a Server. Every field is required unless its comment says otherwise.
type Config struct {
	// Sources are the systems that may send webhooks, each at its own path.
	Sources   []Source
	Committer Committer
	// Jobs may be nil if JobsSecret is empty.
	Jobs Jobs
	// JobsSecret is the bearer token of the jobs endpoint. If it is empty, there is no jobs endpoint.
	JobsSecret string
	// Unanswered, if it is set, gets every stored delivery whose sender closed the connection before the answer: the sender delivers it
	// again. It must not block.
	Unanswered func(store.Delivery, store.Receipt)
	// WarnUnauthenticated logs a warning every minute that anyone can send webhooks.
	WarnUnauthenticated bool
	// MaxInFlight bounds the requests that are being authenticated and committed at a time.
	MaxInFlight int
	// MemoryLimit is the memory limit of the process in bytes; 0 if it is unknown.
	MemoryLimit int64
	// IdleTimeout is how long a connection stays open without a request; 0 means DefaultIdleTimeout. A proxy that keeps connections longer
	// can send a request on one that is closing, and then answers 502.
	IdleTimeout time.Duration
	// DrainDelay is how long no webhook must have arrived, after readiness went off, before the listener closes: by then load balancers
	// send webhooks elsewhere. DrainTimeout bounds the drain. A longer DrainDelay overrides it.
	DrainDelay, DrainTimeout time.Duration
	// ShutdownTimeout is the time for requests in flight to finish after that. Every request finishes within 14 s.
	ShutdownTimeout time.Duration
	Metrics         *metrics.Receiver
	Log             logr.Logger
}

// Server is the HTTP side of the receiver.
type Server struct {
	cfg      Config
	sources  map[string]Source
	limits   limits
	slots    *semaphore.Weighted
	bodies   *semaphore.Weighted
	decoding *semaphore.Weighted
	refusals *throttle
	// unparseable limits the events of bodies that cannot be parsed.
	unparseable *rate.Limiter
	draining    atomic.Bool
	// lastWebhook is the time of the last webhook while draining, in nanoseconds since 1970.
	lastWebhook atomic.Int64
}

// New checks cfg and returns a Server that is ready to serve.
func New(cfg Config) (*Server, error) {
	switch {
	case len(cfg.Sources) == 0, cfg.Committer == nil, cfg.Metrics == nil:
		return nil, errors.New("set up the receiver: sources, committer and metrics are required")
	case cfg.JobsSecret != "" && cfg.Jobs == nil:
		return nil, errors.New("set up the receiver: a jobs secret needs jobs")
	case cfg.MaxInFlight < 1:
		return nil, fmt.Errorf("set up the receiver: expected at least one request in flight, got %d", cfg.MaxInFlight)
	case cfg.DrainDelay < 0 || cfg.ShutdownTimeout <= 0:
		return nil, errors.New("set up the receiver: expected a drain delay of at least 0 and a shutdown timeout above 0")
	}
	sources, err := sourcesByPath(cfg.Sources)
	if err != nil {
		return nil, err
	}
	limits := limitsOf(cfg.MemoryLimit)
	return &Server{
		cfg:      cfg,
		sources:  sources,
		limits:   limits,
		slots:    semaphore.NewWeighted(int64(cfg.MaxInFlight)),
		bodies:   semaphore.NewWeighted(limits.bodies),
		decoding: semaphore.NewWeighted(limits.decoding),
		refusals: newThrottle(),

		unparseable: rate.NewLimiter(unparseableRate, unparseableBurst),
	}, nil
}

// Serve answers requests on l until ctx ends. Then it drains, closes l, and answers every request on a connection that was accepted by
// then. The error is nil unless l failed or requests did not finish in time.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	conns := newConnections(s.limits.connections)
	limited := limit(l, conns, s.connectionRefused)
	defer limited.refusing.Wait()
	srv := s.newHTTPServer(s, conns)
	ctx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	if s.cfg.WarnUnauthenticated {
		background.Go(func() { s.warnUnauthenticated(ctx) })
	}

	served := make(chan error, 1)
	go func() { served <- srv.Serve(limited) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve webhooks: %w", err)
	case <-ctx.Done():
	}

	if err := s.drain(served); err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("close the listener: %w", errors.Join(err, srv.Close()))
	}
	// After this, every accepted connection is tracked.
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve webhooks while draining: %w", errors.Join(err, srv.Close()))
	}
	return s.finish(context.WithoutCancel(ctx), srv, conns)
}

// newHTTPServer returns a server that reports its connections to conns. It serves HTTP/1 only: an HTTP/2 connection carries any number of
// requests, which connectionCost does not cover.
func (s *Server) newHTTPServer(handler http.Handler, conns *connections) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           handler,
		Protocols:         &protocols,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       cmp.Or(s.cfg.IdleTimeout, DefaultIdleTimeout),
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState:         conns.track,
		ErrorLog:          slog.NewLogLogger(logr.ToSlogHandler(s.cfg.Log), slog.LevelWarn),
		// Otherwise OPTIONS * is answered 200.
		DisableGeneralOptionsHandler: true,
	}
}

// connectionRefused counts and logs a connection above the limit.
func (s *Server) connectionRefused() {
	s.cfg.Metrics.ConnectionRefused()
	if suppressed, ok := s.refusals.admit("connection"); ok {
		s.cfg.Log.Info("connection limit reached; new connections are answered 429; raise the memory limit or add receivers",
			"limit", s.limits.connections, "suppressed", suppressed)
	}
}

// drain turns readiness off. It returns when no webhook has arrived for the drain delay, or after the drain timeout: until then a load
// balancer may still send some.
func (s *Server) drain(served <-chan error) error {
	s.cfg.Log.Info("draining; webhooks are accepted until none has arrived for delaySeconds",
		"delaySeconds", s.cfg.DrainDelay.Seconds(), "timeoutSeconds", s.cfg.DrainTimeout.Seconds())
	s.lastWebhook.Store(time.Now().UnixNano())
	s.draining.Store(true)
	timeout := time.After(max(s.cfg.DrainTimeout, s.cfg.DrainDelay))
	for {
		quiet := time.Until(time.Unix(0, s.lastWebhook.Load()).Add(s.cfg.DrainDelay))
		if quiet <= 0 {
			return nil
		}
		select {
		case err := <-served:
			return fmt.Errorf("serve webhooks while draining: %w", err)
		case <-timeout:
			s.cfg.Log.Info("webhooks still arrive at the end of the drain timeout; no more are accepted; " +
				"check whether a load balancer ignores readiness")
			return nil
		case <-time.After(quiet):
		}
	}
}

// finish answers the requests in flight of a server that accepts no more connections, and stops it.
func (s *Server) finish(ctx context.Context, srv *http.Server, conns *connections) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ShutdownTimeout)
	defer cancel()
	err := conns.waitUntilQuiet(ctx)
	if err == nil {
		err = srv.Shutdown(ctx)
	}
	if err != nil {
		return fmt.Errorf("finish requests in flight: %w", errors.Join(err, srv.Close()))
	}
	return nil
}

func (s *Server) warnUnauthenticated(ctx context.Context) {
	tick := time.NewTicker(warnInterval)
	defer tick.Stop()
	for {
		s.cfg.Log.Info("ALLOW_UNAUTHENTICATED is set: anyone who can reach the receiver can create events; use it for trials only")
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
