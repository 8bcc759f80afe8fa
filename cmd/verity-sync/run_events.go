package main

import (
	"sync/atomic"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
)

// destinationAvailable is the reason of the Kubernetes Event that ends what v1alpha1.DestinationUnavailableReason began.
const destinationAvailable = "DestinationAvailable"

// leaseEvents records Kubernetes Events about the lease of the leader election: who leads, and which destinations are down.
// The lease is the one object of the controller that there is wherever it runs, and that stays when another one takes over.
type leaseEvents struct {
	recorder  events.EventRecorder
	namespace string
	// lease is what was elected on; nil where nobody was. Without its UID `kubectl describe` does not find an Event.
	lease atomic.Pointer[metav1.ObjectMeta]
}

// Eventf is what the lock calls.
func (e *leaseEvents) Eventf(lease runtime.Object, eventType, reason, message string, args ...any) {
	if l, ok := lease.(*coordinationv1.Lease); ok {
		e.lease.Store(&l.ObjectMeta)
	}
	e.recorder.Eventf(lease, nil, eventType, reason, "Elect", message, args...)
}

// destination tells of a destination that went down or is up again. It does not wait for the API server.
func (e *leaseEvents) destination(name string, up bool) {
	lease := &corev1.ObjectReference{
		APIVersion: coordinationv1.SchemeGroupVersion.String(), Kind: "Lease", Namespace: e.namespace, Name: leaderElectionID,
		// Events about the same thing for the same reason are taken for one: this keeps the destinations apart.
		FieldPath: "destinations{" + name + "}",
	}
	if elected := e.lease.Load(); elected != nil {
		lease.Name, lease.UID = elected.Name, elected.UID
	}
	if up {
		e.recorder.Eventf(lease, nil, corev1.EventTypeNormal, destinationAvailable, "LetGo",
			"%s answers again: the events that wait for it go on", name)
		return
	}
	e.recorder.Eventf(lease, nil, corev1.EventTypeWarning, v1alpha1.DestinationUnavailableReason, "HoldBack",
		"%s does not answer: the events that need it wait", name)
}
