package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheNamespaceIsTheFirstThatIsSaid(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "namespace")
	require.NoError(t, os.WriteFile(file, []byte("of-the-account\n"), 0o600))
	missing := filepath.Join(t.TempDir(), "namespace")
	for name, tc := range map[string]struct{ flag, env, file, want string }{
		"by the flag":            {"of-the-flag", "of-the-pod", file, "of-the-flag"},
		"by the pod":             {"", "of-the-pod", file, "of-the-pod"},
		"by the service account": {"", "", file, "of-the-account"},
		"nowhere":                {"", "", missing, "default"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flags := kubernetesFlags{namespace: tc.flag}
			getenv := func(string) string { return tc.env }
			assert.Equal(t, tc.want, flags.resolveNamespace(getenv, tc.file))
		})
	}
}

func TestMetricsAreGuardedWhereTheyAreServedOverHTTPS(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		flags           metricsFlags
		needsKubernetes bool
		guarded         bool
	}{
		"none":  {metricsFlags{bindAddress: "0", secure: true}, false, true},
		"HTTPS": {metricsFlags{bindAddress: ":8443", secure: true}, true, true},
		"HTTP":  {metricsFlags{bindAddress: ":8080"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tc.needsKubernetes, tc.flags.needsKubernetes())
			options := tc.flags.serverOptions()
			assert.Equal(t, tc.guarded, options.SecureServing)
			assert.Equal(t, tc.guarded, options.FilterProvider != nil)
			assert.Empty(t, options.ExtraHandlers, "no profiles")
			require.NoError(t, tc.flags.mistakes())

			tc.flags.profiles = true
			if tc.needsKubernetes {
				assert.NoError(t, tc.flags.mistakes())
			} else {
				assert.ErrorContains(t, tc.flags.mistakes(), "--metrics-pprof: expected metrics over HTTPS")
			}
		})
	}
}
