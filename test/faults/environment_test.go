package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/pgbouncer"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgproxy"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

const (
	// restoreTimeout is how long a part that was broken may take to work again.
	restoreTimeout = 2 * time.Minute
	tick           = 50 * time.Millisecond

	maxLive, maxWaiting = 100, 200
	// retryMaxDelay is the longest delay between two attempts of an event, and between two probes of a destination.
	retryMaxDelay = 1500 * time.Millisecond
	// drainDelay is how long a receiver continues after SIGTERM.
	drainDelay = 3 * time.Second
)

// environment is a system, its history so far, and the proxies and watchers around it.
type environment struct {
	system   *system.System
	replicas []*replica
	watch    *watcher
	// The proxies between the processes and the servers and destinations.
	destinations map[string]*tap
	api          *apiProxy
	own, veritys *pgproxy.Proxy
	// poolers are behind the Postgres proxies, if the run has them.
	poolers  []*pgbouncer.Pooler
	balancer *balancer
	// calls is how many have begun.
	calls atomic.Int64

	mu      sync.Mutex
	history History
}

// record changes the history.
func (e *environment) record(change func(*History)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.history)
}

func startEnvironment(t *testing.T, seed uint64) *environment {
	t.Helper()
	e := &environment{history: History{Seed: seed}, destinations: map[string]*tap{}}
	t.Cleanup(func() { assert.NoError(t, e.close()) })
	e.system = systemtest.StartOnOwnServers(t, system.Options{
		Receivers: 2, Controllers: 2, OwnVerityServer: true, Wire: e.wire,
		// As many as are needed, so that it does not take long to take all.
		PostgresSettings: map[string]string{"max_connections": "80"},
		Env: map[string]string{
			"RETRY_BASE_DELAY": "200ms", "RETRY_MAX_DELAY": retryMaxDelay.String(),
			"VERITY_ON_CANCEL": "clear",
			"MAX_LIVE_EVENTS":  strconv.Itoa(maxLive), "MAX_WAITING_EVENTS": strconv.Itoa(maxWaiting),
			// Every WebhookEvent stays to be seen.
			"FINISHED_HISTORY_LIMIT": "1000000",
		},
	})
	for _, p := range e.system.Receivers {
		p.Flags = append(p.Flags, "--drain-delay="+drainDelay.String())
		e.replicas = append(e.replicas, &replica{Process: p, environment: e})
	}
	for _, p := range e.system.Controllers {
		e.replicas = append(e.replicas, &replica{Process: p, environment: e})
	}
	ctx, cancel := context.WithTimeout(t.Context(), restoreTimeout)
	defer cancel()
	for _, r := range e.receivers() {
		require.NoError(t, r.Restart(ctx), "start with the longer drain delay")
	}
	e.watch = newWatcher(e)
	e.balancer = newBalancer(e.system.Receivers)
	return e
}

// wire puts proxies that can fail between the processes and the servers and destinations.
func (e *environment) wire(ctx context.Context, s *system.System, env map[string]string) error {
	for _, d := range []struct {
		name, variable string
		next           http.Handler
	}{
		{DestinationVerity, "VERITY_BASE_URL", s.Verity},
		{DestinationAloware, "ALOWARE_BASE_URL", s.Aloware},
		{DestinationGHL, "GHL_API_BASE_URL", s.GHL},
	} {
		tap := &tap{environment: e, destination: d.name, variable: d.variable, next: d.next}
		var err error
		if tap.door, err = openDoor(ctx, tap); err != nil {
			return err
		}
		e.destinations[d.name], env[d.variable] = tap, tap.door.url()
	}
	own, ownErr := e.pooled(ctx, s.DatabaseURL)
	veritys, verityErr := e.pooled(ctx, s.VerityDatabaseURL)
	if err := errors.Join(ownErr, verityErr); err != nil {
		return err
	}
	var apiErr error
	e.own, ownErr = pgproxy.New(ctx, own)
	e.veritys, verityErr = pgproxy.New(ctx, veritys)
	e.api, apiErr = newAPIProxy(s.Kubeconfig)
	if err := errors.Join(ownErr, verityErr, apiErr); err != nil {
		return err
	}
	env["DATABASE_URL"], env["VERITY_DATABASE_URL"] = e.own.URL(), e.veritys.URL()
	var err error
	env["KUBECONFIG"], err = e.api.kubeconfig(s.Kubeconfig, s.Dir)
	return errors.Join(err, grant(ctx, s))
}

