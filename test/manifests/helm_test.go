package manifests_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/testenv/controlplane"
)

// release is a release of the chart in a cluster where the test decides how Jobs end.
type release struct {
	kubeconfig string
	client     *kubernetes.Clientset
}

func TestHelmMigratesBeforeItTouchesWhatRuns(t *testing.T) {
	t.Parallel()
	server := startServer(t, controlplane.Options{NoSync: true})
	client, err := kubernetes.NewForConfig(server.Config())
	require.NoError(t, err)
	r := &release{server.Kubeconfig(), client}
	const trial = "--set=secret.create=true,secret.data.DATABASE_URL=postgres://example.com/one"
	first, second := []string{"verity-sync:0.2.0", "verity-sync:0.2.0"}, []string{"verity-sync:v2", "verity-sync:v2"}

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
	_, err = helm(t, "uninstall", "verity-sync", "--namespace="+namespace, "--kubeconfig="+r.kubeconfig)
	require.NoError(t, err)
	assert.Empty(t, r.images(t))
	events, err := cluster.dynamic.Resource(v1alpha1.GroupVersion.WithResource("webhookevents")).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	assert.Len(t, events.Items, 1, "the definition is kept, and with it every WebhookEvent")

	_, err = r.helm(t, batchv1.JobComplete, func() {}, "install", trial)
	require.NoError(t, err, "a definition that was kept is no obstacle")
	assert.Equal(t, first, r.images(t))
}

// helm runs a command that migrates, and ends the migration's Job as it is told, after a look at the cluster as it is then.
func (r *release) helm(t *testing.T, outcome batchv1.JobConditionType, look func(), action string, arguments ...string) (string, error) {
	t.Helper()
	jobs := r.client.BatchV1().Jobs(namespace)
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
		action, "verity-sync", file(t, "config", "chart"), "--namespace=" + namespace, "--kubeconfig=" + r.kubeconfig, "--timeout=2m",
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
	_, err := r.client.BatchV1().Jobs(namespace).UpdateStatus(t.Context(), job, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// images returns the images of the Deployments.
func (r *release) images(t *testing.T) []string {
	t.Helper()
	deployments, err := r.client.AppsV1().Deployments(namespace).List(t.Context(), metav1.ListOptions{})
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
	secretList, err := r.client.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "type=Opaque"})
	require.NoError(t, err)
	for _, secret := range secretList.Items {
		secrets = append(secrets, secret.Name)
	}
	accountList, err := r.client.CoreV1().ServiceAccounts(namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	for _, account := range accountList.Items {
		accounts = append(accounts, account.Name)
	}
	return secrets, accounts
}
