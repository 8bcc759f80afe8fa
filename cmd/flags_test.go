package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheNamespaceIsTheFirstThatIsSet(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "namespace")
	require.NoError(t, os.WriteFile(file, []byte("of-the-account\n"), 0o600))
	missing := filepath.Join(t.TempDir(), "namespace")
	for name, tc := range map[string]struct{ flag, env, file, want string }{
		"the flag sets it":            {"of-the-flag", "of-the-pod", file, "of-the-flag"},
		"POD_NAMESPACE sets it":       {"", "of-the-pod", file, "of-the-pod"},
		"the service account sets it": {"", "", file, "of-the-account"},
		"nothing sets it":             {"", "", missing, "default"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flags := kubernetesFlags{namespace: tc.flag}
			getenv := func(string) string { return tc.env }
			assert.Equal(t, tc.want, flags.resolveNamespace(getenv, tc.file))
		})
	}
}

func TestMetricsOverHTTPSRequireAuthorization(t *testing.T) {
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
			require.NoError(t, tc.flags.validate())

			tc.flags.profiles = true
			if tc.needsKubernetes {
				assert.NoError(t, tc.flags.validate())
			} else {
				assert.ErrorContains(t, tc.flags.validate(), "--metrics-pprof: expected metrics over HTTPS")
			}
		})
	}
}