// pooled returns the URL of a database behind a pooler of its own, or as it is where the run has none.
func (e *environment) pooled(ctx context.Context, databaseURL string) (string, error) {
	mode := os.Getenv(poolerVariable)
	if mode == "" {
		return databaseURL, nil
	}
	pooler, err := pgbouncer.Start(ctx, databaseURL, pgbouncer.Options{Mode: mode, Settings: map[string]string{
		// A server that was away is asked again at once. Without that PgBouncer refuses its clients for 15 s after each failure.
		"server_login_retry": "1", "server_round_robin": "1",
	}})
	if err != nil {
		return "", err
	}
	e.poolers = append(e.poolers, pooler)
	return pooler.URL(databaseURL)
}

// close stops what wire has started.
func (e *environment) close() error {
	var failures []error
	for _, tap := range e.destinations {
		failures = append(failures, tap.door.shut())
	}
	for _, proxy := range []*pgproxy.Proxy{e.own, e.veritys} {
		if proxy != nil {
			failures = append(failures, proxy.Close())
		}
	}
	for _, pooler := range e.poolers {
		failures = append(failures, pooler.Close())
	}
	if e.api != nil {
		e.api.closeWatches()
		e.api.server.CloseClientConnections()
		e.api.server.Close()
	}
	return errors.Join(failures...)
}

// replica is a process that is restarted when it has ended by itself, as a kubelet does.
type replica struct {
	*system.Process
	environment *environment
	// mu is locked while the process is started or ended.
	mu sync.Mutex
	// down says that it must stay down, and broken that it did not end by itself.
	down, broken bool
}

func (r *replica) supervise(ctx context.Context) {
	for pause(ctx, 4*tick) {
		r.mu.Lock()
		if !r.down && !r.Running() {
			r.restart(ctx)
		}
		r.mu.Unlock()
	}
}

// restart starts a process that has ended, and records that it had.
func (r *replica) restart(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	receives := slices.Contains(r.environment.receivers(), r)
	f := Fault{Kind: "the restart of " + r.Name, Aftermath: true, Refuses: receives, Begin: time.Now().Add(-time.Second)}
	if !r.broken {
		f.Kind, f.Aftermath, f.Unprobed, f.Forgets = "a process ended by itself", false, true, !receives
	}
	r.broken = false
	err := errors.Join(r.Kill(), r.Start(ctx)) // Kill records that it has ended.
	f.End = time.Now()
	if err != nil {
		f.Kind += " that did not succeed: " + err.Error()
	}
	r.environment.record(func(h *History) { h.Faults = append(h.Faults, f) })
}

// end ends the process, which is restarted unless it must stay down.
func (r *replica) end(how func() error, down bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down, r.broken = down, true
	return how()
}

// up allows the process to be restarted.
func (r *replica) up() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = false
}

func (e *environment) receivers() []*replica   { return e.replicas[:2] }
func (e *environment) controllers() []*replica { return e.replicas[2:] }

// leader returns the controller whose metrics say that it leads.
func (e *environment) leader(ctx context.Context) (*replica, error) {
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	for {
		for _, r := range e.controllers() {
			if text, err := get(ctx, r.MetricsURL); err == nil && strings.Contains(text, `leader_election_master_status{name="verity-sync-controller"} 1`) {
				return r, nil
			}
		}
		if !pause(ctx, tick) {
			return nil, fmt.Errorf("find the leader: %w", ctx.Err())
		}
	}
}

func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return string(text), err
}

// sample records every second the memory and the log of the processes.
func (e *environment) sample(ctx context.Context) {
	for pause(ctx, time.Second) {
		s := Sample{At: time.Now(), Live: e.watch.unfinished(), RSS: map[string]int64{}, LogBytes: map[string]int64{}}
		for _, r := range e.replicas {
			if !r.mu.TryLock() {
				continue // It is being ended or started.
			}
			log, err := r.Log()
			if r.Running() {
				s.RSS[r.Name], _ = proc.Memory(r.PID(), "VmRSS") // Nothing of one that ends just now.
			}
			r.mu.Unlock()
			if err == nil {
				s.LogBytes[r.Name] = int64(len(log))
			}
		}
		e.record(func(h *History) { h.Samples = append(h.Samples, s) })
	}
}
