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

// leaderElectionID is the name of the lease, and the label of the election's metrics.
const leaderElectionID = "verity-sync-controller"

// renewDeadline is how long a leader tries to renew its lease before it gives up. It is controller-runtime's default. The timeout of the
// lock's requests follows from it, so that one request that hangs does not cost the leadership.
const renewDeadline = 10 * time.Second

// installationOf reads the id of the installation from its database, such as Store.Installation.
type installationOf func(context.Context) (string, error)

// electionLock is the lease of one installation. The first installation in a namespace uses the lease leaderElectionID and labels it with
// its id. Further installations, with other databases, add their id to the name of their lease, so that each has a leader. While the
// database is down there is no election: a leader could do nothing.
type electionLock struct {
	*resourcelock.LeaseLock
	installation installationOf
	log          logr.Logger
}

// leases annotates the installation's lease with the latest heartbeat of the database. The leader writes the annotation with each renewal,
// and every candidate reads it.
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

// Get reads a lease, and the heartbeat if it is the installation's lease.
func (l markedLeases) Get(ctx context.Context, name string, opts metav1.GetOptions) (*coordinationv1.Lease, error) {
	lease, err := l.LeaseInterface.Get(ctx, name, opts)
	if err == nil && lease.Labels[v1alpha1.InstallationLabel] == l.lock.Labels[v1alpha1.InstallationLabel] {
		if at, err := time.Parse(time.RFC3339Nano, lease.Annotations[v1alpha1.HeartbeatAnnotation]); err == nil {
			l.mark.Seen(at)
		}
	}
	return lease, err
}

// Create creates a lease with the heartbeat: a leader's lease may have been deleted.
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
			l.log.Info("another installation with another database uses this namespace; this installation uses a separate lease",
				"otherInstallation", other, "installation", own, "lease", l.LeaseMeta.Name)
		}
	}
	return l.LeaseLock.Get(ctx)
}

// newElectionLock returns the lock of the leader election, and the recorder of Kubernetes Events about it. The caller must set the latter's
// recorder before the election starts.
//
// The manager's default lock records Events in the core group. The controller may only write those of events.k8s.io: each election would
// log an error and record no Event.
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
	recorder := &leaseEvents{namespace: namespace}
	lock := &electionLock{installation: installation, log: log}
	lock.LeaseLock = &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: leaderElectionID},
		Client:     leases{client, lock, mark},
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID()), EventRecorder: recorder},
	}
	return lock, recorder, nil
}
