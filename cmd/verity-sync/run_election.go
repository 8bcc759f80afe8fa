package main

import (
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// leaderElectionID is the name of the lease.
const leaderElectionID = "verity-sync-controller"

// renewDeadline is how long a leader tries to renew its lease before it ends. It is controller-runtime's default; the lock
// must know it too, so that one request that hangs does not cost the leadership.
const renewDeadline = 10 * time.Second

// newElectionLock returns the lock of the leader election, and what tells of it, which wants a recorder before it is used.
//
// The manager would make a lock that records its Kubernetes Events in the core group. Those of the controller go to
// events.k8s.io, and it has no right to write others: each election would leave an error in its log and no Event.
func newElectionLock(cluster *rest.Config, namespace string) (resourcelock.Interface, *leaseEvents, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, nil, fmt.Errorf("find the name of this host: %w", err)
	}
	tell := &leaseEvents{namespace: namespace}
	config := resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID()), EventRecorder: tell}
	lock, err := resourcelock.NewFromKubeconfig(
		resourcelock.LeasesResourceLock, namespace, leaderElectionID, config, cluster, renewDeadline)
	if err != nil {
		return nil, nil, fmt.Errorf("set up leader election: %w", err)
	}
	return lock, tell, nil
}
