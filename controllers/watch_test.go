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

// notices waits until readiness and the metric say both that the watch works, or both that it does not.
func (s *suite) notices(works bool, after string) {
	s.t.Helper()
	var ready error
	var failing float64
	if !eventually(func() bool {
		ready, failing = s.health.Ready(nil), s.gauge("verity_sync_watch_failing")
		return works && ready == nil && failing == 0 || !works && ready != nil && failing == 1
	}) {
		s.t.Fatalf("%s: waited in vain until the watch is seen to work: %v; readiness: %v; metric: %v", after, works, ready, failing)
	}
}

func (s *suite) gauge(name string) float64 {
	s.t.Helper()
	families, err := s.registry.Gather()
	require.NoError(s.t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	s.t.Fatalf("there is no metric %s", name)
	return 0
}

func TestAControllerThatCannotWatchIsNotReadyUntilItCan(t *testing.T) {
	t.Parallel()
	server := testenv.KubernetesServer(t)
	for _, test := range []struct {
		name string
		// breaks takes the watch away, and returns what gives it back.
		breaks func(t *testing.T, s *suite) (repair func())
		// watchAs is whom the controller acts as.
		watchAs string
	}{
		{"the API server is stopped", func(t *testing.T, _ *suite) func() {
			t.Helper()
			require.NoError(t, server.APIServer.Kill())
			return func() { require.NoError(t, server.APIServer.Start(t.Context())) }
		}, ""},
		{"the custom resource definition is removed", func(t *testing.T, s *suite) func() {
			t.Helper()
			crds := crdClient(t, server.Config())
			require.NoError(t, crds.Delete(t.Context(), readCRD(t)))
			return func() { installCRD(t, crds, readCRD(t)); s.admits(t) }
		}, ""},
		{"the right to list and watch is withdrawn", func(t *testing.T, s *suite) func() {
			t.Helper()
			binding := s.binding()
			require.NoError(t, s.client.Delete(t.Context(), binding))
			// A watch that is open stays open, so cut it as an API server does that restarts.
			require.NoError(t, server.APIServer.Kill())
			require.NoError(t, server.APIServer.Start(t.Context()))
			return func() { require.NoError(t, s.client.Create(t.Context(), s.binding())) }
		}, "watcher"},
	} {
		// One after the other: they share an API server.
		t.Run(test.name, func(t *testing.T) {
			s := newSuite(t, func(s *settings) { s.cluster, s.paused = server.Config(), true })
			if test.watchAs != "" {
				s.settings.watchAs = server.Config()
				s.settings.watchAs.Impersonate = rest.ImpersonationConfig{UserName: test.watchAs}
				require.NoError(t, s.client.Create(t.Context(), s.role()))
				require.NoError(t, s.client.Create(t.Context(), s.binding()))
			}
			s.start()
			s.notices(true, "start")
			s.untilPhase(s.post("before"), v1alpha1.PhaseDone)

			repair := test.breaks(t, s)
			s.notices(false, test.name)
			repair()
			s.notices(true, "repair")
			s.untilPhase(s.post("after"), v1alpha1.PhaseDone)
		})
	}
}

func TestAControllerWhoseCacheHasNeverSyncedIsNotReady(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(s *settings) {
		s.paused, s.watchAs = true, testenv.Kubernetes(t)
		s.watchAs.Impersonate = rest.ImpersonationConfig{UserName: "watcher"}
	})
	s.start()
	require.ErrorContains(t, s.health.Ready(nil), "list and watch WebhookEvents")
	s.notices(false, "start without any right")
	if !eventually(func() bool { return apierrors.IsForbidden(s.health.Ready(nil)) }) {
		t.Fatalf("readiness does not say why: %v", s.health.Ready(nil))
	}
	id := s.post("waits")

	require.NoError(t, s.client.Create(t.Context(), s.role()))
	require.NoError(t, s.client.Create(t.Context(), s.binding()))
	s.notices(true, "the right is granted")
	s.untilPhase(id, v1alpha1.PhaseDone)
}

const tick = 5 * time.Millisecond

func TestAWatchInWhichNothingHappensIsHealthy(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.notices(true, "start")
	assert.Never(t, func() bool { return s.health.Ready(nil) != nil || s.gauge("verity_sync_watch_failing") != 0 }, 10*watchTolerance, tick)
}

// role is the controller's own, in the suite's namespace.
func (s *suite) role() *rbacv1.Role {
	s.t.Helper()
	path, err := repo.Path("config", "rbac", "controller_role.yaml")
	require.NoError(s.t, err)
	content, err := os.ReadFile(path)
	require.NoError(s.t, err)
	role := &rbacv1.Role{}
	require.NoError(s.t, yaml.Unmarshal(content, role))
	role.Namespace = s.namespace
	return role
}

func (s *suite) binding() *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "watcher", Namespace: s.namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: s.role().Name},
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

// installCRD creates a definition, once one of the same name is gone, or changes the one that is there.
func installCRD(t *testing.T, c client.Client, crd *apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	var err error
	if !eventually(func() bool {
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

// admits waits until the API server serves WebhookEvents.
func (s *suite) admits(t *testing.T) {
	t.Helper()
	require.True(t, eventually(func() bool {
		return s.client.List(context.WithoutCancel(t.Context()), &v1alpha1.WebhookEventList{}, client.InNamespace(s.namespace)) == nil
	}))
}
