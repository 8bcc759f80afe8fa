package install

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/sim/verity"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// installation is one in a namespace of its own, with what its processes talk to.
type installation struct {
	server    *controlplane.ControlPlane
	client    *kubernetes.Clientset
	api       client.Client
	namespace string
	variables variables

	database *pgxpool.Pool
	sender   *ghlsender.Sender
	verity   *verity.Server
	// answering is locked while Verity is not to answer to webhooks with a contact.
	answering sync.Mutex
}

// newInstallation prepares what a user has before: a database, a namespace with the Secret, and the other side.
func newInstallation(t *testing.T, server *controlplane.ControlPlane, namespace string) *installation {
	t.Helper()
	i := &installation{server: server, namespace: namespace, sender: ghlsender.New(nil), verity: verity.New()}
	i.verity.Secret = uuid.NewString()
	i.verity.OnContact = func(context.Context, string, string) error {
		i.answering.Lock()
		defer i.answering.Unlock()
		return nil
	}
	simulator := httptest.NewServer(i.verity)
	t.Cleanup(func() {
		i.verity.Faults.Clear()
		simulator.Close()
	})
	i.variables = variables{
		receiver:   map[string]string{"GHL_WEBHOOK_PUBLIC_KEYS": i.sender.PublicKey()},
		controller: map[string]string{"VERITY_BASE_URL": simulator.URL},
	}
	var err error
	i.client, err = kubernetes.NewForConfig(server.Config())
	require.NoError(t, err)
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	i.api, err = client.New(server.Config(), client.Options{Scheme: scheme})
	require.NoError(t, err)

	_, err = i.client.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	require.NoError(t, err)
	url := testenv.Postgres(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "verity-sync"}, StringData: map[string]string{
		"DATABASE_URL": url, "VERITY_WEBHOOK_SECRET": i.verity.Secret,
	}}
	_, err = i.client.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{})
	require.NoError(t, err)
	i.database, err = pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(i.database.Close)
	return i
}

// newNamespace returns a name that no other test has.
func newNamespace() string { return "install-" + uuid.NewString()[:8] }

// apply applies objects in the order in which Helm and kubectl do, and waits until they count. A Job that is there is replaced.
func (i *installation) apply(t *testing.T, objects ...*unstructured.Unstructured) {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() == "Job" {
			err := i.api.Delete(t.Context(), object, client.PropagationPolicy(metav1.DeletePropagationBackground))
			require.NoError(t, client.IgnoreNotFound(err))
		}
		systemtest.Eventually(t, func(c *assert.CollectT) {
			object := object.DeepCopy()
			err := i.api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("test"), client.ForceOwnership)
			require.NoError(c, err, "%s %s", object.GetKind(), object.GetName())
		})
	}
	systemtest.Eventually(t, func(c *assert.CollectT) {
		require.NoError(c, i.api.List(t.Context(), &v1alpha1.WebhookEventList{}, client.InNamespace(i.namespace)))
	}, "the API server serves WebhookEvents")
	for _, right := range rightsOf(t, objects) {
		i.awaitRight(t, right, true)
	}
}

// migration returns the pod of the Job, not started.
func (i *installation) migration(t *testing.T, image image) *pod {
	t.Helper()
	job := &batchv1.Job{}
	require.NoError(t, i.api.Get(t.Context(), types.NamespacedName{Namespace: i.namespace, Name: "verity-sync-migrate"}, job))
	return i.newPod(t, job.Name, image, job.Spec.Template.Spec)
}

// migrate runs the Job.
func (i *installation) migrate(t *testing.T, image image) string {
	t.Helper()
	p := i.migration(t, image)
	assert.NoDirExists(t, p.root+"/"+serviceAccountDir, "the migration gets no token")
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	output, err := p.run(ctx)
	require.NoError(t, err)
	return output
}

// pods returns the replicas of a Deployment, not started.
func (i *installation) pods(t *testing.T, component string, image image) []*pod {
	t.Helper()
	deployment := &appsv1.Deployment{}
	require.NoError(t, i.api.Get(t.Context(), types.NamespacedName{Namespace: i.namespace, Name: "verity-sync-" + component}, deployment))
	var pods []*pod
	for n := range *deployment.Spec.Replicas {
		pods = append(pods, i.newPod(t, fmt.Sprintf("%s-%s-%d", deployment.Name, uuid.NewString()[:5], n), image, deployment.Spec.Template.Spec))
	}
	return pods
}

