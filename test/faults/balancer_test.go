package faults

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

const (
	// probePeriod is how often readiness is asked for, and routeLag how long it takes until those who route act on a change: from kubelet to
	// EndpointSlice to proxy.
	probePeriod = 200 * time.Millisecond
	routeLag    = 500 * time.Millisecond
)

// balancer spreads requests over the receivers that are ready, as a Service does. It is the transport of a client, so that nothing is
// added to what the receivers answer, and nothing tried again.
type balancer struct {
	backends []string
	next     http.RoundTripper

	mu    sync.Mutex
	ready map[string]bool
	turn  int
}

func newBalancer(receivers []*system.Process) *balancer {
	b := &balancer{ready: map[string]bool{}, next: &http.Transport{MaxIdleConnsPerHost: contacts}}
	for _, r := range receivers {
		b.backends = append(b.backends, r.URL)
		b.ready[r.URL] = true
	}
	return b
}

// start watches readiness until ctx ends.
func (b *balancer) start(ctx context.Context) {
	for _, backend := range b.backends {
		go func() {
			for pause(ctx, probePeriod) {
				_, err := get(ctx, backend+"/readyz")
				if ready := err == nil; ready != b.has(backend) {
					if !pause(ctx, routeLag) {
						return
					}
					b.set(backend, ready)
				}
			}
		}()
	}
}

func (b *balancer) set(backend string, ready bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready[backend] = ready
}

// has reports whether a backend gets requests.
func (b *balancer) has(backend string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ready[backend]
}

// RoundTrip implements http.RoundTripper.
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	backend, err := url.Parse(b.pick())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Host = backend.Host
	return b.next.RoundTrip(r)
}

func (b *balancer) pick() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.backends {
		b.turn = (b.turn + 1) % len(b.backends)
		if b.ready[b.backends[b.turn]] {
			return b.backends[b.turn]
		}
	}
	return b.backends[b.turn] // No backend is ready, which the answer will show.
}
