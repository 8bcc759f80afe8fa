package testenv

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// KubeconfigVariable is how a program that runs several test binaries tells them of the control plane that they are to share.
const KubeconfigVariable = "TESTENV_KUBECONFIG"

// Kubernetes returns an administrator's configuration for a real API server with the project's custom resource definitions: the one
// that TESTENV_KUBECONFIG names, else one that this test binary starts for all its tests. Its rate is not limited. Tests share it, so each
// works in a Namespace of its own.
func Kubernetes(t testing.TB) *rest.Config {
	t.Helper()
	config, err := sharedKubernetes()
	require.NoError(t, err)
	return rest.CopyConfig(config)
}

// KubernetesServer returns a control plane for one test, to kill and restart. It is removed at the end of the test.
func KubernetesServer(t testing.TB) *controlplane.ControlPlane {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	options, err := ControlPlaneOptions()
	require.NoError(t, err)
	server, err := controlplane.Start(ctx, options)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("close the control plane of the test: %v", err)
		}
	})
	return server
}

// Namespace returns the name of a new namespace. It is not deleted: no controller would finish that.
func Namespace(t testing.TB, config *rest.Config) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	namespace, err = client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{})
	require.NoError(t, err)
	return namespace.Name
}

// ControlPlaneOptions are those of tests: fast, and with the project's custom resource definitions.
func ControlPlaneOptions() (controlplane.Options, error) {
	crds, err := repo.Path("config", "crd", "bases")
	return controlplane.Options{CRDs: []string{crds}, NoSync: true}, err
}

var sharedKubernetes = sync.OnceValues(func() (*rest.Config, error) {
	if kubeconfig := os.Getenv(KubeconfigVariable); kubeconfig != "" {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("read the kubeconfig that %s names: %w", KubeconfigVariable, err)
		}
		config.QPS = -1
		return config, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	options, err := ControlPlaneOptions()
	if err != nil {
		return nil, err
	}
	server, err := controlplane.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	AtExit(server.Close)
	return server.Config(), nil
})
