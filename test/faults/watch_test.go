package faults

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
)

// watcher sees what anyone with kubectl sees.
type watcher struct {
	environment *environment

	mu sync.Mutex
	// live are the unfinished WebhookEvents, and seen the phase in which each one was shown last.
	live map[string]bool
	seen map[types.UID]string
	done map[string]time.Time
}

func newWatcher(e *environment) *watcher {
	return &watcher{environment: e, live: map[string]bool{}, seen: map[types.UID]string{}, done: map[string]time.Time{}}
}

// run watches until ctx ends, and starts again when a watch breaks.
func (w *watcher) run(ctx context.Context) {
	for {
		stream, err := w.environment.system.Kubernetes.Watch(ctx, &v1alpha1.WebhookEventList{}, client.InNamespace(w.environment.system.Namespace))
		if err == nil {
			w.mu.Lock()
			clear(w.live) // What is still there comes again.
			w.mu.Unlock()
			for change := range stream.ResultChan() {
				if e, ok := change.Object.(*v1alpha1.WebhookEvent); ok {
					w.see(change.Type, e)
				}
			}
		}
		if !pause(ctx, tick) {
			return
		}
	}
}

func (w *watcher) see(change watch.EventType, e *v1alpha1.WebhookEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	phase, text := string(e.Status.Phase), ""
	if ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition); ready != nil {
		text = ready.Reason
	}
	if change == watch.Deleted || e.Status.Phase.Finished() {
		delete(w.live, e.Name)
	} else {
		w.live[e.Name] = true
	}
	if _, known := w.done[e.Spec.EventID]; !known && e.Status.Phase == v1alpha1.PhaseDone {
		w.done[e.Spec.EventID] = time.Now()
	}
	before, known := w.seen[e.UID]
	if known && before == phase+text && change != watch.Deleted {
		return
	}
	if known && change == watch.Added {
		change = watch.Modified
	}
	w.seen[e.UID] = phase + text
	s := Sighting{At: time.Now(), Event: e.Spec.EventID, Change: string(change), Phase: phase, Text: text}
	w.environment.record(func(h *History) { h.Sightings = append(h.Sightings, s) })
}

func (w *watcher) unfinished() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.live)
}

// doneAt returns when an event was first shown as Done, and the zero time where it has not been.
func (w *watcher) doneAt(event string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done[event]
}
