package cluster

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
)

// The namespaces of hack/cluster/up.sh.
const (
	namespace = "verity-sync"
	backends  = "backends"
)

// environment is the installation, as its administrator and as GoHighLevel see it.
type environment struct {
	client   *kubernetes.Clientset
	api      client.Client
	database *pgxpool.Pool
	sender   *ghlsender.Sender
	// webhooks is the URL of the receivers' Service, verity that of the simulator's.
	webhooks, verity string
}

func newEnvironment(ctx context.Context, state string) (*environment, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	e := &environment{}
	if e.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	if e.api, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	key, err := signingKey(filepath.Join(state, "ghl.pem"))
	if err != nil {
		return nil, fmt.Errorf("read the key of the simulated GoHighLevel: %w", err)
	}
	e.sender = ghlsender.New(key)
	receivers, err := e.address(ctx, namespace, "verity-sync-receiver")
	if err != nil {
		return nil, err
	}
	simulators, err := e.address(ctx, backends, "simulators")
	if err != nil {
		return nil, err
	}
	e.webhooks, e.verity = "http://"+receivers+"/api/webhooks/ghl", "http://"+simulators+":8080"
	secret, err := e.client.CoreV1().Secrets(namespace).Get(ctx, "verity-sync", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	e.database, err = pgxpool.New(ctx, string(secret.Data["DATABASE_URL"]))
	return e, err
}

func signingKey(file string) (ed25519.PrivateKey, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("it is a %T", parsed)
	}
	return key, nil
}

// address returns the cluster's address of a Service.
func (e *environment) address(ctx context.Context, namespace, name string) (string, error) {
	service, err := e.client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("get the Service: %w", err)
	}
	return service.Spec.ClusterIP, nil
}

// note is a webhook of a type that is only forwarded.
func (e *environment) note() ghlsender.Webhook {
	return e.sender.Marketplace("NoteCreate", map[string]any{"id": ghlsender.NewID()})
}

// post posts a webhook to the Service and returns the id of its event. As GoHighLevel does, it repeats a webhook that is answered 429: on a busy machine
// Postgres may take too long.
func (e *environment) post(t *testing.T, webhook ghlsender.Webhook) string {
	t.Helper()
	sender := *e.sender
	sender.Retries, sender.RetryDelay = 6, time.Second
	answer, err := sender.Send(t.Context(), e.webhooks, webhook)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.Status, "%s", answer.Body)
	id, err := eventID(answer.Body)
	require.NoError(t, err)
	return id
}

// eventID reads the id from the answer to a webhook that was accepted.
func eventID(body []byte) (string, error) {
	var said struct{ ID string }
	if err := json.Unmarshal(body, &said); err != nil || said.ID == "" {
		return "", fmt.Errorf("the answer has no id: %s", body)
	}
	return said.ID, nil
}

// simulated reads a control endpoint of Verity's simulator.
func (e *environment) simulated(t require.TestingT, ctx context.Context, path string, into any) { //nolint:revive // As testify has it.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.verity+"/_sim/"+path, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.NoError(t, json.NewDecoder(response.Body).Decode(into))
}

// pods returns the pods of a Deployment of the chart that are not being deleted.
func (e *environment) pods(t require.TestingT, ctx context.Context, component string) []corev1.Pod { //nolint:revive // As testify has it.
	list, err := e.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=" + component})
	require.NoError(t, err)
	var pods []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

func ready(pod corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// awaitRollout waits until a Deployment of the chart has only current, ready pods, and the pods of before are gone.
func (e *environment) awaitRollout(t *testing.T, component string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *collect) {
		deployment, err := e.client.AppsV1().Deployments(namespace).Get(t.Context(), "verity-sync-"+component, metav1.GetOptions{})
		require.NoError(c, err)
		require.True(c, rolledOut(deployment), "%+v", deployment.Status)
		pods, err := e.client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=" + component})
		require.NoError(c, err)
		require.Len(c, pods.Items, int(*deployment.Spec.Replicas))
		for _, pod := range pods.Items {
			require.True(c, ready(pod), pod.Name)
		}
	}, eventually, tick)
}

func rolledOut(deployment *appsv1.Deployment) bool {
	status := deployment.Status
	return status.ObservedGeneration == deployment.Generation && status.UpdatedReplicas == *deployment.Spec.Replicas &&
		status.ReadyReplicas == *deployment.Spec.Replicas && status.Replicas == *deployment.Spec.Replicas
}

// leader returns the controller that holds the lease, and the identity of its process there.
func (e *environment) leader(t *testing.T) (leader corev1.Pod, identity string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *collect) {
		lease, err := e.client.CoordinationV1().Leases(namespace).Get(t.Context(), "verity-sync-controller", metav1.GetOptions{})
		require.NoError(c, err)
		require.NotNil(c, lease.Spec.HolderIdentity)
		identity, leader = *lease.Spec.HolderIdentity, corev1.Pod{}
		for _, pod := range e.pods(c, t.Context(), "controller") {
			if strings.HasPrefix(identity, pod.Name+"_") {
				leader = pod
			}
		}
		require.NotEmpty(c, leader.Name, "a controller holds the lease: %q", identity)
	}, eventually, tick)
	return leader, identity
}
