package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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

	"github.com/dfmiddleware/verity-sync/internal/testenv/system"
)

const (
	startTimeout = 10 * time.Minute
	// mendTimeout is how long something that was broken may take to be there again.
	mendTimeout = 2 * time.Minute
	tick        = 50 * time.Millisecond

	maxLive, maxWaiting = 100, 200
)

// world is a system, its history so far, and what looks after it.
type world struct {
	system   *system.System
	replicas []*replica
	watch    *watcher
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
	w := &world{history: History{Seed: seed}}
	verity, aloware := &tap{world: w, destination: DestinationVerity}, &tap{world: w, destination: DestinationAloware}
	env := map[string]string{
		"RETRY_BASE_DELAY": "200ms", "RETRY_MAX_DELAY": "2s",
		"VERITY_ON_CANCEL": "clear",
		"MAX_LIVE_EVENTS":  strconv.Itoa(maxLive), "MAX_WAITING_EVENTS": strconv.Itoa(maxWaiting),
		// Every WebhookEvent stays to be seen.
		"FINISHED_HISTORY_LIMIT": "1000000",
	}
	for variable, tap := range map[string]*tap{"VERITY_BASE_URL": verity, "ALOWARE_BASE_URL": aloware} {
		server := httptest.NewServer(tap)
		t.Cleanup(server.Close)
		env[variable] = server.URL
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	var err error
	w.system, err = system.Start(ctx, system.Options{Receivers: 2, Controllers: 2, OwnVerityServer: true, Env: env})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, w.system.Close()) })
	for tap, handler := range map[*tap]http.Handler{verity: w.system.Verity, aloware: w.system.Aloware} {
		tap.next.Store(&handler) // Nobody calls before the first webhook.
	}
	for _, p := range w.system.Receivers {
		w.replicas = append(w.replicas, &replica{Process: p, world: w})
	}
	for _, p := range w.system.Controllers {
		w.replicas = append(w.replicas, &replica{Process: p, world: w})
	}
	w.watch = newWatcher(w)
	return w
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
		f.Kind, f.Aftermath, f.Forgets = "a process ended by itself", false, !receives
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
				s.RSS[r.Name] = rssOf(r.PID())
			}
			r.mu.Unlock()
			if err == nil {
				s.LogBytes[r.Name] = int64(len(log))
			}
		}
		w.record(func(h *History) { h.Samples = append(h.Samples, s) })
	}
}

// rssOf returns the memory of a process in bytes, 0 where it cannot be had.
func rssOf(pid int) int64 {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if fields := strings.Fields(string(statm)); err == nil && len(fields) > 1 {
		pages, _ := strconv.ParseInt(fields[1], 10, 64)
		return pages * int64(os.Getpagesize())
	}
	return 0
}
