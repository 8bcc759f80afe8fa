// Package metrics reads the metrics of real processes as Prometheus does, over HTTPS and with a token, while one thing after the other
// happens to them. It tests who may read, with which certificate, and that each metric changes when it should.
package metrics

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// environment is a system whose processes serve metrics as they do in a cluster, and accounts that may read them.
type environment struct {
	*system.System
	authority *authority
	// certificates are the directories that the processes read theirs from, by the process's name.
	certificates map[string]string
	// token is that of an account that may read metrics, stranger of one that may not, and profiler of one that may read profiles and nothing
	// else.
	token, stranger, profiler string
	// also are further endpoints that are scraped, without a token.
	also []string
}

func start(t *testing.T) *environment {
	t.Helper()
	s := systemtest.StartOnOwnPostgres(t, system.Options{
		Receivers: 1, Controllers: 1,
		// Few live events, so that a test can have more than there is room for.
		Env: systemtest.ShortRetries(map[string]string{"GOMEMLIMIT": "256MiB", "MAX_LIVE_EVENTS": "3"}),
	})
	e := &environment{System: s, authority: newAuthority(t), certificates: map[string]string{}}
	e.token, e.stranger = e.reader(t), e.account(t, "stranger")
	e.profiler = e.allow(t, "profiler", &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "profiler-"},
		Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/debug/pprof/*"}, Verbs: []string{"get"}}},
	}, "/debug/pprof/heap")
	for _, p := range e.processes() {
		e.secure(t, p)
	}
	return e
}

func (e *environment) processes() []*system.Process {
	return append(e.Receivers[:1:1], e.Controllers...)
}

// secure starts a process again with the flags of the manifests for metrics with a certificate.
func (e *environment) secure(t *testing.T, p *system.Process) {
	t.Helper()
	directory := t.TempDir()
	e.certificates[p.Name] = directory
	e.authority.issue(t, directory)
	p.Flags = append(p.Flags, "--metrics-secure=true", "--metrics-cert-path="+directory)
	p.MetricsURL = strings.Replace(p.MetricsURL, "http://", "https://", 1)
	if p == e.Controllers[0] {
		p.Flags = append(p.Flags, "--leader-elect", "--metrics-pprof")
	}
	p.Env = maps.Clone(p.Env)
	p.Env["GHL_APP_IDS"], p.Env["GHL_LOCATION_IDS"] = e.Sender.AppID, e.Sender.LocationID
	require.NoError(t, p.Stop())
	require.NoError(t, p.Start(t.Context()))
	// It is ready a moment before it serves its metrics.
	systemtest.Eventually(t, func(c *assert.CollectT) {
		_, _, _, err := e.get(t.Context(), p.MetricsURL, "")
		require.NoError(c, err)
	})
}

// unprivileged returns a kubeconfig of an account that may ask who reads its metrics, and nothing else.
func (e *environment) unprivileged(t *testing.T) string {
	t.Helper()
	const account = "unprivileged"
	token := e.account(t, account)
	require.NoError(t, e.Kubernetes.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: account + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:auth-delegator"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: e.Namespace}},
	}))
	config, err := clientcmd.LoadFromFile(e.Kubeconfig)
	require.NoError(t, err)
	config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo].Token = token
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, path))
	return path
}

// restartAs starts the controller again with another kubeconfig.
func (e *environment) restartAs(t *testing.T, kubeconfig string) {
	t.Helper()
	p := e.Controllers[0]
	require.NoError(t, p.Stop())
	p.Env["KUBECONFIG"] = kubeconfig
	require.NoError(t, p.Start(t.Context()))
}

// reader returns the token of an account that is bound to the ClusterRole for scrapers.
func (e *environment) reader(t *testing.T) string {
	t.Helper()
	path, err := repo.Path("config", "metrics", "reader_role.yaml")
	require.NoError(t, err)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	role := &rbacv1.ClusterRole{}
	require.NoError(t, yaml.UnmarshalStrict(content, role))
	// Other tests on the same API server create one, too.
	role.Name, role.GenerateName = "", role.Name+"-"
	return e.allow(t, "prometheus", role, "/metrics")
}

// allow creates a role and an account that has it, and returns the account's token as soon as the API server allows it to read a path.
func (e *environment) allow(t *testing.T, account string, role *rbacv1.ClusterRole, path string) string {
	t.Helper()
	require.NoError(t, e.Kubernetes.Create(t.Context(), role))
	token := e.account(t, account)
	require.NoError(t, e.Kubernetes.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: e.Namespace}},
	}))
	// A process caches for half a minute that the API server denied an account.
	systemtest.Eventually(t, func(c *assert.CollectT) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:                  "system:serviceaccount:" + e.Namespace + ":" + account,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"},
		}}
		require.NoError(c, e.Kubernetes.Create(t.Context(), review))
		require.True(c, review.Status.Allowed)
	})
	return token
}

// account creates a ServiceAccount and returns its token.
func (e *environment) account(t *testing.T, name string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: e.Namespace}}
	require.NoError(t, e.Kubernetes.Create(t.Context(), account))
	request := &authenticationv1.TokenRequest{}
	require.NoError(t, e.Kubernetes.SubResource("token").Create(t.Context(), account, request))
	return request.Status.Token
}

// get reads an endpoint over a new connection, and returns the answer and the serial number of the certificate.
func (e *environment) get(ctx context.Context, url, token string) (code int, body, serial string, err error) {
	roots := x509.NewCertPool()
	roots.AddCert(e.authority.certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, "", "", err
	}
	defer response.Body.Close()
	if response.TLS != nil {
		serial = response.TLS.PeerCertificates[0].SerialNumber.String()
	}
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), serial, err
}

// A scrape is what all processes that run show: values by series, the highest where several show one, and the kinds of metrics by name.
type scrape struct {
	series map[string]float64
	kinds  map[string]string
}

func (e *environment) scrape(ctx context.Context) (scrape, error) {
	all := scrape{map[string]float64{}, map[string]string{}}
	urls := e.also
	for _, p := range e.processes() {
		if p.Running() {
			urls = append(urls[:len(urls):len(urls)], p.MetricsURL)
		}
	}
	for _, url := range urls {
		code, body, _, err := e.get(ctx, url, e.token)
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("answered %d", code)
		}
		if err == nil {
			err = all.read(body)
		}
		if err != nil {
			return scrape{}, fmt.Errorf("scrape %s: %w", url, err)
		}
	}
	return all, nil
}

// read reads Prometheus' text format, in which a series is everything before the last space of its line.
func (s scrape) read(text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if named, found := strings.CutPrefix(line, "# TYPE "); found {
			name, kind, _ := strings.Cut(named, " ")
			s.kinds[name] = kind
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		end := strings.LastIndexByte(line, ' ')
		if end < 0 {
			return errors.New("a line without a value: " + line)
		}
		value, err := strconv.ParseFloat(line[end+1:], 64)
		if err != nil {
			return fmt.Errorf("the value of %s: %w", line[:end], err)
		}
		s.series[line[:end]] = max(value, s.series[line[:end]])
	}
	return nil
}

// value returns the value of a series, or of one of a metric.
func (s scrape) value(series string) (float64, bool) {
	if strings.HasSuffix(series, "{") {
		for other, value := range s.series {
			if strings.HasPrefix(other, series) {
				return value, true
			}
		}
	}
	value, found := s.series[series]
	return value, found
}
