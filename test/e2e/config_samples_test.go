package e2e

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// sample is the path of a file of config/samples.
func sample(t *testing.T, name string) string {
	t.Helper()
	directory, err := repo.Path("config", "samples")
	require.NoError(t, err)
	return filepath.Join(directory, name)
}

func TestTheSampleWebhookEventEndsInErrorAndStopsNoOther(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 2})
	before := systemtest.Post(t, s, s.Sender.Opportunity(ghlsender.Create, ghlsender.Opportunity{ID: ghlsender.NewID()}))
	systemtest.WaitForPhase(t, s, before, v1alpha1.PhaseDone)

	_, err := s.Kubectl(t.Context(), "apply", "--filename="+sample(t, "webhooks_v1alpha1_webhookevent.yaml"))
	require.NoError(t, err)
	event := systemtest.WaitForPhase(t, s, "0193a5e4-7c1e-7d52-9b0e-1f0a3c5d7e91", v1alpha1.PhaseError)
	assert.Equal(t, v1alpha1.RowNotFoundReason, event.Status.Conditions[0].Reason)
	assert.Equal(t, "2026-11-23T10:00:00Z", event.Spec.ReceivedAt.UTC().Format("2006-01-02T15:04:05.999999999Z07:00"))

	beside := systemtest.Post(t, s, s.Sender.Opportunity(ghlsender.Create, ghlsender.Opportunity{ID: ghlsender.NewID()}))
	systemtest.WaitForPhase(t, s, beside, v1alpha1.PhaseDone)
	for _, controller := range s.Controllers {
		assert.Equal(t, http.StatusOK, probe(t, controller, "/readyz"), "%s, which leads or could", controller.Name)
		require.NoError(t, controller.Restart(t.Context()))
	}
	after := systemtest.Post(t, s, s.Sender.Opportunity(ghlsender.Create, ghlsender.Opportunity{ID: ghlsender.NewID()}))
	systemtest.WaitForPhase(t, s, after, v1alpha1.PhaseDone)
}

func TestTheSamplesAreAccepted(t *testing.T) {
	t.Parallel()
	s := systemtest.Shared(t)
	// The namespace that they name may be there.
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "verity-sync"}}
	require.NoError(t, client.IgnoreAlreadyExists(s.Kubernetes.Create(t.Context(), namespace)))
	for _, arguments := range [][]string{
		{"--kustomize=" + sample(t, "")}, {"--namespace=verity-sync", "--filename=" + sample(t, "secret.yaml")},
	} {
		_, err := s.Kubectl(t.Context(), append([]string{"apply", "--validate=strict"}, arguments...)...)
		assert.NoError(t, err)
	}
}
