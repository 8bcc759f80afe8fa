package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
)

// WatchHealth observes whether the cache can list and watch WebhookEvents: without that, no event is worked on. It serves readiness and a
// metric, and never liveness, since a restart does not help. Run by the manager, it starts the cache's informer on every replica, so that a
// replica that could not take over is not ready. A watch in which nothing happens is healthy.
type WatchHealth struct {
	// Cache must be set before the manager starts.
	Cache cache.Cache

	metrics   *metrics.Controller
	log       logr.Logger
	tolerance time.Duration

	mu sync.Mutex
	// synced is true once the cache has been filled.
	synced bool
	// failure is why WebhookEvents cannot be listed or watched, since failedAt; nil while they can.
	failure  error
	failedAt time.Time
}

// WatchTolerance is how long the watch may fail before a controller is not ready: the API server restarts in less.
const WatchTolerance = 30 * time.Second

// errNotSynced is the state at the start.
var errNotSynced = errors.New("the cache has not synced yet")

// NewWatchHealth returns the health of a watch that has not begun.
func NewWatchHealth(m *metrics.Controller, log logr.Logger, tolerance time.Duration) *WatchHealth {
	m.WatchFailing(true)
	return &WatchHealth{metrics: m, log: log, tolerance: tolerance, failure: errNotSynced, failedAt: time.Now()}
}

// NewInformer is for cache.Options: it makes an informer whose lists and watches are observed.
func (h *WatchHealth) NewInformer(from toolscache.ListerWatcher, object runtime.Object, resync time.Duration, indexers toolscache.Indexers,
) toolscache.SharedIndexInformer {
	source := toolscache.ToListerWatcherWithContext(from)
	return toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := source.ListWithContext(ctx, options)
			h.failed(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			w, err := source.WatchWithContext(ctx, options)
			initial := options.SendInitialEvents != nil
			switch {
			case err != nil && initial && apierrors.IsInvalid(err):
				return w, err // The API server cannot begin a watch with all objects: a list follows.
			case err != nil:
				h.failed(ctx, err)
				return w, err
			case !initial:
				h.working() // It follows a list. One that begins with all objects has yet to send them.
			}
			return observed(w, func(e watch.Event) { h.observe(ctx, e) }), nil
		},
	}, object, resync, indexers)
}

// observedWatch is a watch whose events pass by somebody. Unlike watch.Filter it ends when it is stopped, read or not.
type observedWatch struct {
	watch.Interface
	events  chan watch.Event
	stopped chan struct{}
	stop    sync.Once
}

func observed(w watch.Interface, observe func(watch.Event)) *observedWatch {
	o := &observedWatch{Interface: w, events: make(chan watch.Event), stopped: make(chan struct{})}
	go func() {
		defer close(o.events)
		for e := range w.ResultChan() {
			observe(e)
			select {
			case o.events <- e:
			case <-o.stopped:
				return
			}
		}
	}()
	return o
}

func (o *observedWatch) ResultChan() <-chan watch.Event { return o.events }

func (o *observedWatch) Stop() {
	o.stop.Do(func() { close(o.stopped) })
	o.Interface.Stop()
}

// observe looks at an event of a watch. What cannot be decoded comes as an error too.
func (h *WatchHealth) observe(ctx context.Context, e watch.Event) {
	switch e.Type {
	case watch.Error:
		h.failed(ctx, apierrors.FromObject(e.Object))
	case watch.Bookmark:
		if o, err := meta.Accessor(e.Object); err == nil && o.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
			h.working()
		}
	default:
	}
}

// failed records that a list or a watch failed. One that is refused because it asks for what is too long ago is repeated from now.
func (h *WatchHealth) failed(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failure == nil {
		h.failedAt = time.Now()
	}
	if h.failure == nil || errors.Is(h.failure, errNotSynced) {
		h.log.Error(err, "WebhookEvents cannot be listed or watched; no event is worked on until they can be; trying again")
	}
	h.failure = err
	h.metrics.WatchFailing(true)
}

func (h *WatchHealth) working() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.synced && h.failure != nil {
		h.log.Info("WebhookEvents can be listed and watched again", "failedFor", time.Since(h.failedAt).Round(time.Second).String())
	}
	h.synced, h.failure = true, nil
	h.metrics.WatchFailing(false)
}

// Ready is the readiness check. It fails until the cache has synced, and once the watch has failed for longer than is tolerated.
func (h *WatchHealth) Ready(*http.Request) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	since := time.Since(h.failedAt)
	if h.failure == nil || h.synced && since <= h.tolerance {
		return nil
	}
	return fmt.Errorf("list and watch WebhookEvents, for %s: %w", since.Round(time.Second), h.failure)
}

// NeedLeaderElection makes the manager run it on every replica.
func (*WatchHealth) NeedLeaderElection() bool { return false }

// Start starts the informer and returns. As long as the API server cannot be asked for WebhookEvents at all, it tries again.
func (h *WatchHealth) Start(ctx context.Context) error {
	const pause = 2 * time.Second
	for {
		_, err := h.Cache.GetInformer(ctx, &v1alpha1.WebhookEvent{}, cache.BlockUntilSynced(false))
		if err == nil {
			return nil
		}
		h.failed(ctx, err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}
