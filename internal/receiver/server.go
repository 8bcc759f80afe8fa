// Package receiver takes webhooks in over HTTP: it answers 200 once an event is safely stored, and asks for it again
// with 429 whenever it cannot be. GHL retries on 429 under every version of its rules, so that no failure of ours is
// answered with a 5xx or a redirect. What happens to an event afterwards is not known here, nor is Kubernetes.
package receiver

import (
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

	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Limits of a request. Those of memory are in memory.go.
const (
	// unparseableRate is how many bodies that cannot be read are stored a second, and unparseableBurst how many at once.
	unparseableRate  = 1
	unparseableBurst = 100

	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	idleTimeout   = 60 * time.Second
	commitTimeout = 3 * time.Second
	// writeTimeout runs from the end of the headers: body, commit, and time for a slow client to take the answer.
	writeTimeout = bodyTimeout + commitTimeout + 7*time.Second
)

// warnInterval is how often ALLOW_UNAUTHENTICATED is complained about.
const warnInterval = time.Minute

// Committer stores deliveries.
type Committer interface {
	// Commit returns once d is safely stored, or when ctx ends. An error of class destination.Permanent says that d can
	// never be stored; after any other one the sender is asked to send it again.
	Commit(ctx context.Context, d store.Delivery) (store.Receipt, error)
}

// Jobs is what the jobs endpoint asks for.
type Jobs interface {
	// Backlog counts what is not finished.
	Backlog(ctx context.Context) (store.Backlog, error)
	// Wake makes those that look for work look now. It does not wait for them.
	Wake(ctx context.Context) error
}

// Config is what a Server is made of. All of it is required but where it says otherwise.
type Config struct {
	Verifier  *ghl.Verifier
	Committer Committer
	// Jobs may be nil where JobsSecret is empty.
	Jobs Jobs
	// JobsSecret is the bearer token of the jobs endpoint, which does not exist without one.
	JobsSecret string
	// Unanswered, where it is not nil, is told of a delivery that was stored and whose sender left before its answer: it
	// sends the delivery again. It must not block.
	Unanswered func(store.Delivery, store.Receipt)
	// WarnUnauthenticated logs a warning every minute: posts are accepted from anyone.
	WarnUnauthenticated bool
	// MaxInFlight bounds the requests that are being authenticated and committed at a time.
	MaxInFlight int
	// MemoryLimit is how much memory the process may use, in bytes; 0 where that is not known.
	MemoryLimit int64
	// DrainDelay is how long no post must have come, after readiness went off, before the listener closes: load balancers have
	// noticed then. DrainTimeout bounds how long that takes; it is DrainDelay where that is longer.
	DrainDelay, DrainTimeout time.Duration
	// ShutdownTimeout is how long requests in flight have to finish after that. 14 s finish every one of them.
	ShutdownTimeout time.Duration
	Metrics         *metrics.Receiver
	Log             logr.Logger
}

// Server is the HTTP side of the receiver.
type Server struct {
	cfg      Config
	limits   limits
	slots    *semaphore.Weighted
	bodies   *semaphore.Weighted
	decoding *semaphore.Weighted
	refusals *throttle
	// unparseable limits the events that are made of bodies that cannot be read.
	unparseable *rate.Limiter
	draining    atomic.Bool
	// lastPost is when the last post came, in nanoseconds since 1970, while draining.
	lastPost atomic.Int64
}

// New checks cfg and returns a Server that is ready to serve.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Verifier == nil, cfg.Committer == nil, cfg.Metrics == nil:
		return nil, errors.New("set up the receiver: verifier, committer and metrics are required")
	case cfg.JobsSecret != "" && cfg.Jobs == nil:
		return nil, errors.New("set up the receiver: a jobs secret needs jobs")
	case cfg.MaxInFlight < 1:
		return nil, fmt.Errorf("set up the receiver: expected at least one request in flight, got %d", cfg.MaxInFlight)
	case cfg.DrainDelay < 0 || cfg.ShutdownTimeout <= 0:
		return nil, errors.New("set up the receiver: expected a drain delay of at least 0 and a shutdown timeout above 0")
	}
	limits := limitsOf(cfg.MemoryLimit)
	return &Server{
		cfg:      cfg,
		limits:   limits,
		slots:    semaphore.NewWeighted(int64(cfg.MaxInFlight)),
		bodies:   semaphore.NewWeighted(limits.bodies),
		decoding: semaphore.NewWeighted(limits.decoding),
		refusals: newThrottle(),

		unparseable: rate.NewLimiter(unparseableRate, unparseableBurst),
	}, nil
}

// Serve answers requests on l until ctx ends and every request on a connection that was accepted by then, or during the
// drain delay, has been answered. It closes l. The error is nil unless l failed or requests did not finish in time.
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
	// Every connection that was accepted is tracked once this has ended.
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve webhooks while draining: %w", errors.Join(err, srv.Close()))
	}
	return s.finish(context.WithoutCancel(ctx), srv, conns)
}

// newHTTPServer returns a server that tells conns of its connections. It speaks HTTP/1 only: in HTTP/2 one connection would carry any
// number of requests with headers, against what connectionCost says.
func (s *Server) newHTTPServer(handler http.Handler, conns *connections) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           handler,
		Protocols:         &protocols,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState:         conns.track,
		ErrorLog:          slog.NewLogLogger(logr.ToSlogHandler(s.cfg.Log), slog.LevelWarn),
		// OPTIONS * would be answered 200.
		DisableGeneralOptionsHandler: true,
	}
}

// connectionRefused counts and logs a connection that is beyond the limit.
func (s *Server) connectionRefused() {
	s.cfg.Metrics.ConnectionRefused()
	if suppressed, ok := s.refusals.admit("connection"); ok {
		s.cfg.Log.Info("connection refused with 429, as many are open as the memory allows; more memory or more receivers allow more",
			"limit", s.limits.connections, "suppressed", suppressed)
	}
}

// drain turns readiness off and returns once no post has come for the drain delay, or after the drain timeout: until then
// there are load balancers that have not noticed.
func (s *Server) drain(served <-chan error) error {
	s.cfg.Log.Info("draining", "delay", s.cfg.DrainDelay.String(), "timeout", s.cfg.DrainTimeout.String())
	s.lastPost.Store(time.Now().UnixNano())
	s.draining.Store(true)
	timeout := time.After(max(s.cfg.DrainTimeout, s.cfg.DrainDelay))
	for {
		quiet := time.Until(time.Unix(0, s.lastPost.Load()).Add(s.cfg.DrainDelay))
		if quiet <= 0 {
			return nil
		}
		select {
		case err := <-served:
			return fmt.Errorf("serve webhooks while draining: %w", err)
		case <-timeout:
			s.cfg.Log.Info("posts still come at the end of the drain timeout, a load balancer has not noticed that this receiver stops")
			return nil
		case <-time.After(quiet):
		}
	}
}

// finish ends a server that accepts no more connections once it has answered what it has.
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
		s.cfg.Log.Info("warning: ALLOW_UNAUTHENTICATED is set, anyone who reaches this address can post events")
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
