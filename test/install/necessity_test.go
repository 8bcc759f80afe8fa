package install

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

const (
	receiverAccount   = "verity-sync-receiver"
	controllerAccount = "verity-sync-controller"
	ourGroup          = "webhooks.dfmiddleware.io"
)

// A need says what a user misses where an account lacks a right.
type need struct {
	// fails is that, in a sentence.
	fails string
	// values are the chart's, besides the default ones.
	values map[string]any
	// show shows that it fails, restores the right, and shows that it works then. Processes run; none is restarted.
	show func(*testing.T, *deprived)
}

// deprived is an installation in which an account lacks a right, with a receiver and a controller.
type deprived struct {
	*installation
	receiver, controller *pod
	// restore restores the right.
	restore func()
}

// needs has every right that there is.
var needs = map[right]need{
	{receiverAccount, ourGroup, "webhookevents", "create"}: {
		fails: "what was accepted is not worked on",
		show:  func(t *testing.T, d *deprived) { d.staysUntil(t, d.receiver, `cannot create resource "webhookevents"`) },
	},
	{receiverAccount, "authentication.k8s.io", "tokenreviews", "create"}: {
		fails: "no account can read a receiver's metrics",
		show:  func(t *testing.T, d *deprived) { d.metricsFail(t, d.receiver) },
	},
	{receiverAccount, "authorization.k8s.io", "subjectaccessreviews", "create"}: {
		fails: "no account can read a receiver's metrics",
		show:  func(t *testing.T, d *deprived) { d.metricsFail(t, d.receiver) },
	},
	{controllerAccount, ourGroup, "webhookevents", "get"}: {
		fails: "an event that a user edits during its attempt does not show the result of the attempt",
		show:  outcomeOfAnEditedEventIsLost,
	},
	{controllerAccount, ourGroup, "webhookevents", "list"}: {
		fails: "nothing is worked on where the API server cannot stream lists",
		// Newer API servers can, and a client that asks for that needs no other right to list.
		values: map[string]any{"extraEnv": []map[string]any{{"name": "KUBE_FEATURE_WatchListClient", "value": "false"}}},
		show: func(t *testing.T, d *deprived) {
			require.Error(t, d.controller.probe(t.Context(), d.controller.container.ReadinessProbe))
			d.staysUntil(t, d.controller, `cannot list resource "webhookevents"`)
			d.becomesReady(t, d.controller)
		},
	},
	{controllerAccount, ourGroup, "webhookevents", "watch"}: {
		fails: "a new event is not noticed for seconds, and for half a minute in the end",
		show:  newEventsAreNotNoticed,
	},
	{controllerAccount, ourGroup, "webhookevents", "delete"}: {
		fails:  "finished WebhookEvents stay for ever, and fill etcd",
		values: map[string]any{"config": map[string]string{"DONE_TTL": "1s"}},
		show:   finishedEventsStay,
	},
	{controllerAccount, ourGroup, "webhookevents/status", "update"}: {
		fails: "no WebhookEvent says where its event stands",
		show: func(t *testing.T, d *deprived) {
			d.staysUntil(t, d.controller, `cannot update resource "webhookevents/status"`)
		},
	},
	{controllerAccount, "coordination.k8s.io", "leases", "get"}: {
		fails: "no controller leads, and nothing is worked on",
		show:  func(t *testing.T, d *deprived) { d.staysUntil(t, d.controller, `cannot get resource "leases"`) },
	},
	{controllerAccount, "coordination.k8s.io", "leases", "create"}: {
		fails: "no controller leads after the installation, and nothing is worked on",
		show:  func(t *testing.T, d *deprived) { d.staysUntil(t, d.controller, `cannot create resource "leases"`) },
	},
	{controllerAccount, "coordination.k8s.io", "leases", "update"}: {
		fails: "no controller takes over from the one that led, and nothing is worked on",
		show:  func(t *testing.T, d *deprived) { d.staysUntil(t, d.controller, `cannot update resource "leases"`) },
	},
	{controllerAccount, "events.k8s.io", "events", "create"}: {
		fails: "`kubectl describe` does not show that an event failed",
		show:  nothingIsReported,
	},
	{controllerAccount, "events.k8s.io", "events", "patch"}: {
		fails: "a repeated failure is missing in `kubectl get events`",
		show:  repetitionsAreNotReported,
	},
	{controllerAccount, "authentication.k8s.io", "tokenreviews", "create"}: {
		fails: "no account can read a controller's metrics",
		show:  func(t *testing.T, d *deprived) { d.metricsFail(t, d.controller) },
	},
	{controllerAccount, "authorization.k8s.io", "subjectaccessreviews", "create"}: {
		fails: "no account can read a controller's metrics",
		show:  func(t *testing.T, d *deprived) { d.metricsFail(t, d.controller) },
	},
}

