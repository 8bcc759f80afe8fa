package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// leasesOf returns who holds which lease of the namespace, by the installation that each belongs to.
func leasesOf(t *testing.T, s *system.System) map[string]coordinationv1.Lease {
	t.Helper()
	var list coordinationv1.LeaseList
	require.NoError(t, s.Kubernetes.List(t.Context(), &list, client.InNamespace(s.Namespace)))
	leases := map[string]coordinationv1.Lease{}
	for _, lease := range list.Items {
		leases[lease.Labels[v1alpha1.InstallationLabel]] = lease
	}
	return leases
}

func installation(ctx context.Context, t *testing.T, s *system.System) (id string) {
	t.Helper()
	require.NoError(t, s.Database.QueryRow(ctx, "SELECT id::text FROM verity_sync_installation").Scan(&id))
	return id
}

func TestTwoInstallationsInOneNamespaceDoNotTouchEachOthersEvents(t *testing.T) {
	t.Parallel()
	first := start(t, system.Options{Receivers: 1, Controllers: 2})
	one := installation(t.Context(), t, first)
	require.Eventually(t, func() bool {
		lease := leasesOf(t, first)[one]
		return lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != ""
	}, systemtest.Timeout, systemtest.Tick)
	second := start(t, system.Options{Receivers: 1, Controllers: 2, Namespace: first.Namespace})
	two := installation(t.Context(), t, second)
	require.NotEqual(t, one, two)

	var ids [2][]string
	for i, s := range []*system.System{first, second} {
		ids[i] = append(ids[i], refuse(t, s, opportunity(s)))
		for range 10 {
			ids[i] = append(ids[i], systemtest.Post(t, s, booking(s)))
		}
	}
	for i, s := range []*system.System{first, second} {
		for _, id := range ids[i][1:] {
			e := systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
			assert.Equal(t, []string{one, two}[i], e.Labels[v1alpha1.InstallationLabel])
			times, _ := systemtest.Forwards(s, id)
			assert.Equal(t, 1, times)
		}
		annotate(t, s, nameOf(ids[i][0]), "1")
	}

	leases := leasesOf(t, first)
	assert.Equal(t, "verity-sync-controller", leases[one].Name)
	assert.Equal(t, "verity-sync-controller-"+two[:8], leases[two].Name)
	assert.Len(t, leases, 2)

	// Each continues when the other one stops, and when its own leader is replaced.
	for _, c := range first.Controllers {
		require.NoError(t, c.Stop())
	}
	systemtest.WaitForPhase(t, second, systemtest.Post(t, second, note(second)), v1alpha1.PhaseDone)
	waiting := systemtest.Post(t, first, note(first))
	for _, c := range second.Controllers {
		require.NoError(t, c.Stop())
	}
	for _, s := range []*system.System{first, second} {
		for _, c := range s.Controllers {
			require.NoError(t, c.Start(t.Context()))
		}
	}
	systemtest.WaitForPhase(t, first, waiting, v1alpha1.PhaseDone)
	systemtest.WaitForPhase(t, second, systemtest.Post(t, second, note(second)), v1alpha1.PhaseDone)
	assert.Equal(t, leases[one].Name, leasesOf(t, first)[one].Name)
	assert.Equal(t, leases[two].Name, leasesOf(t, first)[two].Name)
}
