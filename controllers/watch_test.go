package controllers_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// waitForHealth waits until readiness and the metric both report that the watch works, or both that it does not.
func (env *environment) waitForHealth(works bool, after string) {
	env.t.Helper()
	var ready error
	var failing float64
	if !waitFor(func() bool {
		ready, failing = env.health.Ready(nil), env.gauge("verity_sync_watch_failing")
		return works && ready == nil && failing == 0 || !works && ready != nil && failing == 1
	}) {
		env.t.Fatalf("%s: timed out waiting until the watch works: %v; readiness: %v; metric: %v", after, works, ready, failing)
	}
}

func (env *environment) gauge(name string) float64 {
	env.t.Helper()
	families, err := env.registry.Gather()
	require.NoError(env.t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	env.t.Fatalf("there is no metric %s", name)
	return 0
}

func TestControllerIsReadyOnlyWhileItCanWatch(t *testing.T) {
	t.Parallel()
	server := testenv.KubernetesServer(t)
	for _, test := range []struct {
		name string
		// breaks breaks the watch and returns its repair.
		breaks func(t *testing.T, env *environment) (repair func())
		// watchAs is the user of the controller.
		watchAs string
	}{
		{"the API server is stopped", func(t *testing.T, _ *environment) func() {
			t.Helper()
			require.NoError(t, server.APIServer.Kill())
			return func() { require.NoError(t, server.APIServer.Start(t.Context())) }
		}, ""},
		{"the custom resource definition is removed", func(t *testing.T, env *environment) func() {
			t.Helper()
			crds := crdClient(t, server.Config())
			require.NoError(t, crds.Delete(t.Context(), readCRD(t)))
			return func() { installCRD(t, crds, readCRD(t)); env.waitForAPI(t) }
		}, ""},
		{"the permission to list and watch is revoked", func(t *testing.T, env *environment) func() {
			t.Helper()
			binding := env.binding()
			require.NoError(t, env.client.Delete(t.Context(), binding))
			// An open watch stays open. A restart of the API server ends it.
			require.NoError(t, server.APIServer.Kill())
			require.NoError(t, server.APIServer.Start(t.Context()))
			return func() { require.NoError(t, env.client.Create(t.Context(), env.binding())) }
		}, "watcher"},
	} {
		// The cases share an API server, so they are not parallel.
		t.Run(test.name, func(t *testing.T) {
			env := newEnvironment(t, func(s *settings) { s.cluster, s.paused = server.Config(), true })
			if test.watchAs != "" {
				env.settings.watchAs = server.Config()
				env.settings.watchAs.Impersonate = rest.ImpersonationConfig{UserName: test.watchAs}
				require.NoError(t, env.client.Create(t.Context(), env.role()))
				require.NoError(t, env.client.Create(t.Context(), env.binding()))
			}
			env.start()
			env.waitForHealth(true, "start")
			env.waitForPhase(env.deliver("before"), v1alpha1.PhaseDone)

			repair := test.breaks(t, env)
			env.waitForHealth(false, test.name)
			repair()
			env.waitForHealth(true, "repair")
			env.waitForPhase(env.deliver("after"), v1alpha1.PhaseDone)
		})
	}
}

func TestControllerIsNotReadyBeforeItsCacheHasSynced(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(s *settings) {
		s.paused, s.watchAs = true, testenv.Kubernetes(t)
		s.watchAs.Impersonate = rest.ImpersonationConfig{UserName: "watcher"}
	})
	env.start()
	require.ErrorContains(t, env.health.Ready(nil), "list and watch WebhookEvents")
	env.waitForHealth(false, "start without permissions")
	if !waitFor(func() bool { return apierrors.IsForbidden(env.health.Ready(nil)) }) {
		t.Fatalf("readiness does not have the cause: %v", env.health.Ready(nil))
	}
	id := env.deliver("waits")

	require.NoError(t, env.client.Create(t.Context(), env.role()))
	require.NoError(t, env.client.Create(t.Context(), env.binding()))
	env.waitForHealth(true, "the permission is granted")
	env.waitForPhase(id, v1alpha1.PhaseDone)
}

const tick = 5 * time.Millisecond

func TestWatchWithoutEventsIsHealthy(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.waitForHealth(true, "start")
	assert.Never(t, func() bool { return env.health.Ready(nil) != nil || env.gauge("verity_sync_watch_failing") != 0 }, 10*watchTolerance, tick)
}

// role is the controller's role, in the namespace of the environment.
func (env *environment) role() *rbacv1.Role {
	env.t.Helper()
	path, err := repo.Path("config", "rbac", "controller_role.yaml")
	require.NoError(env.t, err)
	content, err := os.ReadFile(path)
	require.NoError(env.t, err)
	role := &rbacv1.Role{}
	require.NoError(env.t, yaml.Unmarshal(content, role))
	role.Namespace = env.namespace
	return role
}

func (env *environment) binding() *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "watcher", Namespace: env.namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: env.role().Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "watcher"}},
	}
}

// readCRD returns the custom resource definition of this version.
func readCRD(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	directory, err := repo.Path("config", "crd", "bases")
	require.NoError(t, err)
	content, err := os.ReadFile(filepath.Join(directory, "webhooks.dfmiddleware.io_webhookevents.yaml"))
	require.NoError(t, err)
	crd := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, yaml.UnmarshalStrict(content, crd))
	return crd
}

func crdClient(t *testing.T, cluster *rest.Config) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, apiextensionsv1.AddToScheme(scheme))
	c, err := client.New(cluster, client.Options{Scheme: scheme})
	require.NoError(t, err)
	return c
}

// installCRD creates or updates a definition. If one of the same name is being deleted, it waits.
func installCRD(t *testing.T, c client.Client, crd *apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	var err error
	if !waitFor(func() bool {
		there := &apiextensionsv1.CustomResourceDefinition{}
		err = c.Get(t.Context(), client.ObjectKeyFromObject(crd), there)
		switch {
		case apierrors.IsNotFound(err):
			err = c.Create(t.Context(), crd.DeepCopy())
		case err == nil && there.DeletionTimestamp == nil:
			there.Spec = crd.Spec
			err = c.Update(t.Context(), there)
		default:
			return false
		}
		return err == nil
	}) {
		t.Fatalf("the custom resource definition cannot be installed: %v", err)
	}
}

// waitForAPI waits until the API server serves WebhookEvents.
func (env *environment) waitForAPI(t *testing.T) {
	t.Helper()
	require.True(t, waitFor(func() bool {
		return env.client.List(context.WithoutCancel(t.Context()), &v1alpha1.WebhookEventList{}, client.InNamespace(env.namespace)) == nil
	}))
}
