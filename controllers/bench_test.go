package controllers_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/plan"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// BenchmarkReconcile measures the CPU time of the controller for one event, from Pending to Done: each step, with a database, an API server
// and destinations that answer at once.
func BenchmarkReconcile(b *testing.B) {
	id := uuid.Must(uuid.NewV7())
	object := &v1alpha1.WebhookEvent{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.NameOf(event.SourceGHL, id.String()), Namespace: "bench", Generation: 1},
		Spec: v1alpha1.WebhookEventSpec{
			EventID: id.String(), Source: event.SourceGHL, EventType: event.TypeAppointmentCreated, EntityType: event.EntityAppointment,
			EntityID: "appointment", ReceivedAt: metav1.NowMicro(),
		},
		Status: v1alpha1.WebhookEventStatus{Phase: v1alpha1.PhasePending},
	}
	r := &controllers.WebhookEventReconciler{
		Client: memoryClient{object: object}, Rows: benchRows{payload: []byte(`{"notes":"` + strings.Repeat("x", 700) + `"}`)},
		Plan: forwardAndSync{}, Recorder: events.NewFakeRecorder(1), TTL: controllers.TTL{Done: time.Hour, Error: time.Hour},
		Metrics: metrics.NewController(prometheus.NewRegistry(), plan.Specs()), Identity: "bench", Concurrency: 1,
		OnFenced: func(err error) { b.Error(err) },
	}
	ctx := ctrl.LoggerInto(b.Context(), logr.Discard())
	request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(object)}
	b.ReportAllocs()
	for b.Loop() {
		_, err := r.Reconcile(ctx, request)
		require.NoError(b, err)
	}
}

// memoryClient has one object, which does not change.
type memoryClient struct {
	client.Client

	object *v1alpha1.WebhookEvent
}

func (c memoryClient) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	c.object.DeepCopyInto(into.(*v1alpha1.WebhookEvent))
	return nil
}

func (memoryClient) Status() client.SubResourceWriter { return memoryStatus{} }

// memoryStatus accepts each status and stores none.
type memoryStatus struct{ client.SubResourceWriter }

func (memoryStatus) Update(context.Context, client.Object, ...client.SubResourceUpdateOption) error {
	return nil
}

// benchRows has one row, which is always due.
type benchRows struct {
	controllers.EventRows

	payload []byte
}

func (benchRows) AcquireTerm(context.Context, string) (int64, error) { return 1, nil }

func (m benchRows) Claim(_ context.Context, id uuid.UUID, term int64) (*store.Attempt, error) {
	now := time.Now()
	return &store.Attempt{ID: id, Payload: m.payload, ReceivedAt: now, StartedAt: now, Attempts: 1, Forward: true, Term: term}, nil
}

func (benchRows) FinishAttempt(_ context.Context, _ *store.Attempt, f store.AttemptResult) (store.RecordedResult, error) {
	now := time.Now()
	return store.RecordedResult{Status: f.Status, Attempts: 1, ProcessedAt: &now}, nil
}

// forwardAndSync plans a forward and a sync for each event. Both succeed.
type forwardAndSync struct{}

func (forwardAndSync) Plan(*store.Attempt) operation.Plan {
	return operation.Plan{Operations: []operation.Operation{
		instantOperation{operation.ForwardSpec, ""}, instantOperation{operation.LeadSpec, v1alpha1.ResultLeadUpdated},
	}}
}

type instantOperation struct {
	spec   operation.Spec
	result string
}

func (i instantOperation) Spec() operation.Spec { return i.spec }

func (i instantOperation) Run(context.Context, *store.Attempt) operation.Outcome {
	return operation.Done(i.result)
}
