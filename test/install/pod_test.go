package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// serviceAccountDir is where a pod finds its token.
const serviceAccountDir = "var/run/secrets/kubernetes.io/serviceaccount"

// pod is what the node makes of the template of a Deployment or a Job. It has one container.
type pod struct {
	proc.Service

	container corev1.Container
	grace     time.Duration
	// ports are where the container's ports are on this machine, whose network all pods share.
	ports map[int32]int

	root          string
	args, environ []string
	process       *exec.Cmd
}

// newPod prepares what the kubelet does before it starts a container: variables are resolved, the token is mounted, and ports are
// found.
func (i *installation) newPod(t *testing.T, name string, image image, spec corev1.PodSpec) *pod {
	t.Helper()
	require.Len(t, spec.Containers, 1)
	require.Empty(t, spec.InitContainers)
	container := spec.Containers[0]
	require.Empty(t, container.Command, "the image says what runs")
	require.True(t, *spec.SecurityContext.RunAsNonRoot)
	require.True(t, *container.SecurityContext.ReadOnlyRootFilesystem)
	require.False(t, *container.SecurityContext.AllowPrivilegeEscalation)
	require.Equal(t, []corev1.Capability{"ALL"}, container.SecurityContext.Capabilities.Drop)

	p := &pod{
		container: container, root: image.unpack(t), ports: map[int32]int{}, args: slices.Clone(container.Args),
		grace: time.Duration(ptr.Deref(spec.TerminationGracePeriodSeconds, 30)) * time.Second,
	}
	for _, port := range container.Ports {
		p.mapPort(t, port.ContainerPort)
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(i.server.Config().Host, "https://"))
	require.NoError(t, err)
	p.environ = slices.Concat(image.environ(name), []string{"KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=" + port},
		i.resolve(t, container))
	i.mountConfigMaps(t, p.root, spec)
	if *spec.AutomountServiceAccountToken {
		i.mountToken(t, p.root, spec.ServiceAccountName)
	}
	p.Service = proc.Service{
		Name: name, Command: p.command, LogPath: filepath.Join(t.TempDir(), name+".log"),
		Ready:   p.ready,
		OnDeath: syscall.SIGKILL,
	}
	t.Cleanup(func() {
		require.NoError(t, p.Kill())
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.log(t))
		}
	})
	return p
}

// mapPort has the argument that names a port of the container name one of this machine. It is the only argument that is not as the manifests
// have it: two replicas cannot have the same one here.
func (p *pod) mapPort(t *testing.T, containerPort int32) {
	t.Helper()
	port := freePort(t)
	p.ports[containerPort] = port
	mapped := 0
	for n, argument := range p.args {
		if flag, found := strings.CutSuffix(argument, fmt.Sprintf("=:%d", containerPort)); found {
			p.args[n] = fmt.Sprintf("%s=127.0.0.1:%d", flag, port)
			mapped++
		}
	}
	require.Equal(t, 1, mapped, "one argument says that the process listens on the port %d: %v", containerPort, p.args)
}

// freePort returns a port that no other test gets while this process runs: the name of a socket reserves it, as it does for the systems of
// other tests.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		port, err := proc.FreePort(t.Context())
		require.NoError(t, err)
		socket, err := net.Listen("unix", fmt.Sprintf("@verity-sync/port/%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		require.NoError(t, err)
		t.Cleanup(func() { _ = socket.Close() })
		return port
	}
}

// resolve resolves the variables of a container from the objects that are in the cluster.
func (i *installation) resolve(t *testing.T, container corev1.Container) []string {
	t.Helper()
	var environ []string
	for _, from := range container.EnvFrom {
		configMap, err := i.client.CoreV1().ConfigMaps(i.namespace).Get(t.Context(), from.ConfigMapRef.Name, metav1.GetOptions{})
		require.NoError(t, err)
		for name, value := range configMap.Data {
			environ = append(environ, name+"="+value)
		}
	}
	for _, variable := range container.Env {
		value, given := variable.Value, true
		if from := variable.ValueFrom; from != nil && from.FieldRef != nil {
			require.Equal(t, "metadata.namespace", from.FieldRef.FieldPath)
			value = i.namespace
		} else if from != nil {
			secret, err := i.client.CoreV1().Secrets(i.namespace).Get(t.Context(), from.SecretKeyRef.Name, metav1.GetOptions{})
			require.NoError(t, err)
			var content []byte
			content, given = secret.Data[from.SecretKeyRef.Key]
			require.True(t, given || ptr.Deref(from.SecretKeyRef.Optional, false), "%s is not in the Secret", variable.Name)
			value = string(content)
		}
		if given {
			environ = append(environ, variable.Name+"="+value)
		}
	}
	return environ
}

