package cluster

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/record"
	"github.com/dfmiddleware/verity-sync/test/sim/verity"
)

// collect is what conditions report to.
type collect = assert.CollectT

func TestHelmInstallsTheChart(t *testing.T) {
	output, err := exec.CommandContext(t.Context(), "helm", "list", "--namespace", namespace, "--output=json").Output()
	require.NoError(t, err)
	var releases []struct{ Name, Status string }
	require.NoError(t, json.Unmarshal(output, &releases))
	require.Len(t, releases, 1)
	assert.Equal(t, "verity-sync", releases[0].Name)
	assert.Equal(t, "deployed", releases[0].Status)
}

func TestPodsAreReadyByTheirProbes(t *testing.T) {
	for _, component := range []string{"receiver", "controller"} {
		t.Run(component, func(t *testing.T) {
			shared.awaitRollout(t, component)
			for _, pod := range shared.pods(t, t.Context(), component) {
				require.Len(t, pod.Spec.Containers, 1)
				container := pod.Spec.Containers[0]
				assert.NotNil(t, container.StartupProbe)
				assert.NotNil(t, container.LivenessProbe)
				assert.NotNil(t, container.ReadinessProbe)
			}
		})
	}
}

// A pod with fewer restrictions is refused in the namespace, which shows that the policy is in force.
func TestPodSecurityIsEnforced(t *testing.T) {
	_, err := shared.client.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "root"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "root", Image: "node.local/pause:1"}}},
	}, metav1.CreateOptions{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	assert.ErrorContains(t, err, `violates PodSecurity "restricted:latest"`)
}

// The test is in the process namespace of the node, and sees the processes of the containers.
func TestProcessesHaveNoRights(t *testing.T) {
	for _, component := range []string{"receiver", "controller"} {
		shared.awaitRollout(t, component)
	}
	executables, err := filepath.Glob("/proc/[0-9]*/exe")
	require.NoError(t, err)
	found := 0
	for _, executable := range executables {
		if target, err := os.Readlink(executable); err != nil || target != "/verity-sync" {
			continue
		}
		found++
		process := filepath.Dir(executable)
		status, err := os.ReadFile(filepath.Join(process, "status"))
		require.NoError(t, err)
		assert.Regexp(t, `(?m)^Uid:\t65532\t65532\t65532\t65532$`, string(status))
		assert.Regexp(t, `(?m)^Gid:\t65532\t65532\t65532\t65532$`, string(status))
		assert.Regexp(t, `(?m)^CapEff:\t0+$`, string(status))
		assert.Regexp(t, `(?m)^CapBnd:\t0+$`, string(status))
		assert.Regexp(t, `(?m)^NoNewPrivs:\t1$`, string(status))
		assert.Regexp(t, `(?m)^Seccomp:\t2$`, string(status))
		mounts, err := os.ReadFile(filepath.Join(process, "mountinfo"))
		require.NoError(t, err)
		assert.Regexp(t, `(?m)^\d+ \d+ \S+ \S+ / ro,`, string(mounts), "the root file system is read-only")
	}
	assert.Equal(t, 4, found, "two receivers and two controllers run")
}

func TestWebhookThroughTheServiceEndsDone(t *testing.T) {
	tests := map[string]map[string]any{
		"a signed webhook": {},
		"a body with spaces and characters of all kinds": {"body": "  ä € 😀 \u0000 <&> \\ "},
		"a large body": {"body": strings.Repeat("0123456789abcdef", 60<<10)},
	}
	for name, fields := range tests {
		t.Run(name, func(t *testing.T) {
			webhook := shared.note()
			if fields["body"] != nil {
				webhook = shared.sender.Marketplace("NoteCreate", map[string]any{"id": "note-" + strings.ReplaceAll(name, " ", "-"), "body": fields["body"]})
			}
			require.True(t, webhook.Signed)
			id := shared.post(t, webhook)

			require.EventuallyWithT(t, func(c *collect) {
				event := &v1alpha1.WebhookEvent{}
				require.NoError(c, shared.api.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: v1alpha1.NameOf("ghl", id)}, event))
				require.Equal(c, v1alpha1.PhaseDone, event.Status.Phase, "%+v", event.Status)
			}, eventually, tick)
			var deliveries []verity.Delivery
			shared.simulated(t, t.Context(), "deliveries?key="+id, &deliveries)
			require.Len(t, deliveries, 1)
			assert.Len(t, deliveries[0].Times, 1, "it is forwarded once")
			assert.Equal(t, 1, forwarded(t, id, webhook.Body), "its bytes are the same at Verity")
		})
	}
}

// forwarded counts the requests to Verity with the id of an event and exactly this body.
func forwarded(t *testing.T, id string, body []byte) int {
	t.Helper()
	var requests []record.Request
	shared.simulated(t, t.Context(), "requests?method="+http.MethodPost, &requests)
	count := 0
	for _, request := range requests {
		if request.Header.Get("Idempotency-Key") == id && request.Body == string(body) {
			count++
		}
	}
	return count
}
