package cluster

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// The other image is the same under another tag: the kubelet and the rollout take it for a new one.
func TestUpgradeAndRollbackDropNoWebhook(t *testing.T) {
	chart, err := repo.Path("config", "chart")
	require.NoError(t, err)
	before := receiverImage(t)
	repository, _, found := strings.Cut(before, ":")
	require.True(t, found)
	run(t, "ctr", "--namespace=k8s.io", "images", "tag", "--force", before, repository+":other")
	awaitAll := func() {
		for _, component := range []string{"receiver", "controller"} {
			shared.awaitRollout(t, component)
		}
	}
	awaitAll()
	l := startLoad(t)

	run(t, "helm", "upgrade", "verity-sync", chart, "--namespace="+namespace, "--reset-then-reuse-values", "--wait", "--timeout=5m",
		"--set=image.tag=other,receiver.replicas=3,config.MAX_LIVE_EVENTS=900")
	awaitAll()
	assert.Equal(t, repository+":other", receiverImage(t))
	assert.Len(t, shared.pods(t, t.Context(), "receiver"), 3)
	run(t, "helm", "rollback", "verity-sync", "--namespace="+namespace, "--wait", "--timeout=5m")
	awaitAll()
	assert.Equal(t, before, receiverImage(t))

	l.awaitAccepted(t, rate)
	l.assertAll200(t)
	l.assertDone(t)
}

func receiverImage(t *testing.T) string {
	t.Helper()
	deployment, err := shared.client.AppsV1().Deployments(namespace).Get(t.Context(), "verity-sync-receiver", metav1.GetOptions{})
	require.NoError(t, err)
	return deployment.Spec.Template.Spec.Containers[0].Image
}

func run(t *testing.T, command string, arguments ...string) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), command, arguments...).CombinedOutput()
	require.NoError(t, err, "%s", output)
}