// start starts pods and waits until they are ready.
func start(t *testing.T, pods ...*pod) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for _, p := range pods {
		require.NoError(t, p.Start(ctx))
	}
}

// post posts a webhook to a receiver and returns the id of its event. What is answered 429, as a receiver does where a busy machine's Postgres
// takes too long, it posts again as GoHighLevel does. It may have been stored all the same then.
func (i *installation) post(t *testing.T, receiver *pod, w ghlsender.Webhook) string {
	t.Helper()
	sender := *i.sender
	sender.Retries, sender.RetryDelay = 6, time.Second
	answer, err := sender.Send(t.Context(), receiver.url("http", "http")+"/api/webhooks/ghl", w)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.Status, "%s", answer.Body)
	var said struct{ ID, Status string }
	require.NoError(t, json.Unmarshal(answer.Body, &said))
	require.True(t, said.Status == "accepted" || answer.Attempts > 1 && said.Status == "duplicate", said.Status)
	return said.ID
}

// note is a webhook of a type that is only forwarded.
func (i *installation) note() ghlsender.Webhook {
	return i.sender.Marketplace("NoteCreate", map[string]any{"id": ghlsender.NewID()})
}

// event returns the WebhookEvent of an event, nil where there is none.
func (i *installation) event(t require.TestingT, ctx context.Context, id string) *v1alpha1.WebhookEvent { //nolint:revive // As testify has it.
	event := &v1alpha1.WebhookEvent{}
	err := i.api.Get(ctx, types.NamespacedName{Namespace: i.namespace, Name: v1alpha1.NameOf("ghl", id)}, event)
	if apierrors.IsNotFound(err) {
		return nil
	}
	require.NoError(t, err)
	return event
}

// await waits until an event is in a phase, and returns it.
func (i *installation) await(t *testing.T, id string, phase v1alpha1.WebhookEventPhase) *v1alpha1.WebhookEvent {
	t.Helper()
	var event *v1alpha1.WebhookEvent
	systemtest.Eventually(t, func(c *assert.CollectT) {
		event = i.event(c, t.Context(), id)
		require.NotNil(c, event, "there is a WebhookEvent")
		require.Equal(c, phase, event.Status.Phase, "%+v", event.Status)
	})
	return event
}

// forwards returns how often Verity took an event.
func (i *installation) forwards(id string) int {
	for _, delivery := range i.verity.Deliveries() {
		if delivery.Key == id {
			return len(delivery.Times)
		}
	}
	return 0
}

// events returns the Kubernetes Events about an object.
func (i *installation) events(t require.TestingT, ctx context.Context, kind, name string) []corev1.Event { //nolint:revive // As testify has it.
	list, err := i.client.CoreV1().Events(i.namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=" + kind + ",involvedObject.name=" + name,
	})
	require.NoError(t, err)
	return list.Items
}

// denied waits until the API server has denied a process something, such as `cannot create resource "webhookevents"`.
func denied(t *testing.T, p *pod, what string) {
	t.Helper()
	deniedTimes(t, p, what, 1)
}

func deniedTimes(t *testing.T, p *pod, what string, times int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(denials(t, p, what)) >= times }, systemtest.Timeout, systemtest.Tick, "the API server denies %s: %s", p.Name, what)
}

// denials returns when the API server denied a process something, to the second.
func denials(t *testing.T, p *pod, what string) []time.Time {
	t.Helper()
	var times []time.Time
	for line := range strings.Lines(p.log(t)) {
		if !strings.HasSuffix(line, "\n") || !strings.Contains(line, "forbidden") || !strings.Contains(strings.ReplaceAll(line, `\`, ""), what) {
			continue
		}
		var said struct{ TS time.Time }
		require.NoError(t, json.Unmarshal([]byte(line), &said), line)
		times = append(times, said.TS)
	}
	return times
}

// leader returns the one of the controllers that leads, by the lease and what the processes say.
func leader(t *testing.T, controllers []*pod) (leads, waits *pod) {
	t.Helper()
	require.Len(t, controllers, 2)
	require.Eventually(t, func() bool {
		for n, p := range controllers {
			if strings.Contains(p.log(t), "Starting workers") {
				leads, waits = p, controllers[1-n]
				return true
			}
		}
		return false
	}, systemtest.Timeout, systemtest.Tick, "a controller leads")
	return leads, waits
}
