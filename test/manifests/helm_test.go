package manifests_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
)

// release is a release of a chart in a cluster where the test decides how Jobs end.
type release struct {
	chart, namespace string
	kubeconfig       string
	client           *kubernetes.Clientset
}

func newRelease(t *testing.T, server *controlplane.ControlPlane) *release {
	t.Helper()
	client, err := kubernetes.NewForConfig(server.Config())
	require.NoError(t, err)
	return &release{file(t, "config", "chart"), namespace, server.Kubeconfig(), client}
}

func TestHelmMigratesBeforeItTouchesWhatRuns(t *testing.T) {
	t.Parallel()
	server := startServer(t, controlplane.Options{NoSync: true})
	r := newRelease(t, server)
	const trial = "--set=secret.create=true,secret.data.DATABASE_URL=postgres://example.com/one"
	released := "verity-sync:" + appVersion(t)
	first, second := []string{released, released}, []string{"verity-sync:v2", "verity-sync:v2"}

	notes, err := r.helm(t, batchv1.JobComplete, func() {
		assert.Empty(t, r.images(t), "nothing runs before the migration")
		secrets, accounts := r.left(t)
		assert.ElementsMatch(t, []string{"verity-sync-migrate"}, secrets)
		assert.ElementsMatch(t, []string{"verity-sync-migrate"}, accounts)
	}, "install", "--create-namespace", trial)
	require.NoError(t, err)
	assert.Contains(t, notes, "kubectl --namespace verity-sync get webhookevents")
	assert.Equal(t, first, r.images(t))
	secrets, accounts := r.left(t)
	assert.ElementsMatch(t, []string{"verity-sync"}, secrets, "what only the migration needs goes with it")
	assert.ElementsMatch(t, []string{"verity-sync-receiver", "verity-sync-controller"}, accounts)

	_, err = r.helm(t, batchv1.JobFailed, func() {}, "upgrade", trial, "--set=image.tag=v2")
	require.ErrorContains(t, err, "pre-upgrade hooks failed")
	assert.Equal(t, first, r.images(t), "a migration that fails leaves running what ran")

	_, err = r.helm(t, batchv1.JobComplete, func() { assert.Equal(t, first, r.images(t)) }, "upgrade", trial, "--set=image.tag=v2")
	require.NoError(t, err)
	assert.Equal(t, second, r.images(t))

	cluster := newCluster(t, server.Config())
	for _, sample := range kustomization(t, file(t, "config", "samples")) {
		require.NoError(t, cluster.apply(t, sample))
	}
	leases := cluster.dynamic.Resource(coordinationv1.SchemeGroupVersion.WithResource("leases")).Namespace(namespace)
	_, err = leases.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": map[string]any{"name": "verity-sync-controller"},
		"spec": map[string]any{"holderIdentity": "a controller that could not release it", "leaseDurationSeconds": int64(15)},
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = helm(t, "uninstall", "verity-sync", "--namespace="+namespace, "--kubeconfig="+r.kubeconfig)
	require.NoError(t, err)
	assert.Empty(t, r.images(t))
	events, err := cluster.dynamic.Resource(v1alpha1.GroupVersion.WithResource("webhookevents")).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	assert.Len(t, events.Items, 1, "the definition is kept, and with it every WebhookEvent")
	for _, resource := range []schema.GroupVersionResource{
		coordinationv1.SchemeGroupVersion.WithResource("leases"), batchv1.SchemeGroupVersion.WithResource("jobs"),
	} {
		left, err := cluster.dynamic.Resource(resource).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		assert.Empty(t, left.Items, "no %s are left", resource.Resource)
	}

	_, err = r.helm(t, batchv1.JobComplete, func() {}, "install", trial)
	require.NoError(t, err, "a definition that was kept is no obstacle")
	assert.Equal(t, first, r.images(t))
}

func TestHelmReusesTheValuesOfAnEarlierRelease(t *testing.T) {
	t.Parallel()
	r := newRelease(t, startServer(t, controlplane.Options{NoSync: true}))
	done := func(action string, arguments ...string) string {
		notes, err := r.helm(t, batchv1.JobComplete, func() {}, action, arguments...)
		require.NoError(t, err)
		return notes
	}
	r.chart = chartWith(t, readYAML(t, "testdata/values-0.1.0.yaml"))
	done("install", "--create-namespace", "--set=secret.create=true,secret.data.DATABASE_URL=postgres://example.com/one,image.tag=v1,receiver.replicas=3")
	r.chart = file(t, "config", "chart")
	assert.Contains(t, done("upgrade", "--reuse-values", "--set=image.tag=v2"), "is installed in the namespace verity-sync")
	assert.Equal(t, []string{"verity-sync:v2", "verity-sync:v2"}, r.images(t))
	receiver, err := r.client.AppsV1().Deployments(namespace).Get(t.Context(), "verity-sync-receiver", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, int32(3), *receiver.Spec.Replicas, "what was given is reused")

	// A value that the earlier release did not have.
	done("upgrade", "--reuse-values", "--set=metrics.dashboard.enabled=true")
	dashboard, err := r.client.CoreV1().ConfigMaps(namespace).Get(t.Context(), "verity-sync-dashboard", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "1", dashboard.Labels["grafana_dashboard"], "and what is beside it has its default")

	// The values are those of this release now.
	done("upgrade", "--reset-then-reuse-values")
	receiver, err = r.client.AppsV1().Deployments(namespace).Get(t.Context(), "verity-sync-receiver", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, int32(3), *receiver.Spec.Replicas)
	assert.Equal(t, "1Gi", receiver.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().String())
}

