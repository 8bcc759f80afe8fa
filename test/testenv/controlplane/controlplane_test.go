package controlplane_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
)

func TestMain(m *testing.M) {
	testenv.MainOrServer(m, func(ctx context.Context) (address, dir string, err error) {
		server, err := controlplane.Start(ctx, controlplane.Options{NoSync: true})
		if err != nil {
			return "", "", err
		}
		return strings.TrimPrefix(server.Config().Host, "https://"), server.Dir(), nil
	})
}

func start(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	server, err := controlplane.Start(ctx, controlplane.Options{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	return server
}

func clientset(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return client
}

// put writes a ConfigMap within the two seconds in which a healthy control plane answers.
func put(t *testing.T, client kubernetes.Interface, name string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := client.CoreV1().ConfigMaps("default").Create(ctx, configMap, metav1.CreateOptions{})
	return err
}

func TestAComponentRestartsWithItsData(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		component func(*controlplane.ControlPlane) *controlplane.Component
		goDown    func(*controlplane.Component) error
	}{
		"the API server after SIGKILL": {
			component: func(c *controlplane.ControlPlane) *controlplane.Component { return c.APIServer },
			goDown:    (*controlplane.Component).Kill,
		},
		"etcd after SIGKILL": {
			component: func(c *controlplane.ControlPlane) *controlplane.Component { return c.Etcd },
			goDown:    (*controlplane.Component).Kill,
		},
		"the API server after it was stopped": {
			component: func(c *controlplane.ControlPlane) *controlplane.Component { return c.APIServer },
			goDown:    (*controlplane.Component).Stop,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			client := clientset(t, server.Config())
			component := test.component(server)
			require.NoError(t, put(t, client, "before"))

			require.NoError(t, test.goDown(component))
			require.Error(t, put(t, client, "while-down"))
			require.NoError(t, component.Start(t.Context()))

			_, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "before", metav1.GetOptions{})
			require.NoError(t, err)
			assert.Eventually(t, func() bool { return put(t, client, "after") == nil }, time.Minute, 100*time.Millisecond)
		})
	}
}

func TestAServiceAccountMayDoWhatItsRoleAllows(t *testing.T) {
	t.Parallel()
	server := start(t)
	admin := clientset(t, server.Config())
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "reader"}}
	_, err := admin.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{})
	require.NoError(t, err)
	issued, err := admin.CoreV1().ServiceAccounts("default").
		CreateToken(t.Context(), "reader", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)
	config := rest.AnonymousClientConfig(server.Config())
	config.BearerToken = issued.Status.Token
	reader := clientset(t, config)

	_, err = reader.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	require.True(t, apierrors.IsForbidden(err), "before it has a role: %v", err)

	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}}},
	}
	_, err = admin.RbacV1().Roles("default").Create(t.Context(), role, metav1.CreateOptions{})
	require.NoError(t, err)
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: "reader"}},
	}
	_, err = admin.RbacV1().RoleBindings("default").Create(t.Context(), binding, metav1.CreateOptions{})
	require.NoError(t, err)

	// The authorizer learns of roles through a watch.
	assert.EventuallyWithT(t, func(t *assert.CollectT) {
		_, err := reader.CoreV1().ConfigMaps("default").List(context.Background(), metav1.ListOptions{})
		assert.NoError(t, err)
	}, time.Minute, 50*time.Millisecond)
	assert.True(t, apierrors.IsForbidden(put(t, reader, "not-allowed")))
}

func TestNothingOutlivesAProcessThatIsKilled(t *testing.T) {
	t.Parallel()
	address, dir, kill := testenv.StartServerProcess(t)
	var dialer net.Dialer
	apiServer, err := dialer.DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	defer apiServer.Close()
	etcd, err := dialer.DialContext(t.Context(), "unix", filepath.Join(dir, "etcd.sock"))
	require.NoError(t, err)
	defer etcd.Close()

	kill()

	for name, conn := range map[string]net.Conn{"kube-apiserver": apiServer, "etcd": etcd} {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		_, err := io.Copy(io.Discard, conn)
		assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "%s still holds its connection", name)
	}
	assert.Eventually(t, func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	}, time.Minute, 10*time.Millisecond, "the data is gone")
}

func TestFromStartToClose(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	server, err := controlplane.Start(ctx, controlplane.Options{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	address := strings.TrimPrefix(server.Config().Host, "https://")
	binaries, err := controlplane.Binaries()
	require.NoError(t, err)

	output, err := exec.CommandContext(ctx, filepath.Join(binaries, "kubectl"), "--kubeconfig="+server.Kubeconfig(),
		"get", "--raw=/version").CombinedOutput()
	require.NoError(t, err, string(output))
	assert.Contains(t, string(output), `"gitVersion": "v1.`, "the version must be stamped")

	require.NoError(t, server.Close())
	assert.NoDirExists(t, server.Dir())
	var dialer net.Dialer
	_, err = dialer.DialContext(t.Context(), "tcp", address)
	require.Error(t, err, "no server may listen any more")
}

func TestAMissingPartIsNamed(t *testing.T) {
	t.Run("the programs", func(t *testing.T) {
		t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())

		_, err := controlplane.Start(t.Context(), controlplane.Options{})

		require.ErrorIs(t, err, controlplane.ErrNotBuilt)
		assert.ErrorContains(t, err, "make controlplane")
	})
	t.Run("the custom resource definitions", func(t *testing.T) {
		missing := filepath.Join(t.TempDir(), "missing.yaml")

		_, err := controlplane.Start(t.Context(), controlplane.Options{CRDs: []string{missing}})

		require.ErrorIs(t, err, os.ErrNotExist)
	})
}
