package main

import (
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
)

// destinationAvailable is the reason of the Kubernetes Event that follows v1alpha1.DestinationUnavailableReason when the destination is up
// again.
const destinationAvailable = "DestinationAvailable"

// databaseRolledBack is the reason of the Kubernetes Event about a database that was rolled back to an earlier moment.
const databaseRolledBack = "DatabaseRolledBack"

// leaseEvents records Kubernetes Events about the lease of the leader election: which controller leads, and which destinations are down.
// The lease is the one object that every controller has and that a new leader keeps.
type leaseEvents struct {
	recorder  events.EventRecorder
	namespace string
	// lease is the lease of the last election, or nil. `kubectl describe` finds an Event by the UID of its object.
	lease atomic.Pointer[metav1.ObjectMeta]
}

// Eventf records an Event of the lock.
func (e *leaseEvents) Eventf(lease runtime.Object, eventType, reason, message string, args ...any) {
	if l, ok := lease.(*coordinationv1.Lease); ok {
		e.lease.Store(&l.ObjectMeta)
	}
	e.recorder.Eventf(lease, nil, eventType, reason, "Elect", message, args...)
}

// reference refers to the lease. Events with the same reason and the same value of about are counted as one.
func (e *leaseEvents) reference(about string) *corev1.ObjectReference {
	lease := &corev1.ObjectReference{
		APIVersion: coordinationv1.SchemeGroupVersion.String(), Kind: "Lease", Namespace: e.namespace, Name: leaderElectionID,
		FieldPath: about,
	}
	if elected := e.lease.Load(); elected != nil {
		lease.Name, lease.UID = elected.Name, elected.UID
	}
	return lease
}

// databaseRolledBack records that the database was rolled back to an earlier moment. It does not wait for the API server.
func (e *leaseEvents) databaseRolledBack(from, to time.Time) {
	e.recorder.Eventf(e.reference("database{"+from.Format(time.RFC3339Nano)+"}"), nil, corev1.EventTypeWarning, databaseRolledBack, "Beat",
		"the middleware database was rolled back from %s to %s: webhooks received in between are lost unless they are sent again, and "+
			"events finished in between run again; see docs/operations.md, After a restore",
		from.Format(time.RFC3339), to.Format(time.RFC3339))
}

// destination records that a destination went down or is up again. It does not wait for the API server.
func (e *leaseEvents) destination(name string, up bool) {
	lease := e.reference("destinations{" + name + "}")
	if up {
		e.recorder.Eventf(lease, nil, corev1.EventTypeNormal, destinationAvailable, "Release",
			"the circuit breaker of %s closed: held events are released", name)
		return
	}
	e.recorder.Eventf(lease, nil, corev1.EventTypeWarning, v1alpha1.DestinationUnavailableReason, "Hold",
		"the circuit breaker of %s opened: events that need it are held until a trial call succeeds", name)
}
