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
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// BenchmarkReconcile is what an event costs the controller itself, from Pending to Done: every step, with a database, an API server and
// destinations that answer at once.
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
		Client: memoryClient{object: object}, Rows: oneRow{id: id, payload: []byte(`{"notes":"` + strings.Repeat("x", 700) + `"}`)},
		Plan: everything{}, Recorder: events.NewFakeRecorder(1), TTL: controllers.TTL{Done: time.Hour, Error: time.Hour},
		Metrics: metrics.NewController(prometheus.NewRegistry()), Identity: "bench", Concurrency: 1,
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

// memoryClient has one object, which stays as it is.
type memoryClient struct {
	client.Client

	object *v1alpha1.WebhookEvent
}

func (c memoryClient) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	c.object.DeepCopyInto(into.(*v1alpha1.WebhookEvent))
	return nil
}

func (memoryClient) Status() client.SubResourceWriter { return memoryStatus{} }

// memoryStatus takes every status and keeps none.
type memoryStatus struct{ client.SubResourceWriter }

func (memoryStatus) Update(context.Context, client.Object, ...client.SubResourceUpdateOption) error {
	return nil
}

// oneRow has one row, which is always to be done.
type oneRow struct {
	controllers.EventRows

	id      uuid.UUID
	payload []byte
}

func (oneRow) AcquireTerm(context.Context, string) (int64, error) { return 1, nil }

func (m oneRow) Claim(_ context.Context, id uuid.UUID, term int64) (*store.Attempt, error) {
	now := time.Now()
	return &store.Attempt{ID: id, Payload: m.payload, ReceivedAt: now, StartedAt: now, Attempts: 1, Forward: true, Term: term}, nil
}

func (oneRow) FinishAttempt(_ context.Context, _ *store.Attempt, f store.AttemptResult) (store.RecordedResult, error) {
	now := time.Now()
	return store.RecordedResult{Status: f.Status, Attempts: 1, ProcessedAt: &now}, nil
}

// everything has all events forwarded and synced, with success.
type everything struct{}

func (everything) Plan(*store.Attempt) controllers.Plan {
	forward := instant{store.OperationForward, ""}
	return controllers.Plan{Forward: forward, Syncs: []operation.Operation{instant{store.OperationLead, v1alpha1.ResultLeadUpdated}}}
}

type instant struct{ name, result string }

func (i instant) Name() string { return i.name }

func (instant) Direction() string { return store.DirectionToVerity }

func (i instant) Run(context.Context, *store.Attempt) operation.Outcome {
	return operation.Done(i.result)
}
