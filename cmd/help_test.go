package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/version"
)

// run runs the program in this process and returns what it printed.
func run(t *testing.T, environ []string, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	root := newRootCommand(environ)
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestHelpListsEveryVariableAndFlag(t *testing.T) {
	t.Parallel()
	for command, variables := range map[string][]config.Variable{
		"receiver":       config.Variables[config.Receiver](),
		"controller":     config.Variables[config.Controller](),
		"migrate":        config.Variables[config.Migrate](),
		"check":          config.Variables[config.Migrate](),
		"replay":         config.Variables[config.Tool](),
		"explain":        config.Variables[config.Tool](),
		"erase":          config.Variables[config.Tool](),
		"migrate status": config.Variables[config.Tool](),
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(command)
			help, err := run(t, nil, append(args, "--help")...)
			require.NoError(t, err)
			flags, environment, found := strings.Cut(help, "\nEnvironment:\n")
			require.True(t, found)
			assert.NotContains(t, environment, "Environment:", "once")

			assert.Equal(t, len(variables), strings.Count(environment, "\n        "), "one line for each variable")
			for _, v := range variables {
				assert.Contains(t, environment, "  "+v.Name)
				assert.Contains(t, environment, v.Description())
				assert.Contains(t, environment, v.Default)
				assert.Equal(t, v.File, strings.Contains(environment, v.Name+", "+v.FileName()+"\n"), v.Name)
			}

			cmd, _, err := newRootCommand(nil).Find(args)
			require.NoError(t, err)
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				assert.Contains(t, flags, "--"+f.Name)
				assert.Contains(t, flags, f.Usage)
			})
		})
	}
}

func TestFlagsAreNamedAsKubebuilderUsersExpect(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]map[string]string{
		"receiver": {
			"listen-address": ":8080", "health-probe-bind-address": ":8081",
			"metrics-bind-address": "0", "metrics-secure": "true", "metrics-pprof": "false", "namespace": "", "kubeconfig": "",
			"idle-timeout": "1m0s", "drain-delay": "5s", "shutdown-timeout": "20s", "max-in-flight": "1000",
			"zap-log-level": "", "zap-encoder": "", "zap-devel": "false",
		},
		"controller": {
			"metrics-bind-address": "0", "metrics-secure": "true", "metrics-cert-path": "", "metrics-cert-name": "tls.crt",
			"metrics-cert-key": "tls.key", "health-probe-bind-address": ":8081", "leader-elect": "false", "namespace": "",
			"kubeconfig": "", "max-concurrent-reconciles": "32", "shutdown-timeout": "20s", "zap-log-level": "",
		},
		"migrate": {"dry-run": "false", "forward-adopted": "false"},
	} {
		cmd, _, err := newRootCommand(nil).Find([]string{command})
		require.NoError(t, err)
		for name, value := range want {
			if flag := cmd.Flags().Lookup(name); assert.NotNil(t, flag, "%s --%s", command, name) {
				assert.Equal(t, value, flag.DefValue, "%s --%s", command, name)
			}
		}
	}
}

func TestVersionPrintsTheBuild(t *testing.T) {
	t.Parallel()
	out, err := run(t, nil, "--version")
	require.NoError(t, err)
	assert.Equal(t, "verity-sync "+version.String()+"\n", out)
}

func TestEveryErrorOfFlagsAndVariablesIsReportedBeforeTheStart(t *testing.T) {
	t.Parallel()
	environ := []string{"JOBS_SECRET=hunter2\nhunter3", "MAX_LIVE_EVENTS=0"}
	_, err := run(t, environ, "receiver", "--drain-delay=-1s", "--idle-timeout=0s", "--max-in-flight=0", "--listen-address=")
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 9)
	assert.Equal(t, "invalid configuration:", lines[0])
	for i, start := range []string{
		"--listen-address: ", "--max-in-flight: expected at least 1, got 0", "--idle-timeout: expected at least 1s, got 0s",
		"--drain-delay: expected at least 0s, got -1s",
		"DATABASE_URL: required", "JOBS_SECRET: ", "MAX_LIVE_EVENTS: ", "GHL_WEBHOOK_PUBLIC_KEYS, GHL_WEBHOOK_SECRETS, GHL_APP_IDS, GHL_LOCATION_IDS: ",
	} {
		assert.True(t, strings.HasPrefix(lines[i+1], start), lines[i+1])
	}
	assert.NotContains(t, err.Error(), "hunter")

	_, err = run(t, nil, "controller", "--max-concurrent-reconciles=0", "--shutdown-timeout=0s", "--health-probe-bind-address=")
	require.Error(t, err)
	assert.Len(t, strings.Split(err.Error(), "\n"), 5)
}

func TestUnknownCommandsAndFlagsAreRejected(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"a command that does not exist":   {"listen"},
		"an argument":                     {"receiver", "now"},
		"a flag that does not exist":      {"receiver", "--port=80"},
		"a value that is not a duration":  {"receiver", "--drain-delay=soon"},
		"a log level that does not exist": {"receiver", "--zap-log-level=loud"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, nil, args...)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "configuration")
		})
	}
}
