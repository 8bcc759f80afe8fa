// Package controlplane runs a real Kubernetes control plane, kube-apiserver and etcd, as processes that can be killed and started again
// one by one, on the same data and under the same address. It never outlives the process that started it, and leaves nothing behind.
//
// envtest of controller-runtime starts the same programs, but cannot take one of them away under load and bring it back, which the tests
// of faults live on. Its installer of CRDs is used here.
package controlplane

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// Options shape a control plane.
type Options struct {
	// CRDs are files, or directories of files, whose custom resource definitions are installed. One that does not exist is an error.
	CRDs []string
	// NoSync makes writes faster and has them survive a crash of etcd, though not one of the machine.
	NoSync bool
}

// A ControlPlane is a kube-apiserver with its etcd. RBAC is on, ServiceAccount tokens are issued on request, and no controller runs:
// nothing collects garbage, finishes the deletion of a namespace, makes the default ServiceAccount of one, or fills aggregated roles.
type ControlPlane struct {
	// Etcd and APIServer can be stopped, killed and started again by themselves. While Etcd is down, the API server answers with errors.
	Etcd, APIServer *Component

	options  Options
	binaries string
	dir      string
	remove   func() error
	port     int
	token    string
}

// Start starts a control plane and waits until it is ready, for as long as ctx allows. It returns ErrNotBuilt where its programs
// are missing. Close must be called in the end.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	var err error
	c := &ControlPlane{options: options, token: rand.Text()}
	if c.binaries, err = Binaries(); err != nil {
		return nil, err
	}
	for _, path := range options.CRDs {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("find the custom resource definitions: %w", err)
		}
	}
	if c.port, err = proc.FreePort(ctx); err != nil {
		return nil, fmt.Errorf("find a port for kube-apiserver: %w", err)
	}
	if c.dir, c.remove, err = proc.TempDir("verity-sync-kubernetes-"); err != nil {
		return nil, err
	}
	c.Etcd = c.component("etcd", c.etcdArguments(), c.etcdHealthy)
	c.APIServer = c.component("kube-apiserver", c.apiServerArguments(), c.apiServerReady)
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Config returns the configuration of an administrator's client, without a limit on its rate.
func (c *ControlPlane) Config() *rest.Config {
	return &rest.Config{
		Host:            "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)),
		BearerToken:     c.token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.caPath()},
		QPS:             -1,
	}
}

// Kubeconfig is the path of an administrator's kubeconfig file, which goes with the control plane.
func (c *ControlPlane) Kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// Dir is the temporary directory of the control plane. The logs are in it.
func (c *ControlPlane) Dir() string { return c.dir }

// Close ends both processes and removes their data. It may be called again.
func (c *ControlPlane) Close() error {
	return errors.Join(c.APIServer.Kill(), c.Etcd.Kill(), c.remove())
}

func (c *ControlPlane) start(ctx context.Context) error {
	if err := errors.Join(c.writeToken(), c.writeServiceAccountKey()); err != nil {
		return err
	}
	if err := c.Etcd.Start(ctx); err != nil {
		return err
	}
	if err := c.APIServer.Start(ctx); err != nil {
		return err
	}
	if err := c.writeKubeconfig(); err != nil {
		return err
	}
	if len(c.options.CRDs) == 0 {
		return nil
	}
	crds := envtest.CRDInstallOptions{Paths: c.options.CRDs, ErrorIfPathMissing: true}
	if _, err := envtest.InstallCRDs(c.Config(), crds); err != nil {
		return fmt.Errorf("install the custom resource definitions: %w", err)
	}
	return nil
}

// etcd is reached through a socket in a directory that only this user can enter: it would let anyone in.
func (c *ControlPlane) etcdArguments() []string {
	arguments := []string{
		"--data-dir=" + filepath.Join(c.dir, "etcd"),
		"--listen-client-urls=" + c.etcdURL(),
		"--advertise-client-urls=" + c.etcdURL(),
		"--listen-peer-urls=unix://" + filepath.Join(c.dir, "peer.sock"),
	}
	if c.options.NoSync {
		arguments = append(arguments, "--unsafe-no-fsync")
	}
	return arguments
}

func (c *ControlPlane) apiServerArguments() []string {
	return []string{
		"--etcd-servers=" + c.etcdURL(),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(c.port),
		"--endpoint-reconciler-type=none",
		"--cert-dir=" + c.certDir(),
		"--token-auth-file=" + c.tokenPath(),
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.serviceAccountKeyPath(),
		"--service-account-signing-key-file=" + c.serviceAccountKeyPath(),
		// Pods would need a default ServiceAccount in their namespace, and no controller makes one.
		"--disable-admission-plugins=ServiceAccount",
	}
}

func (c *ControlPlane) component(name string, arguments []string, ready func(context.Context) error) *Component {
	return &Component{service: proc.Service{
		Name: name,
		Command: func() *exec.Cmd {
			cmd := exec.Command(filepath.Join(c.binaries, name), arguments...) //nolint:noctx // it runs until it is stopped
			cmd.Dir = c.dir
			return cmd
		},
		LogPath: filepath.Join(c.dir, name+".log"),
		Ready:   ready,
		OnDeath: syscall.SIGKILL,
	}}
}

// writeToken lets the token in as a member of the group that may do everything.
func (c *ControlPlane) writeToken() error {
	if err := os.WriteFile(c.tokenPath(), []byte(c.token+",admin,admin,system:masters\n"), 0o600); err != nil {
		return fmt.Errorf("write the token of the administrator: %w", err)
	}
	return nil
}

func (c *ControlPlane) writeServiceAccountKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("generate the key of service accounts: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the key of service accounts: %w", err)
	}
	encoded := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(c.serviceAccountKeyPath(), encoded, 0o600); err != nil {
		return fmt.Errorf("write the key of service accounts: %w", err)
	}
	return nil
}

func (c *ControlPlane) writeKubeconfig() error {
	ca, err := os.ReadFile(c.caPath())
	if err != nil {
		return fmt.Errorf("read the certificate of kube-apiserver: %w", err)
	}
	const name = "verity-sync"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: c.Config().Host, CertificateAuthorityData: ca}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: c.token}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	if err := clientcmd.WriteToFile(*config, c.Kubeconfig()); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	return nil
}

func (c *ControlPlane) etcdURL() string { return "unix://" + c.etcdSocket() }

func (c *ControlPlane) etcdSocket() string { return filepath.Join(c.dir, "etcd.sock") }

func (c *ControlPlane) certDir() string { return filepath.Join(c.dir, "certificates") }

// caPath is where kube-apiserver puts the certificate that it makes for itself at its first start, with the authority that signed it.
func (c *ControlPlane) caPath() string { return filepath.Join(c.certDir(), "apiserver.crt") }

func (c *ControlPlane) tokenPath() string { return filepath.Join(c.dir, "tokens.csv") }

func (c *ControlPlane) serviceAccountKeyPath() string {
	return filepath.Join(c.dir, "service-accounts.key")
}

// How long a process may take to stop before it is killed: kube-apiserver lets requests finish for a minute.
const stopGrace = 90 * time.Second