func TestTheTrialsOfTheDocsAreInstalledBesideEachOther(t *testing.T) {
	t.Parallel()
	var trials [][]string
	for _, p := range pages(t) {
		for _, command := range p.commands("helm install") {
			if strings.Contains(command, "secret.create=true") {
				words, err := shell(t, t.TempDir(), "printf '%s\n' "+command)
				require.NoError(t, err)
				trials = append(trials, strings.Split(strings.TrimSpace(words), "\n"))
			}
		}
	}
	require.Len(t, trials, 2)
	r := newRelease(t, startServer(t, controlplane.Options{NoSync: true}))
	for n, words := range trials {
		require.Equal(t, []string{"helm", "install", "verity-sync", "config/chart", "--namespace"}, words[:5])
		r.namespace = words[5]
		if n > 0 {
			_, err := r.helm(t, batchv1.JobComplete, func() {}, "install", append(words[6:], "--set=crds.install=true")...)
			const refusal = `CustomResourceDefinition "webhookevents.webhooks.dfmiddleware.io" in namespace "" exists and cannot be imported into the current release`
			require.ErrorContains(t, err, refusal, "as the docs have it")
		}
		notes, err := r.helm(t, batchv1.JobComplete, func() {}, "install", words[6:]...)
		require.NoError(t, err)
		assert.Equal(t, n == 0, strings.Contains(notes, "use --set crds.install=false"), "the notes of the release that owns the definition say how to install another")
		assert.Len(t, r.images(t), 2)
	}
	assert.NotEqual(t, trials[0][5], trials[1][5])
	for _, words := range trials {
		_, err := helm(t, "uninstall", "verity-sync", "--namespace="+words[5], "--kubeconfig="+r.kubeconfig)
		require.NoError(t, err)
	}
}

// appVersion is the version that the chart installs.
func appVersion(t *testing.T) string {
	t.Helper()
	return readYAML(t, file(t, "config", "chart", "Chart.yaml"))["appVersion"].(string)
}

// helm runs a command that migrates, calls look while the migration's Job runs, and ends the Job with the outcome.
func (r *release) helm(t *testing.T, outcome batchv1.JobConditionType, look func(), action string, arguments ...string) (string, error) {
	t.Helper()
	jobs := r.client.BatchV1().Jobs(r.namespace)
	before, err := jobs.List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	changes, err := jobs.Watch(t.Context(), metav1.ListOptions{ResourceVersion: before.ResourceVersion})
	require.NoError(t, err)
	defer changes.Stop()

	type result struct {
		output []byte
		err    error
	}
	done := make(chan result, 1)
	cmd := command(t, "helm", slices.Concat([]string{
		action, "verity-sync", r.chart, "--namespace=" + r.namespace, "--kubeconfig=" + r.kubeconfig, "--timeout=2m",
	}, arguments)...)
	go func() {
		said, err := output(cmd)
		done <- result{said, err}
	}()
	for {
		select {
		case change := <-changes.ResultChan():
			if change.Type == watch.Added {
				look()
				r.end(t, change.Object.(*batchv1.Job), outcome)
			}
		case ended := <-done:
			return string(ended.output), ended.err
		}
	}
}

// end does what the Job controller would.
func (r *release) end(t *testing.T, job *batchv1.Job, outcome batchv1.JobConditionType) {
	t.Helper()
	now := metav1.Now()
	job.Status.StartTime = &now
	earlier := batchv1.JobFailureTarget
	if outcome == batchv1.JobComplete {
		earlier = batchv1.JobSuccessCriteriaMet
		job.Status.CompletionTime = &now
		job.Status.Succeeded = 1
	}
	for _, condition := range []batchv1.JobConditionType{earlier, outcome} {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
			Type: condition, Status: corev1.ConditionTrue, LastTransitionTime: now, LastProbeTime: now,
		})
	}
	_, err := r.client.BatchV1().Jobs(r.namespace).UpdateStatus(t.Context(), job, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// images returns the images of the Deployments.
func (r *release) images(t *testing.T) []string {
	t.Helper()
	deployments, err := r.client.AppsV1().Deployments(r.namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	var images []string
	for _, deployment := range deployments.Items {
		images = append(images, deployment.Spec.Template.Spec.Containers[0].Image)
	}
	return images
}

// left returns the names of the Secrets and ServiceAccounts, but for those that Helm keeps its releases in.
func (r *release) left(t *testing.T) (secrets, accounts []string) {
	t.Helper()
	secretList, err := r.client.CoreV1().Secrets(r.namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "type=Opaque"})
	require.NoError(t, err)
	for _, secret := range secretList.Items {
		secrets = append(secrets, secret.Name)
	}
	accountList, err := r.client.CoreV1().ServiceAccounts(r.namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	for _, account := range accountList.Items {
		accounts = append(accounts, account.Name)
	}
	return secrets, accounts
}
