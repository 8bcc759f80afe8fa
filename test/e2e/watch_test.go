package e2e

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// probe returns what a process answers.
func probe(t require.TestingT, p *system.Process, path string) int {
	response, err := http.Get(p.URL + path)
	require.NoError(t, err)
	defer response.Body.Close()
	return response.StatusCode
}

// Readiness says that a controller cannot watch, and liveness does not: a restart would not help.
func TestAControllerThatMayNotWatchIsAliveAndNotReadyUntilItMay(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1})
	controller := s.Controllers[0]
	admin := controller.Env["KUBECONFIG"]
	config, err := clientcmd.LoadFromFile(admin)
	require.NoError(t, err)
	user := config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo]
	user.Impersonate = "nobody"
	require.NoError(t, controller.Stop())
	controller.Env["KUBECONFIG"] = filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, controller.Env["KUBECONFIG"]))
	require.NoError(t, controller.Start(t.Context()))
	pid := controller.PID()

	id := systemtest.Post(t, s, s.Sender.Opportunity(ghlsender.Create, ghlsender.Opportunity{ID: ghlsender.NewID()}))
	systemtest.Eventually(t, func(c *assert.CollectT) {
		log, err := controller.Log()
		require.NoError(c, err)
		require.Contains(c, log, "cannot list or watch WebhookEvents")
	})
	assert.Equal(t, http.StatusInternalServerError, probe(t, controller, "/readyz"))
	assert.Equal(t, http.StatusOK, probe(t, controller, "/healthz"))

	giveRights(t, s, "nobody")
	systemtest.Eventually(t, func(c *assert.CollectT) {
		require.Equal(c, http.StatusOK, probe(c, controller, "/readyz"))
	})
	systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
	assert.Equal(t, pid, controller.PID(), "it was not started again")
	assert.True(t, controller.Running())
}

// giveRights gives a user the controller's rights in the system's namespace.
func giveRights(t *testing.T, s *system.System, user string) {
	t.Helper()
	path, err := repo.Path("config", "rbac", "controller_role.yaml")
	require.NoError(t, err)
	_, err = s.Kubectl(t.Context(), "apply", "--filename="+path)
	require.NoError(t, err)
	_, err = s.Kubectl(t.Context(), "create", "rolebinding", user, "--role=verity-sync-controller", "--user="+user)
	require.NoError(t, err)
}