// mountConfigMaps puts into a root file system what the volumes of a pod have, each of which is a ConfigMap.
func (i *installation) mountConfigMaps(t *testing.T, root string, spec corev1.PodSpec) {
	t.Helper()
	require.Len(t, spec.Containers[0].VolumeMounts, len(spec.Volumes))
	for _, volume := range spec.Volumes {
		require.NotNil(t, volume.ConfigMap, "these tests mount no other volumes")
		configMap, err := i.client.CoreV1().ConfigMaps(i.namespace).Get(t.Context(), volume.ConfigMap.Name, metav1.GetOptions{})
		require.NoError(t, err)
		for _, mount := range spec.Containers[0].VolumeMounts {
			if mount.Name != volume.Name {
				continue
			}
			dir := filepath.Join(root, mount.MountPath)
			require.NoError(t, os.MkdirAll(dir, 0o755))
			for name, content := range configMap.Data {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
			}
		}
	}
}

// mountToken puts into a root file system what a pod has of its ServiceAccount.
func (i *installation) mountToken(t *testing.T, root, account string) {
	t.Helper()
	dir := filepath.Join(root, serviceAccountDir)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	authority, err := os.ReadFile(i.server.Config().CAFile)
	require.NoError(t, err)
	for name, content := range map[string][]byte{
		"token": []byte(i.token(t, account)), "ca.crt": authority, "namespace": []byte(i.namespace),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
}

// token is one of a ServiceAccount, as the kubelet asks for it.
func (i *installation) token(t *testing.T, account string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(3607))}}
	request, err := i.client.CoreV1().ServiceAccounts(i.namespace).CreateToken(t.Context(), account, request, metav1.CreateOptions{})
	require.NoError(t, err)
	return request.Status.Token
}

func (p *pod) command() *exec.Cmd {
	cmd, err := containerCommand(p.root, p.args, p.environ)
	if err != nil {
		panic(err) // The next start would fail as well.
	}
	p.process = cmd
	return cmd
}

// ready probes readiness once the process has started, as the kubelet does. The processes of an earlier version have no startup probe.
func (p *pod) ready(ctx context.Context) error {
	if p.container.StartupProbe != nil {
		if err := p.probe(ctx, p.container.StartupProbe); err != nil {
			return err
		}
	}
	return p.probe(ctx, p.container.ReadinessProbe)
}

// probe asks as the kubelet does.
func (p *pod) probe(ctx context.Context, probe *corev1.Probe) error {
	get := probe.HTTPGet
	ctx, cancel := context.WithTimeout(ctx, time.Duration(probe.TimeoutSeconds)*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url("http", get.Port.StrVal)+get.Path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("GET %s: %s", request.URL, response.Status)
	}
	return nil
}

// url is where a port of the container is reached.
func (p *pod) url(scheme, port string) string {
	for _, of := range p.container.Ports {
		if of.Name == port {
			return scheme + "://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(p.ports[of.ContainerPort]))
		}
	}
	return "http://the-container-has-no-such-port.invalid"
}

// stop is what the kubelet does to a pod that is deleted.
func (p *pod) stop() error { return p.Stop(syscall.SIGTERM, p.grace) }

func (p *pod) log(t testing.TB) string {
	t.Helper()
	content, err := os.ReadFile(p.LogPath)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	require.NoError(t, err)
	return string(content)
}

// run runs the container to its end, as a Job does, and returns what it printed.
func (p *pod) run(ctx context.Context) (string, error) {
	log, err := os.Create(p.LogPath)
	if err != nil {
		return "", err
	}
	defer log.Close() //nolint:errcheck // The process has a descriptor of its own, and what it wrote is read back.
	cmd := p.command()
	cmd.Stdout, cmd.Stderr = log, log
	process, err := proc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return "", err
	}
	select {
	case <-process.Done():
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), process.Kill())
	}
	content, err := os.ReadFile(p.LogPath)
	if err == nil && !cmd.ProcessState.Success() {
		err = fmt.Errorf("%s: %s: %s", p.Name, process.Outcome(), proc.Tail(content))
	}
	return string(content), err
}
