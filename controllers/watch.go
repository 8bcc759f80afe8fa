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
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
)

// WatchHealth observes whether the cache can list and watch WebhookEvents. If it cannot, no event is processed. WatchHealth serves
// readiness and a metric; it does not serve liveness, because a restart does not help. The manager starts it, and with it the cache's
// informer, on each replica: so a replica that cannot become the leader is not ready. A watch without events is healthy.
type WatchHealth struct {
	// Cache must be set before the manager starts.
	Cache cache.Cache

	metrics   *metrics.Controller
	log       logr.Logger
	tolerance time.Duration

	mu sync.Mutex
	// synced is true after the first sync of the cache.
	synced bool
	// failure is the error of the last list or watch, and failedAt the time of the first in a row; nil after a success.
	failure  error
	failedAt time.Time
}

// WatchTolerance is how long the watch may fail before a controller is not ready. A restart of the API server takes less.
const WatchTolerance = 30 * time.Second

// errNotSynced is the initial failure.
var errNotSynced = errors.New("the cache has not synced yet")

// NewWatchHealth returns the health of a watch that has not started.
func NewWatchHealth(m *metrics.Controller, log logr.Logger, tolerance time.Duration) *WatchHealth {
	m.WatchFailing(true)
	return &WatchHealth{metrics: m, log: log, tolerance: tolerance, failure: errNotSynced, failedAt: time.Now()}
}

// NewInformer is for cache.Options. It creates an informer whose lists and watches are observed.
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
				return w, err // The API server does not support a watch that starts with all objects. A list follows.
			case err != nil:
				h.failed(ctx, err)
				return w, err
			case !initial:
				h.working() // The watch follows a list. A watch that starts with all objects has not sent them yet.
			}
			return observed(w, func(e watch.Event) { h.observe(ctx, e) }), nil
		},
	}, object, resync, indexers)
}

// observedWatch calls a function with each event of a watch. Unlike watch.Filter, it ends at Stop even if its events are not read.
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

// observe evaluates an event of a watch. An object that does not decode is an error event, too.
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

// failed records the error of a list or a watch. An expired resource version is no failure: the informer lists again.
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
		h.log.Error(err, "cannot list or watch WebhookEvents; retrying, and this process handles no event until that succeeds")
	}
	h.failure = err
	h.metrics.WatchFailing(true)
}

func (h *WatchHealth) working() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.synced && h.failure != nil {
		h.log.Info("can list and watch WebhookEvents again", "seconds", time.Since(h.failedAt).Seconds())
	}
	h.synced, h.failure = true, nil
	h.metrics.WatchFailing(false)
}

// Ready is the readiness check. It fails until the cache has synced, and after the watch has failed for longer than the tolerance.
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

// Start starts the informer and returns. It retries until the API server serves WebhookEvents.
func (h *WatchHealth) Start(ctx context.Context) error {
	const pause = 2 * time.Second
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if _, err := h.Cache.GetInformer(ctx, &v1alpha1.WebhookEvent{}, cache.BlockUntilSynced(false)); err != nil {
			h.failed(ctx, err)
			return
		}
		stop()
	}, pause)
	return nil
}