func TestEveryRightIsNeeded(t *testing.T) {
	t.Parallel()
	for _, need := range needs {
		require.NotNil(t, need.show, need.fails)
	}
	for name, render := range map[string]way{"chart": chart(nil), "kustomization": kustomization} {
		assert.ElementsMatch(t, slices.Collect(maps.Keys(needs)), rightsOf(t, render(t, file(t), "verity-sync", variables{})),
			"the rights that the %s gives, and those that are known to be needed", name)
	}
	for right, need := range needs {
		t.Run(right.String()+", else "+need.fails, func(t *testing.T) {
			t.Parallel()
			need.show(t, deprive(t, right, need.values))
		})
	}
}

// deprive installs the chart without a right and starts a receiver and a controller.
func deprive(t *testing.T, taken right, values map[string]any) *deprived {
	t.Helper()
	d := &deprived{installation: newInstallation(t, sharedServer(t), newNamespace())}
	if config, found := values["config"].(map[string]string); found {
		maps.Copy(d.variables.controller, config)
		values = nil
	}
	objects := chart(values)(t, file(t), d.namespace, d.variables)
	rest := without(t, objects, taken)
	for n, object := range objects {
		if object.GetKind() == rest[0].GetKind() && object.GetName() == rest[0].GetName() {
			d.restore = func() {
				d.apply(t, object)
				d.awaitRight(t, taken, true)
			}
			objects = slices.Concat(objects[:n], rest, objects[n+1:])
		}
	}
	d.apply(t, objects...)
	d.awaitRight(t, taken, false)
	d.leadersHaveGone(t)
	d.migrate(t, here(t))
	d.receiver, d.controller = d.pods(t, "receiver", here(t))[0], d.pods(t, "controller", here(t))[0]
	// Without some rights a controller is alive, and not ready.
	d.controller.Ready = func(ctx context.Context) error { return d.controller.probe(ctx, d.controller.container.LivenessProbe) }
	start(t, d.receiver, d.controller)
	return d
}

// leadersHaveGone leaves the lease that a controller leaves when it ends, where it is not the creation that a controller may not do.
func (i *installation) leadersHaveGone(t *testing.T) {
	t.Helper()
	may := right{controllerAccount, "coordination.k8s.io", "leases", "create"}
	if !i.hasRight(t, may) {
		return
	}
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: i.namespace, Name: "verity-sync-controller"},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new(""), LeaseDurationSeconds: new(int32(1)), LeaseTransitions: new(int32(1)),
			AcquireTime: &metav1.MicroTime{Time: time.Now()}, RenewTime: &metav1.MicroTime{Time: time.Now()},
		},
	}
	require.NoError(t, i.api.Create(t.Context(), lease))
}

// staysUntil shows that an event is not seen to be done before a process has the right back that it asked for in vain.
func (d *deprived) staysUntil(t *testing.T, p *pod, what string) {
	t.Helper()
	id := d.post(t, d.receiver, d.note())
	denied(t, p, what)
	if event := d.event(t, t.Context(), id); event != nil {
		assert.Equal(t, v1alpha1.PhasePending, event.Status.Phase)
	}
	d.restore()
	d.await(t, id, v1alpha1.PhaseDone)
}

