package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
)

// leaderElectionID is the name of the lease, and in the metrics of the election.
const leaderElectionID = "verity-sync-controller"

// renewDeadline is how long a leader tries to renew its lease before it ends. It is controller-runtime's default; the lock
// must know it too, so that one request that hangs does not cost the leadership.
const renewDeadline = 10 * time.Second

// installationOf reads the id of the installation from its database; a store.Store does.
type installationOf func(context.Context) (string, error)

// electionLock is the lease of one installation. The first installation of a namespace has the lease leaderElectionID, under its label;
// further ones, of other databases, have one each with their id in its name, so that each has a leader. While the database does not
// answer nobody is elected, since nothing could be done.
type electionLock struct {
	*resourcelock.LeaseLock
	installation installationOf
	log          logr.Logger
}

// leases are leases of which that of the installation carries the latest heartbeat of the database in an annotation, which is written
// with each renewal and read by whoever wants to lead.
type leases struct {
	coordinationclient.LeasesGetter
	lock *electionLock
	mark *controllers.Mark
}

// Leases implements coordinationclient.LeasesGetter.
func (l leases) Leases(namespace string) coordinationclient.LeaseInterface {
	return markedLeases{l.LeasesGetter.Leases(namespace), l}
}

type markedLeases struct {
	coordinationclient.LeaseInterface
	leases
}

// Get reads a lease, and the heartbeat on the installation's own.
func (l markedLeases) Get(ctx context.Context, name string, opts metav1.GetOptions) (*coordinationv1.Lease, error) {
	lease, err := l.LeaseInterface.Get(ctx, name, opts)
	if err == nil && lease.Labels[v1alpha1.InstallationLabel] == l.lock.Labels[v1alpha1.InstallationLabel] {
		if at, err := time.Parse(time.RFC3339Nano, lease.Annotations[v1alpha1.HeartbeatAnnotation]); err == nil {
			l.mark.Seen(at)
		}
	}
	return lease, err
}

// Create creates a lease with the heartbeat: that of a leader may have been deleted.
func (l markedLeases) Create(ctx context.Context, lease *coordinationv1.Lease, opts metav1.CreateOptions) (*coordinationv1.Lease, error) {
	return l.LeaseInterface.Create(ctx, l.marked(lease), opts)
}

// Update writes a lease with the heartbeat.
func (l markedLeases) Update(ctx context.Context, lease *coordinationv1.Lease, opts metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	return l.LeaseInterface.Update(ctx, l.marked(lease), opts)
}

func (l markedLeases) marked(lease *coordinationv1.Lease) *coordinationv1.Lease {
	if at := l.mark.Latest(); !at.IsZero() {
		lease = lease.DeepCopy()
		metav1.SetMetaDataAnnotation(&lease.ObjectMeta, v1alpha1.HeartbeatAnnotation, at.UTC().Format(time.RFC3339Nano))
	}
	return lease
}

// Get returns the record of the installation's lease.
func (l *electionLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if l.Labels == nil {
		id, err := l.installation(ctx)
		if err != nil {
			return nil, nil, err
		}
		l.Labels = map[string]string{v1alpha1.InstallationLabel: id}
	}
	if l.LeaseMeta.Name == leaderElectionID {
		lease, err := l.Client.Leases(l.LeaseMeta.Namespace).Get(ctx, leaderElectionID, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, nil, err
		}
		own := l.Labels[v1alpha1.InstallationLabel]
		if other := lease.GetLabels()[v1alpha1.InstallationLabel]; err == nil && other != "" && other != own {
			l.LeaseMeta.Name = leaderElectionID + "-" + own[:8]
			l.log.Info("this namespace has another installation, with a database of its own; this one leads under a lease of its own",
				"otherInstallation", other, "installation", own, "lease", l.LeaseMeta.Name)
		}
	}
	return l.LeaseLock.Get(ctx)
}

// newElectionLock returns the lock of the leader election, and what tells of it, which wants a recorder before it is used.
//
// The manager would make a lock that records its Kubernetes Events in the core group. Those of the controller go to
// events.k8s.io, and it has no right to write others: each election would leave an error in its log and no Event.
func newElectionLock(cluster *rest.Config, namespace string, installation installationOf, mark *controllers.Mark, log logr.Logger) (
	resourcelock.Interface, *leaseEvents, error,
) {
	host, err := os.Hostname()
	if err != nil {
		return nil, nil, fmt.Errorf("find the name of this host: %w", err)
	}
	cluster = rest.AddUserAgent(rest.CopyConfig(cluster), "leader-election")
	cluster.Timeout = renewDeadline / 2
	client, err := coordinationclient.NewForConfig(cluster)
	if err != nil {
		return nil, nil, fmt.Errorf("set up leader election: %w", err)
	}
	tell := &leaseEvents{namespace: namespace}
	lock := &electionLock{installation: installation, log: log}
	lock.LeaseLock = &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: leaderElectionID},
		Client:     leases{client, lock, mark},
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID()), EventRecorder: tell},
	}
	return lock, tell, nil
}
