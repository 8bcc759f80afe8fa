package manifests_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// accepted are kube-score's findings that are no mistakes here, and why.
var accepted = map[string]string{
	"container-ephemeral-storage-request-and-limit": "nothing is written but logs, which the kubelet rotates; a limit would evict pods for logging",
	"container-security-context-user-group-id":      "the image runs as 65532, which the kubelet checks; a number in the manifest would not be OpenShift's",
	"container-image-pull-policy":                   "a tag or digest is of one release, and a registry that is down must not keep pods from starting",
	"deployment-has-host-podantiaffinity":           "topologySpreadConstraints spread the pods over hosts and zones",
}

// switchedOff are further findings for installations with fewer options, by the way to install.
var switchedOff = map[string]map[string]string{
	"chart by default": {
		"pod-networkpolicy": "what Ingress, Postgres and API server are reached by differs by cluster: networkPolicy.enabled",
	},
	"kustomization by default": {
		"pod-networkpolicy": "a component of its own, for the same reason",
	},
	"smallest chart": {
		"pod-networkpolicy":                  "switched off",
		"container-resources":                "switched off: for a cluster too small to reserve anything",
		"deployment-has-poddisruptionbudget": "switched off: there is one replica",
		"deployment-replicas":                "switched off: there is one replica",
	},
}

func TestLintersFindNothingUnexplained(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string][]string{
		"no values": nil, "everything": {"--values=testdata/everything.yaml"},
		"options": {"--values=testdata/options.yaml"}, "smallest": {"--values=testdata/smallest.yaml"},
	} {
		t.Run("helm lint with "+name, func(t *testing.T) {
			t.Parallel()
			output, err := helm(t, append([]string{"lint", "--strict", file(t, "config", "chart")}, arguments...)...)
			assert.NoError(t, err)
			assert.NotContains(t, string(output), "[WARNING]")
		})
	}
	for name, render := range rendered {
		t.Run("kube-score of the "+name, func(t *testing.T) {
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
			for test := range switchedOff[name] {
				arguments = slices.Insert(arguments, 1, "--ignore-test="+test)
			}
			var manifests []string
			for _, object := range render(t) {
				text, err := yaml.Marshal(object.Object)
				require.NoError(t, err)
				manifests = append(manifests, string(text))
			}
			output, err := run(t, bytes.NewReader([]byte(strings.Join(manifests, "---\n"))), "kube-score", arguments...)
			assert.NoError(t, err)
			assert.Contains(t, string(output), "[OK]")
		})
	}
}