func (d *deprived) becomesReady(t *testing.T, p *pod) {
	t.Helper()
	require.Eventually(t, func() bool { return p.probe(t.Context(), p.container.ReadinessProbe) == nil }, systemtest.Timeout, systemtest.Tick)
}

func (d *deprived) metricsFail(t *testing.T, p *pod) {
	t.Helper()
	reader := d.metricsReader(t, chart(nil)(t, file(t), d.namespace, d.variables))
	metricsAreServed(t, p)
	status, _ := scrape(t, t.Context(), p, reader)
	assert.Equal(t, http.StatusInternalServerError, status)
	d.restore()
	systemtest.Eventually(t, func(c *assert.CollectT) {
		status, _ := scrape(c, t.Context(), p, reader)
		require.Equal(c, http.StatusOK, status)
	})
}

func outcomeOfAnEditedEventIsLost(t *testing.T, d *deprived) {
	assert.Empty(t, conditionReason(d.editDuringAttempt(t), v1alpha1.SyncedCondition))
	denied(t, d.controller, `cannot get resource "webhookevents"`)
	d.restore()
	assert.Equal(t, v1alpha1.SyncSkippedReason, conditionReason(d.editDuringAttempt(t), v1alpha1.SyncedCondition))
}

// editDuringAttempt labels an event while it is being forwarded, and returns it when it is done. An event that ran out of time, and was
// forwarded in a second attempt without an edit, shows nothing: then it tries another one.
func (d *deprived) editDuringAttempt(t *testing.T) *v1alpha1.WebhookEvent {
	t.Helper()
	for began := time.Now(); ; {
		if event := d.editDuringFirstAttempt(t); event.Status.Attempts == 1 {
			return event
		}
		require.Less(t, time.Since(began), systemtest.Timeout)
	}
}

func (d *deprived) editDuringFirstAttempt(t *testing.T) *v1alpha1.WebhookEvent {
	t.Helper()
	before := d.verity.Requests.Total()
	d.answering.Lock()
	answer := sync.OnceFunc(d.answering.Unlock)
	defer answer()
	id := d.post(t, d.receiver, d.sender.Contact(ghlsender.Update, ghlsender.Contact{ID: ghlsender.NewID(), Phone: "+15555550100"}))
	d.await(t, id, v1alpha1.PhaseProcessing)
	require.Eventually(t, func() bool { return d.verity.Requests.Total() > before }, systemtest.Timeout, systemtest.Tick, "it is being forwarded")
	event := d.event(t, t.Context(), id)
	edited := event.DeepCopy()
	edited.Labels["edited"] = "true"
	require.NoError(t, d.api.Patch(t.Context(), edited, client.MergeFrom(event)))
	answer()
	return d.await(t, id, v1alpha1.PhaseDone)
}

func conditionReason(event *v1alpha1.WebhookEvent, kind string) string {
	for _, condition := range event.Status.Conditions {
		if condition.Type == kind {
			return condition.Reason
		}
	}
	return ""
}

const cannotWatch = `cannot watch resource "webhookevents"`

// newEventsAreNotNoticed knows that a client that may not watch lists again, each time after twice as long a pause.
func newEventsAreNotNoticed(t *testing.T, d *deprived) {
	deniedTimes(t, d.controller, cannotWatch, 2)
	before := d.deniedWhileNoticing(t)
	require.Eventually(t, func() bool { return len(denials(t, d.controller, cannotWatch)) > before }, systemtest.Timeout, systemtest.Tick,
		"without a list a new event is not noticed")
	// The first denial is reported twice: that the watch fails from now on is reported once.
	deniedTimes(t, d.controller, cannotWatch, 5)
	times := denials(t, d.controller, cannotWatch)
	// The third pause is 3.2 seconds at the least, and the log has whole ones.
	assert.GreaterOrEqual(t, times[4].Sub(times[3]), 3*time.Second)
	require.Error(t, d.controller.probe(t.Context(), d.controller.container.ReadinessProbe), "a controller that lists again and again is not ready")
	d.restore()
	d.becomesReady(t, d.controller)
	for given := time.Now(); d.deniedWhileNoticing(t) < len(denials(t, d.controller, cannotWatch)); {
		require.Less(t, time.Since(given), systemtest.Timeout)
	}
}

