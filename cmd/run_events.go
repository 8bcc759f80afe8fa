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

// destinationAvailable is the reason of the Kubernetes Event that ends what v1alpha1.DestinationUnavailableReason began.
const destinationAvailable = "DestinationAvailable"

// databaseRolledBack is the reason of the Kubernetes Event about a database that has gone back to an earlier moment.
const databaseRolledBack = "DatabaseRolledBack"

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

// reference refers to the lease; about tells Events apart that have the same reason: those about the same thing are taken for one.
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

// databaseRolledBack records that the database has gone back to an earlier moment. It does not wait for the API server.
func (e *leaseEvents) databaseRolledBack(from, to time.Time) {
	e.recorder.Eventf(e.reference("database{"+from.Format(time.RFC3339Nano)+"}"), nil, corev1.EventTypeWarning, databaseRolledBack, "Beat",
		"the database has gone back from %s to %s: what was received in between is lost unless it is sent again, and what was finished in "+
			"between runs again; see docs/operations.md, After a restore", from.Format(time.RFC3339), to.Format(time.RFC3339))
}

// destination tells of a destination that went down or is up again. It does not wait for the API server.
func (e *leaseEvents) destination(name string, up bool) {
	lease := e.reference("destinations{" + name + "}")
	if up {
		e.recorder.Eventf(lease, nil, corev1.EventTypeNormal, destinationAvailable, "Release",
			"%s answers again: the events that wait for it go on", name)
		return
	}
	e.recorder.Eventf(lease, nil, corev1.EventTypeWarning, v1alpha1.DestinationUnavailableReason, "Hold",
		"%s does not answer: the events that need it wait", name)
}
