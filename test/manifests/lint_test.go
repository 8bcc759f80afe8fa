package manifests_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// accepted are kube-score's findings that are no mistakes here, and why.
var accepted = map[string]string{
	"container-ephemeral-storage-request-and-limit": "nothing is written but logs, which the kubelet rotates; a limit would evict pods for logging",
	"container-security-context-user-group-id":      "the image runs as 65532, which the kubelet checks; a number in the manifest would not be OpenShift's",
	"container-image-pull-policy":                   "a tag or digest is of one release, and a registry that is down must not keep pods from starting",
	"deployment-has-host-podantiaffinity":           "topologySpreadConstraints spread the pods over hosts and zones",
}

func TestLintersFindNothingUnexplained(t *testing.T) {
	t.Parallel()
	for _, values := range []string{"everything", "options", "smallest"} {
		t.Run("helm lint with values of "+values, func(t *testing.T) {
			t.Parallel()
			output, err := helm(t, "lint", "--strict", file(t, "config", "chart"), "--values=testdata/"+values+".yaml")
			assert.NoError(t, err)
			assert.NotContains(t, string(output), "[WARNING]")
		})
	}
	t.Run("kube-score", func(t *testing.T) {
		t.Parallel()
		arguments := []string{
			"score", "--kubernetes-version=v1.37", "--output-format=ci", "--exit-one-on-warning",
			// Throttling would make answers late, and late answers are sent again.
			"--ignore-container-cpu-limit",
			"--enable-optional-test=container-seccomp-profile", "--enable-optional-test=container-ports-check",
			"-",
		}
		for test := range accepted {
			arguments = slices.Insert(arguments, 1, "--ignore-test="+test)
		}
		manifests, err := helm(t, "template", "verity-sync", file(t, "config", "chart"), "--values=testdata/everything.yaml")
		assert.NoError(t, err)
		output, err := run(t, bytes.NewReader(manifests), "kube-score", arguments...)
		assert.NoError(t, err)
		assert.Contains(t, string(output), "[OK]")
	})
}