// deniedWhileNoticing lets the controller notice two events, the second sent when the first is done, and returns how often the API server had
// denied it to watch before the second one, which is after each list. If the controller notices an event only by a list, a denial follows that
// list and may be counted a moment later.
func (d *deprived) deniedWhileNoticing(t *testing.T) int {
	t.Helper()
	d.await(t, d.post(t, d.receiver, d.note()), v1alpha1.PhaseDone)
	before := len(denials(t, d.controller, cannotWatch))
	d.await(t, d.post(t, d.receiver, d.note()), v1alpha1.PhaseDone)
	return before
}

func finishedEventsStay(t *testing.T, d *deprived) {
	id := d.post(t, d.receiver, d.note())
	d.await(t, id, v1alpha1.PhaseDone)
	denied(t, d.controller, `cannot delete resource "webhookevents"`)
	assert.NotNil(t, d.event(t, t.Context(), id))
	d.restore()
	systemtest.Eventually(t, func(c *assert.CollectT) { require.Nil(c, d.event(c, t.Context(), id)) })
}

// refuse has Verity refuse the webhooks of all events from now on.
func (d *deprived) refuse(t *testing.T) {
	t.Helper()
	refusal := fault.Status(http.StatusUnprocessableEntity)
	refusal.Times = -1
	require.NoError(t, d.verity.Faults.Add(refusal))
}

func nothingIsReported(t *testing.T, d *deprived) {
	d.refuse(t)
	event := d.await(t, d.post(t, d.receiver, d.note()), v1alpha1.PhaseError)
	denied(t, d.controller, `cannot create resource "events" in API group "events.k8s.io"`)
	assert.Empty(t, d.events(t, t.Context(), "WebhookEvent", event.Name))
	d.restore()
	event = d.await(t, d.post(t, d.receiver, d.note()), v1alpha1.PhaseError)
	d.awaitReported(t, event.Name, 1)
}

func repetitionsAreNotReported(t *testing.T, d *deprived) {
	d.refuse(t)
	reported := d.failTwice(t)
	denied(t, d.controller, `cannot patch resource "events" in API group "events.k8s.io"`)
	d.awaitReported(t, reported, 1)
	d.restore()
	d.awaitReported(t, d.failTwice(t), 2)
}

// failTwice has an event fail, and fail again when it is replayed, and returns the name of its WebhookEvent.
func (d *deprived) failTwice(t *testing.T) string {
	t.Helper()
	id := d.post(t, d.receiver, d.note())
	event := d.await(t, id, v1alpha1.PhaseError)
	d.awaitReported(t, event.Name, 1)
	replayed := event.DeepCopy()
	replayed.Annotations = map[string]string{v1alpha1.ReplayRequestedAtAnnotation: "again"}
	require.NoError(t, d.api.Patch(t.Context(), replayed, client.MergeFrom(event)))
	systemtest.Eventually(t, func(c *assert.CollectT) {
		event := d.event(c, t.Context(), id)
		require.NotNil(c, event)
		require.Equal(c, "again", event.Status.LastHandledReplay)
		require.Equal(c, v1alpha1.PhaseError, event.Status.Phase)
	})
	return event.Name
}

// awaitReported waits until one Kubernetes Event tells that a WebhookEvent went wrong so often.
func (d *deprived) awaitReported(t *testing.T, name string, times int32) {
	t.Helper()
	systemtest.Eventually(t, func(c *assert.CollectT) {
		reported := d.events(c, t.Context(), "WebhookEvent", name)
		require.Len(c, reported, 1)
		require.Equal(c, times, timesOf(reported[0]))
	})
}

func timesOf(event corev1.Event) int32 {
	if event.Series == nil {
		return 1
	}
	return event.Series.Count
}
