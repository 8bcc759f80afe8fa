package manifests_test

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

func TestSelectorsMeetTheirPodsAndNoOthers(t *testing.T) {
	t.Parallel()
	for name, render := range rendered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := render(t)
			pods := map[string]map[string]string{} // Labels by component.
			for _, object := range all {
				if podOf(object) != nil {
					labels, _, err := unstructured.NestedStringMap(object.Object, "spec", "template", "metadata", "labels")
					require.NoError(t, err)
					pods[labels["app.kubernetes.io/component"]] = labels
				}
			}
			require.Subset(t, slices.Collect(maps.Keys(pods)), []string{"receiver", "controller"})
			for _, object := range all {
				selector := selectorOf(object)
				if selector == nil {
					continue
				}
				component := object.GetLabels()["app.kubernetes.io/component"]
				for of, labels := range pods {
					assert.Equal(t, of == component, matches(selector, labels), "%s %s selects the pods of %s", object.GetKind(), object.GetName(), of)
				}
			}
		})
	}
}

// selectorOf returns how an object selects pods, nil where it does not.
func selectorOf(object *unstructured.Unstructured) map[string]string {
	path, found := map[string][]string{
		"Service":             {"spec", "selector"},
		"Deployment":          {"spec", "selector", "matchLabels"},
		"PodDisruptionBudget": {"spec", "selector", "matchLabels"},
		"NetworkPolicy":       {"spec", "podSelector", "matchLabels"},
	}[object.GetKind()]
	if !found {
		return nil
	}
	selector, _, err := unstructured.NestedStringMap(object.Object, path...)
	if err != nil || selector == nil {
		return map[string]string{}
	}
	return selector
}

func matches(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return true
}

func TestNoPodHasMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	for name, render := range rendered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, object := range render(t) {
				if object.GetKind() == "ServiceAccount" {
					assert.Equal(t, false, object.Object["automountServiceAccountToken"], object.GetName())
				}
				pod := podOf(object)
				if pod == nil {
					continue
				}
				assert.Equal(t, object.GetKind() == "Deployment", pod["automountServiceAccountToken"], "only what runs talks to the API server")
				assert.NotEmpty(t, pod["serviceAccountName"])
				assert.Equal(t, false, pod["enableServiceLinks"])
				for _, container := range containersOf(pod) {
					readOnly, _, err := unstructured.NestedBool(container, "securityContext", "readOnlyRootFilesystem")
					require.NoError(t, err)
					assert.True(t, readOnly, object.GetName())
				}
			}
		})
	}
}

// A pod that is killed before it has finished leaves posts without an answer.
func TestThereIsTimeToFinishHoweverLongItTakes(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{
		"by default":                                nil,
		"with a long drain delay":                   {"--set=receiver.drainSeconds=120"},
		"with a long drain":                         {"--set=receiver.drainMaxSeconds=300"},
		"of values of a release that knew no bound": {"--set=receiver.drainMaxSeconds=null"},
		"with a long shutdown":                      {"--set=receiver.shutdownSeconds=90,controller.shutdownSeconds=90"},
	}
	for name, arguments := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, object := range chart(t, arguments...) {
				if object.GetKind() != "Deployment" {
					continue
				}
				pod := podOf(object)
				var delay, timeout, shutdown time.Duration
				for _, argument := range containersOf(pod)[0]["args"].([]any) {
					flag, value, _ := strings.Cut(argument.(string), "=")
					for name, into := range map[string]*time.Duration{"--drain-delay": &delay, "--drain-timeout": &timeout, "--shutdown-timeout": &shutdown} {
						if flag == name {
							var err error
							*into, err = time.ParseDuration(value)
							require.NoError(t, err)
						}
					}
				}
				require.Positive(t, shutdown)
				needed := max(delay, timeout) + shutdown
				grace, err := time.ParseDuration(fmt.Sprintf("%vs", pod["terminationGracePeriodSeconds"]))
				require.NoError(t, err)
				assert.GreaterOrEqual(t, grace, needed+5*time.Second, object.GetName())
			}
		})
	}
}

// The kubelet emits an Unhealthy warning for each probe that fails, of the startup as well. It rounds the start of a container down to a second
// (pkg/kubelet/prober/worker.go, pkg/kubelet/status/status_manager.go).
func TestNoProbeMeetsAProcessThatDoesNotListenYet(t *testing.T) {
	t.Parallel()
	const listens, rounding = 1, 1 // Seconds.
	for name, render := range rendered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, object := range render(t) {
				if object.GetKind() != "Deployment" {
					continue
				}
				container := containersOf(podOf(object))[0]
				startup := container["startupProbe"].(map[string]any)
				liveness, readiness := container["livenessProbe"].(map[string]any), container["readinessProbe"].(map[string]any)
				assert.GreaterOrEqual(t, startup["initialDelaySeconds"].(float64), float64(listens+rounding))
				// As long as the liveness probe would wait by itself: 3 failures.
				assert.GreaterOrEqual(t, startup["periodSeconds"].(float64)*startup["failureThreshold"].(float64), 3*liveness["periodSeconds"].(float64))
				assert.LessOrEqual(t, startup["periodSeconds"].(float64), 1.0, "a rollout waits for it")
				assert.Equal(t, liveness["httpGet"], startup["httpGet"], "a process that is not ready is not restarted")
				assert.NotEqual(t, readiness["httpGet"], startup["httpGet"])
			}
		})
	}
}

func TestProcessesKnowTheirArguments(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "verity-sync")
	require.NoError(t, system.Build(t.Context(), binary))
	for name, render := range rendered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, object := range render(t) {
				pod := podOf(object)
				if pod == nil {
					continue
				}
				var arguments []string
				for _, argument := range containersOf(pod)[0]["args"].([]any) {
					arguments = append(arguments, argument.(string))
				}
				cmd := exec.CommandContext(t.Context(), binary, arguments...)
				cmd.Env = []string{}
				output, err := cmd.CombinedOutput()
				require.Error(t, err)
				// Arguments are read first.
				assert.Contains(t, string(output), "DATABASE_URL: required", "%s %v", object.GetName(), arguments)
				assert.NotContains(t, string(output), "--", "%s %v", object.GetName(), arguments)
			}
		})
	}
}
