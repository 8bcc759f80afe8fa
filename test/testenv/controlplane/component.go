package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"k8s.io/client-go/rest"

	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// ErrNotBuilt means that the programs of the control plane are not on this machine.
var ErrNotBuilt = errors.New("no kube-apiserver and etcd: run `make controlplane`, or set KUBEBUILDER_ASSETS to a directory that has them")

// Binaries returns the directory of kube-apiserver, etcd and kubectl: KUBEBUILDER_ASSETS if it is set, else bin/k8s of the repository.
// It returns ErrNotBuilt where one of the first two is not there.
func Binaries() (string, error) {
	dir := os.Getenv("KUBEBUILDER_ASSETS")
	if dir == "" {
		var err error
		if dir, err = repo.Path("bin", "k8s"); err != nil {
			return "", err
		}
	}
	for _, program := range []string{"kube-apiserver", "etcd"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return "", fmt.Errorf("%w: %w", ErrNotBuilt, err)
		}
	}
	return dir, nil
}

// A Component is one process of the control plane. Its methods are not safe for concurrent use.
type Component struct{ service proc.Service }

// Start starts the component again after Stop or Kill and waits until it is ready, for as long as ctx allows.
func (c *Component) Start(ctx context.Context) error { return c.service.Start(ctx) }

// Stop shuts the component down in order and waits until it is gone.
func (c *Component) Stop() error { return c.service.Stop(syscall.SIGTERM, stopGrace) }

// Kill ends the component with SIGKILL.
func (c *Component) Kill() error { return c.service.Kill() }

func (c *ControlPlane) etcdHealthy(ctx context.Context) error {
	var dialer net.Dialer
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", c.etcdSocket())
	}}
	defer transport.CloseIdleConnections()
	return get(ctx, &http.Client{Transport: transport}, "http://etcd/health")
}

// apiServerReady also waits for the roles that RBAC begins with.
func (c *ControlPlane) apiServerReady(ctx context.Context) error {
	client, err := rest.HTTPClientFor(c.Config())
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return get(ctx, client, c.Config().Host+"/readyz")
}

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return nil
}
