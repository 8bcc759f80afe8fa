package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
)

// A floor is what the API server takes of the same writes with nothing behind them.
type floor struct {
	name string
	// statuses is how often the status of each object is written, and deleted whether the object goes in the end.
	statuses int
	deleted  bool
}

// The first is what an event needs. A second status write shows it as Processing, and the finished ones over the history limit go.
var floors = []floor{
	{"create, 1 status write", 1, false},
	{"create, 2 status writes", 2, false},
	{"create, 1 status write, delete", 1, true},
}

// neededWrites is the floor of the writes that no event can do without, and sharedFloor what is left of that where the cores also have to
// do what verity-sync's processes and its Postgres do for an event.
var neededWrites = floors[2]

const sharedFloor = "the last row, on the cores that verity-sync's own CPU leaves"

// floorWorkers is how many objects are written at a time, as many as the controller works on.
const floorWorkers = 32

// measure returns how many objects a second are through with their writes.
func (f floor) measure(ctx context.Context, cluster *controlplane.ControlPlane, events int) (float64, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return 0, err
		}
	}
	writer, err := client.New(cluster.Config(), client.Options{Scheme: scheme})
	if err != nil {
		return 0, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "floor-"}}
	if err := writer.Create(ctx, namespace); err != nil {
		return 0, fmt.Errorf("make a namespace: %w", err)
	}
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for range floorWorkers {
		group.Go(func() error {
			for next.Add(1) <= int64(events) {
				if err := f.write(ctx, writer, namespace.Name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return float64(events) / time.Since(began).Seconds(), nil
}

// write takes one object through its life. It is as large as one of verity-sync's.
func (f floor) write(ctx context.Context, writer client.Client, namespace string) error {
	id := uuid.Must(uuid.NewV7()).String()
	now := metav1.NowMicro()
	object := &v1alpha1.WebhookEvent{
		ObjectMeta: metav1.ObjectMeta{
			Name: v1alpha1.NameOf(event.SourceGHL, id), Namespace: namespace,
			Labels: map[string]string{
				v1alpha1.SourceLabel: event.SourceGHL, v1alpha1.EventTypeLabel: event.TypeAppointmentCreated,
				v1alpha1.EntityTypeLabel: event.EntityAppointment, v1alpha1.LocationLabel: "LOCATIONLOCATIONLOCA",
			},
		},
		Spec: v1alpha1.WebhookEventSpec{
			EventID: id, Source: event.SourceGHL, EventType: event.TypeAppointmentCreated, EntityType: event.EntityAppointment,
			EntityID: id[:20], LocationID: "LOCATIONLOCATIONLOCA", ContactID: "contact-500", ReceivedAt: now,
		},
	}
	if err := writer.Create(ctx, object); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	for i := range f.statuses {
		object.Status.Attempts = 1
		object.Status.StartTime = &now
		object.Status.Phase = v1alpha1.PhaseProcessing
		conditions := []string{v1alpha1.ReadyCondition, v1alpha1.ReconcilingCondition}
		if i == f.statuses-1 {
			object.Status.Phase = v1alpha1.PhaseDone
			object.Status.CompletionTime = &now
			object.Status.VerityContactID = id
			object.Status.Result = v1alpha1.ResultLeadUpdated
			conditions = []string{v1alpha1.ReadyCondition, v1alpha1.ForwardedCondition, v1alpha1.SyncedCondition}
		}
		object.Status.Conditions = nil
		for _, condition := range conditions {
			object.Status.Conditions = append(object.Status.Conditions, metav1.Condition{
				Type: condition, Status: metav1.ConditionTrue, Reason: v1alpha1.SyncedReason, LastTransitionTime: metav1.Now(),
				Message: "forwarded; the contact's lead points at the live appointment that was booked last",
			})
		}
		if err := writer.Status().Update(ctx, object); err != nil {
			return fmt.Errorf("write the status: %w", err)
		}
	}
	if !f.deleted {
		return nil
	}
	if err := writer.Delete(ctx, object); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}
