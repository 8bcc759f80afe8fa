package install

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

func TestWhatIsInstalledRunsUnderItsOwnAccounts(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		namespace string
		render    way
	}{
		"from the chart":         {newNamespace(), chart(nil)},
		"from the kustomization": {"verity-sync", kustomization},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newInstallation(t, sharedServer(t), test.namespace)
			objects := test.render(t, file(t), test.namespace, i.variables)
			i.apply(t, objects...)
			assert.Contains(t, i.migrate(t, here(t)), "is up to date\n")
			receivers, controllers := i.pods(t, "receiver", here(t)), i.pods(t, "controller", here(t))
			require.Len(t, receivers, 2)
			require.Len(t, controllers, 2)
			all := slices.Concat(receivers, controllers)
			start(t, all...)

			for _, p := range all {
				assert.NoError(t, p.probe(t.Context(), p.container.LivenessProbe), p.Name)
				assertRestricted(t, p)
			}
			i.eventsAreDone(t, receivers)
			i.failuresAreReported(t, receivers[0])
			reader := i.metricsReader(t, objects)
			for _, p := range all {
				i.metricsAreForThoseWhoMay(t, p, reader)
			}
			i.anotherControllerTakesOver(t, receivers[0], controllers)
			for _, p := range all {
				assert.NotContains(t, strings.ToLower(p.log(t)), "forbidden", p.Name)
				assert.NotContains(t, strings.ToLower(p.log(t)), "unauthorized", p.Name)
			}
		})
	}
}

// assertRestricted looks at the process, from outside of its container.
func assertRestricted(t *testing.T, p *pod) {
	t.Helper()
	content, err := os.ReadFile("/proc/" + strconv.Itoa(p.process.Process.Pid) + "/status")
	require.NoError(t, err)
	fields := map[string]string{}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	if os.Getuid() == 0 {
		assert.Equal(t, "65532\t65532\t65532\t65532", fields["Uid"])
		assert.Equal(t, "65532\t65532\t65532\t65532", fields["Gid"])
	}
	assert.Empty(t, fields["Groups"])
	assert.Equal(t, "0000000000000000", fields["CapEff"])
	assert.Equal(t, "1", fields["NoNewPrivs"])
	mounts, err := os.ReadFile("/proc/" + strconv.Itoa(p.process.Process.Pid) + "/mountinfo")
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^\d+ \d+ \S+ \S+ / ro,`, string(mounts), "nothing can be written to")
}

func (i *installation) eventsAreDone(t *testing.T, receivers []*pod) {
	t.Helper()
	for _, receiver := range receivers {
		w := i.note()
		require.True(t, w.Signed)
		id := i.post(t, receiver, w)
		event := i.await(t, id, v1alpha1.PhaseDone)
		assert.Equal(t, v1alpha1.ResultForwardedOnly, event.Status.Result)
		assert.Equal(t, 1, i.forwards(id))
	}
	for _, request := range i.verity.Requests.Requests(http.MethodPost, "") {
		assert.Equal(t, "verity-sync/"+release["VERSION"]+" (commit "+release["COMMIT"]+"; "+release["DATE"]+")", request.Header.Get("User-Agent"))
	}
}

// failuresAreReported looks for the Kubernetes Events, those of the leader election included.
func (i *installation) failuresAreReported(t *testing.T, receiver *pod) {
	t.Helper()
	require.NoError(t, i.verity.Faults.Add(fault.Status(http.StatusUnprocessableEntity)))
	event := i.await(t, i.post(t, receiver, i.note()), v1alpha1.PhaseError)
	lease := &coordinationv1.Lease{}
	require.NoError(t, i.api.Get(t.Context(), types.NamespacedName{Namespace: i.namespace, Name: "verity-sync-controller"}, lease))
	assert.NotEmpty(t, *lease.Spec.HolderIdentity)
	for kind, name := range map[string]string{"WebhookEvent": event.Name, "Lease": lease.Name} {
		var reported []corev1.Event
		systemtest.Eventually(t, func(c *assert.CollectT) {
			reported = i.events(c, t.Context(), kind, name)
			require.NotEmpty(c, reported, "there is an Event about the %s", kind)
		})
		for _, e := range reported {
			assert.Equal(t, "verity-sync", e.ReportingController, "events.k8s.io has it")
			assert.NotEmpty(t, e.Action)
			assert.NotZero(t, e.EventTime)
		}
	}
}

// metricsReader makes an account that is bound to the ClusterRole for those who scrape.
func (i *installation) metricsReader(t *testing.T, objects []*unstructured.Unstructured) string {
	t.Helper()
	role := ""
	for _, object := range objects {
		if object.GetKind() == "ClusterRole" && strings.HasSuffix(object.GetName(), "-metrics-reader") {
			role = object.GetName()
		}
	}
	require.NotEmpty(t, role)
	for _, account := range []string{"prometheus", "stranger"} {
		_, err := i.client.CoreV1().ServiceAccounts(i.namespace).Create(t.Context(),
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	_, err := i.client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: i.namespace + "-prometheus"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: i.namespace, Name: "prometheus"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return i.token(t, "prometheus")
}

func (i *installation) metricsAreForThoseWhoMay(t *testing.T, p *pod, reader string) {
	t.Helper()
	metricsAreServed(t, p)
	status, _ := scrape(t, t.Context(), p, "")
	assert.Equal(t, http.StatusUnauthorized, status, p.Name)
	status, _ = scrape(t, t.Context(), p, i.token(t, "stranger"))
	assert.Equal(t, http.StatusForbidden, status, p.Name)
	systemtest.Eventually(t, func(c *assert.CollectT) {
		status, metrics := scrape(c, t.Context(), p, reader)
		require.Equal(c, http.StatusOK, status, p.Name)
		for _, value := range release {
			assert.Regexp(c, `verity_sync_build_info\{.*"`+value+`".*\} 1`, metrics)
		}
	})
}

// metricsAreServed waits until a process that is ready also listens for who reads its metrics: it makes itself a certificate first.
func metricsAreServed(t *testing.T, p *pod) {
	t.Helper()
	systemtest.Eventually(t, func(c *assert.CollectT) { scrape(c, t.Context(), p, "") })
}

// scrape reads the metrics of a process as Prometheus does, with a token or without one.
func scrape(t require.TestingT, ctx context.Context, p *pod, token string) (status int, body string) { //nolint:revive // As testify has it.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url("https", "metrics")+"/metrics", http.NoBody)
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // Each process signs its own.
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(content)
}

// anotherControllerTakesOver is what happens in every rollout.
func (i *installation) anotherControllerTakesOver(t *testing.T, receiver *pod, controllers []*pod) {
	t.Helper()
	leads, waits := leader(t, controllers)
	require.NoError(t, leads.stop())
	i.await(t, i.post(t, receiver, i.note()), v1alpha1.PhaseDone)
	assert.Contains(t, waits.log(t), "Starting workers")
}
