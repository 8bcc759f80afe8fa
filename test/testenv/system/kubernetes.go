package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// startKubernetes makes the namespace that all happens in, and a kubeconfig in which it is the default.
func (s *System) startKubernetes(ctx context.Context) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "verity-sync-"}}
	given := s.options.Kubeconfig
	if given == "" {
		s.say("starting a control plane (kube-apiserver, etcd) and installing the custom resource definition")
		crds, err := repo.Path("config", "crd", "bases")
		if err != nil {
			return err
		}
		s.ControlPlane, err = controlplane.Start(ctx, controlplane.Options{CRDs: []string{crds}, NoSync: !s.options.Durable})
		if err != nil {
			return err
		}
		given, namespace.Name = s.ControlPlane.Kubeconfig(), "verity-sync"
	}
	if err := s.connect(given); err != nil {
		return err
	}
	if s.options.Namespace != "" {
		namespace.Name = s.options.Namespace
	} else if err := s.Kubernetes.Create(ctx, namespace); err != nil {
		return fmt.Errorf("make a namespace: %w", err)
	}
	s.Namespace = namespace.Name
	return s.writeKubeconfig(given)
}

func (s *System) connect(kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("set up the scheme: %w", err)
	}
	if s.Kubernetes, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("connect to Kubernetes: %w", err)
	}
	return nil
}

func (s *System) writeKubeconfig(given string) error {
	config, err := clientcmd.LoadFromFile(given)
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	current, found := config.Contexts[config.CurrentContext]
	if !found {
		return errors.New("the kubeconfig has no current context")
	}
	current.Namespace = s.Namespace
	s.Kubeconfig = filepath.Join(s.Dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, s.Kubeconfig); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	return nil
}

// Kubectl runs kubectl in the system's namespace and returns what it printed, errors included.
func (s *System) Kubectl(ctx context.Context, arguments ...string) (string, error) {
	kubectl, err := KubectlPath()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, kubectl, append([]string{"--cache-dir=" + filepath.Join(s.Dir, "kubectl")}, arguments...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Kubeconfig)
	output, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(arguments, " "), err, proc.Tail(output))
	}
	return string(output), err
}

// KubectlPath returns the kubectl that lies beside kube-apiserver, else the one in PATH.
func KubectlPath() (string, error) {
	binaries, err := controlplane.Binaries()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(binaries, "kubectl")
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	return exec.LookPath("kubectl")
}
