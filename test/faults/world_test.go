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
)

const (
	startTimeout = 10 * time.Minute
	// mendTimeout is how long something that was broken may take to be there again.
	mendTimeout = 2 * time.Minute
	tick        = 50 * time.Millisecond

	maxLive, maxWaiting = 100, 200
	// retryMaxDelay is the longest that an event or a destination is left alone.
	retryMaxDelay = 1500 * time.Millisecond
	// drainDelay is how long a receiver goes on after it was told to stop.
	drainDelay = 3 * time.Second
)

// world is a system, its history so far, and what looks after it.
type world struct {
	system   *system.System
	replicas []*replica
	watch    *watcher
	// What stands between the processes and what they talk to.
	destinations map[string]*tap
	api          *apiProxy
	own, veritys *pgproxy.Proxy
	// poolers stand behind those, where the run is to have them.
	poolers  []*pgbouncer.Pooler
	balancer *balancer
	// calls are how many have begun.
	calls atomic.Int64

	mu      sync.Mutex
	history History
}

// record changes the history.
func (w *world) record(change func(*History)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.history)
}

func startWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{history: History{Seed: seed}, destinations: map[string]*tap{}}
	t.Cleanup(func() { assert.NoError(t, w.close()) })
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	var err error
	w.system, err = system.Start(ctx, system.Options{
		Receivers: 2, Controllers: 2, OwnVerityServer: true, Wire: w.wire,
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
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, w.system.Close()) })
	for _, p := range w.system.Receivers {
		p.Flags = append(p.Flags, "--drain-delay="+drainDelay.String())
		w.replicas = append(w.replicas, &replica{Process: p, world: w})
	}
	for _, p := range w.system.Controllers {
		w.replicas = append(w.replicas, &replica{Process: p, world: w})
	}
	for _, r := range w.receivers() {
		require.NoError(t, r.Restart(ctx), "start with the longer drain delay")
	}
	w.watch = newWatcher(w)
	w.balancer = newBalancer(w.system.Receivers)
	return w
}

// wire puts what can be broken between the processes and what they talk to.
func (w *world) wire(ctx context.Context, s *system.System, env map[string]string) error {
	for _, d := range []struct {
		name, variable string
		next           http.Handler
	}{
		{DestinationVerity, "VERITY_BASE_URL", s.Verity},
		{DestinationAloware, "ALOWARE_BASE_URL", s.Aloware},
		{DestinationGHL, "GHL_API_BASE_URL", s.GHL},
	} {
		tap := &tap{world: w, destination: d.name, variable: d.variable, next: d.next}
		var err error
		if tap.door, err = openDoor(ctx, tap); err != nil {
			return err
		}
		w.destinations[d.name], env[d.variable] = tap, tap.door.url()
	}
	own, ownErr := w.pooled(ctx, s.DatabaseURL)
	veritys, verityErr := w.pooled(ctx, s.VerityDatabaseURL)
	if err := errors.Join(ownErr, verityErr); err != nil {
		return err
	}
	var apiErr error
	w.own, ownErr = pgproxy.New(ctx, own)
	w.veritys, verityErr = pgproxy.New(ctx, veritys)
	w.api, apiErr = newAPIProxy(s.Kubeconfig)
	if err := errors.Join(ownErr, verityErr, apiErr); err != nil {
		return err
	}
	env["DATABASE_URL"], env["VERITY_DATABASE_URL"] = w.own.URL(), w.veritys.URL()
	var err error
	env["KUBECONFIG"], err = w.api.kubeconfig(s.Kubeconfig, s.Dir)
	return errors.Join(err, grant(ctx, s))
}

// pooled returns the URL of a database behind a pooler of its own, or as it is where the run has none.
func (w *world) pooled(ctx context.Context, databaseURL string) (string, error) {
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
	w.poolers = append(w.poolers, pooler)
	return pooler.URL(databaseURL)
}

// close ends what wire has made.
func (w *world) close() error {
	var failures []error
	for _, tap := range w.destinations {
		failures = append(failures, tap.door.shut())
	}
	for _, proxy := range []*pgproxy.Proxy{w.own, w.veritys} {
		if proxy != nil {
			failures = append(failures, proxy.Close())
		}
	}
	for _, pooler := range w.poolers {
		failures = append(failures, pooler.Close())
	}
	if w.api != nil {
		w.api.closeWatches()
		w.api.server.CloseClientConnections()
		w.api.server.Close()
	}
	return errors.Join(failures...)
}

// replica is a process with one that looks after it, as a kubelet does: what ended by itself is started again.
type replica struct {
	*system.Process
	world *world
	// mu is held by whoever starts or ends the process.
	mu sync.Mutex
	// down says that it is to stay down, and broken that it did not end by itself.
	down, broken bool
}

func (r *replica) lookAfter(ctx context.Context) {
	for pause(ctx, 4*tick) {
		r.mu.Lock()
		if !r.down && !r.Running() {
			r.restart(ctx)
		}
		r.mu.Unlock()
	}
}

// restart starts a process that is not there, and records that it was not.
func (r *replica) restart(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, mendTimeout)
	defer cancel()
	receives := slices.Contains(r.world.receivers(), r)
	f := Fault{Kind: "the restart of " + r.Name, Aftermath: true, Refuses: receives, Begin: time.Now().Add(-time.Second)}
	if !r.broken {
		f.Kind, f.Aftermath, f.Unprobed, f.Forgets = "a process ended by itself", false, true, !receives
	}
	r.broken = false
	err := errors.Join(r.Kill(), r.Start(ctx)) // Kill takes note that it has ended.
	f.End = time.Now()
	if err != nil {
		f.Kind += " that did not succeed: " + err.Error()
	}
	r.world.record(func(h *History) { h.Faults = append(h.Faults, f) })
}

// end ends the process, and has it started again unless it is to stay down.
func (r *replica) end(how func() error, down bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down, r.broken = down, true
	return how()
}

// up ends that a process is to stay down.
func (r *replica) up() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = false
}

func (w *world) receivers() []*replica   { return w.replicas[:2] }
func (w *world) controllers() []*replica { return w.replicas[2:] }

// leader returns the controller that says that it leads.
func (w *world) leader(ctx context.Context) (*replica, error) {
	ctx, cancel := context.WithTimeout(ctx, mendTimeout)
	defer cancel()
	for {
		for _, r := range w.controllers() {
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

// sample records every second what the processes take.
func (w *world) sample(ctx context.Context) {
	for pause(ctx, time.Second) {
		s := Sample{At: time.Now(), Live: w.watch.unfinished(), RSS: map[string]int64{}, LogBytes: map[string]int64{}}
		for _, r := range w.replicas {
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
		w.record(func(h *History) { h.Samples = append(h.Samples, s) })
	}
}
