package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// takeover is how long events may wait for another leader.
const takeover = 30 * time.Second

// restart does what `kubectl rollout restart` does.
func restart(t *testing.T, deployment string) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
	_, err := shared.client.AppsV1().Deployments(namespace).Patch(t.Context(), deployment, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	require.NoError(t, err)
}

func TestRolloutOfTheReceiversDropsNoWebhook(t *testing.T) {
	shared.awaitRollout(t, "receiver")
	l := startLoad(t)
	restart(t, "verity-sync-receiver")
	shared.awaitRollout(t, "receiver")
	l.awaitAccepted(t, rate)
	l.assertAll200(t)
	l.assertDone(t)
}

func TestEvictionsOfTheReceiversDropNoWebhook(t *testing.T) {
	shared.awaitRollout(t, "receiver")
	pods := shared.pods(t, t.Context(), "receiver")
	require.Len(t, pods, 2)
	l := startLoad(t)

	require.NoError(t, evict(t, pods[0]))
	err := evict(t, pods[1])
	require.True(t, apierrors.IsTooManyRequests(err), "the PodDisruptionBudget keeps one: %v", err)
	// As `kubectl drain` does, until the budget allows it.
	require.EventuallyWithT(t, func(c *collect) { require.NoError(c, evict(t, pods[1])) }, eventually, tick)
	for _, pod := range shared.pods(t, t.Context(), "receiver") {
		assert.NotEqual(t, pods[0].Name, pod.Name)
	}

	shared.awaitRollout(t, "receiver")
	l.awaitAccepted(t, rate)
	l.assertAll200(t)
	l.assertDone(t)
}

func evict(t *testing.T, pod corev1.Pod) error {
	t.Helper()
	return shared.client.CoreV1().Pods(pod.Namespace).EvictV1(t.Context(), &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
	})
}

// What is in flight at a receiver that is killed gets no answer, and GoHighLevel repeats it.
func TestAcceptedWebhooksOutliveAReceiverThatIsKilled(t *testing.T) {
	shared.awaitRollout(t, "receiver")
	l := startLoad(t)
	kill(t, shared.pods(t, t.Context(), "receiver")[0])
	l.awaitAccepted(t, 2*rate)
	shared.awaitRollout(t, "receiver")
	answers := l.wait()
	t.Logf("answers: %v", answers)
	for answer := range answers {
		assert.Regexp(t, "^(200|post the webhook: .*(connection refused|connection reset by peer|EOF))$", answer)
	}
	l.assertDone(t)
}

func TestEventsContinueWithoutTheirLeader(t *testing.T) {
	tests := map[string]func(t *testing.T, leader corev1.Pod){
		"the leader is deleted": func(t *testing.T, leader corev1.Pod) {
			t.Helper()
			require.NoError(t, shared.client.CoreV1().Pods(namespace).Delete(t.Context(), leader.Name, metav1.DeleteOptions{}))
		},
		"the leader is deleted at once": func(t *testing.T, leader corev1.Pod) {
			t.Helper()
			now := int64(0)
			require.NoError(t, shared.client.CoreV1().Pods(namespace).Delete(t.Context(), leader.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
		},
		"the leader is evicted": func(t *testing.T, leader corev1.Pod) {
			t.Helper()
			require.NoError(t, evict(t, leader))
		},
		"the leader is killed": kill,
	}
	for name, disturb := range tests {
		t.Run(name, func(t *testing.T) {
			shared.awaitRollout(t, "controller")
			leader, identity := shared.leader(t)
			disturb(t, leader)
			disturbed := time.Now()
			id := shared.post(t, shared.note())
			awaitDone(t, id)
			t.Logf("the event was done after %s", time.Since(disturbed).Round(time.Millisecond))
			require.Eventually(t, func() bool {
				_, now := shared.leader(t)
				return now != identity
			}, takeover, tick, "another process leads")
			t.Logf("another process led after %s", time.Since(disturbed).Round(time.Millisecond))
			awaitDone(t, shared.post(t, shared.note()))
		})
	}
}

// awaitDone waits until an event is done, for as long as another leader may take.
func awaitDone(t *testing.T, id string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *collect) {
		var done bool
		require.NoError(c, shared.database.QueryRow(t.Context(), "SELECT status = 'done' FROM webhook_events WHERE id = $1", id).Scan(&done))
		require.True(c, done)
	}, takeover, tick)
}

// kill kills the process of a pod. The test is in the process namespace of the node.
func kill(t *testing.T, pod corev1.Pod) {
	t.Helper()
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	require.NoError(t, err)
	for _, file := range groups {
		process := filepath.Dir(file)
		group, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(group), string(pod.UID)) {
			continue
		}
		if target, err := os.Readlink(filepath.Join(process, "exe")); err == nil && target == "/verity-sync" {
			pid, err := strconv.Atoi(filepath.Base(process))
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			return
		}
	}
	t.Fatalf("no process of the pod %s is found", pod.Name)
}

// A receiver answers 429 without Postgres, which GoHighLevel repeats, and stays ready.
func TestWebhooksAreRefusedWithoutPostgres(t *testing.T) {
	shared.awaitRollout(t, "receiver")
	before := restarts(t)
	l := startLoad(t)
	scale(t, "postgres", 0)
	t.Cleanup(func() { scale(t, "postgres", 1) })
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.answers["429"] > rate
	}, eventually, tick, "webhooks are answered 429")
	scale(t, "postgres", 1)
	l.awaitAccepted(t, 2*rate)

	answers := l.wait()
	t.Logf("answers: %v", answers)
	for answer := range answers {
		assert.Contains(t, []string{"200", "429"}, answer)
	}
	for _, pod := range shared.pods(t, t.Context(), "receiver") {
		assert.True(t, ready(pod), pod.Name)
	}
	assert.Equal(t, before, restarts(t), "no process ended")
	l.assertDone(t)
}

// scale sets the number of pods of a Deployment that verity-sync talks to.
func scale(t *testing.T, deployment string, replicas int) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)
	_, err := shared.client.AppsV1().Deployments(backends).Patch(context.WithoutCancel(t.Context()), deployment, types.MergePatchType,
		[]byte(patch), metav1.PatchOptions{})
	require.NoError(t, err)
}

// restarts returns how often each container of the chart was restarted.
func restarts(t *testing.T) map[string]int32 {
	t.Helper()
	restarts := map[string]int32{}
	for _, component := range []string{"receiver", "controller"} {
		for _, pod := range shared.pods(t, t.Context(), component) {
			restarts[pod.Name] = pod.Status.ContainerStatuses[0].RestartCount
		}
	}
	return restarts
}
