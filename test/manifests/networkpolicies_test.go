package manifests_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
)

// allows are what a policy allows, each as "port peers"; "anyone" where it names no peers.
type allows struct{ in, out []string }

func TestNetworkPoliciesAllowWhatEachProcessNeedsAndNothingElse(t *testing.T) {
	t.Parallel()
	const (
		inside   = `[{"namespaceSelector":{}}]`
		ingress  = `[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"ingress"}}}]`
		dns      = `[{"podSelector":{"matchLabels":{"k8s-app":"kube-dns"}},"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"kube-system"}}}]`
		database = `[{"ipBlock":{"cidr":"10.1.0.0/16"}}]`
		server   = `[{"ipBlock":{"cidr":"10.2.0.1/32"}}]`
		internet = `[{"ipBlock":{"cidr":"0.0.0.0/0"}}]`
	)
	anywhere := []string{"53/UDP anyone", "53/TCP anyone", "5432/TCP anyone"}
	named := []string{"53/UDP " + dns, "53/TCP " + dns, "5432/TCP " + database, "6432/TCP " + database, "3128/TCP anyone"}
	namedServer := []string{"443/TCP " + server, "6443/TCP " + server}
	tests := map[string]map[string]allows{
		"chart with all components": {
			"verity-sync-receiver": {[]string{"http/TCP anyone", "metrics/TCP " + inside}, slices.Concat(anywhere, []string{"443/TCP anyone", "6443/TCP anyone"})},
			"verity-sync-controller": {
				[]string{"metrics/TCP " + inside}, slices.Concat(anywhere, []string{"443/TCP anyone", "6443/TCP anyone", "443/TCP anyone"}),
			},
			"verity-sync-migrate": {nil, anywhere},
		},
		"chart with all options": {
			"hooks-receiver":   {[]string{"http/TCP " + ingress, "metrics/TCP " + inside}, slices.Concat(named, namedServer)},
			"hooks-controller": {[]string{"metrics/TCP " + inside}, slices.Concat(named, namedServer, []string{"443/TCP " + internet})},
			"hooks-migrate":    {nil, named},
		},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := 0
			for _, object := range rendered[name](t) {
				if object.GetKind() != "NetworkPolicy" {
					continue
				}
				found++
				content, err := object.MarshalJSON()
				require.NoError(t, err)
				var policy networkingv1.NetworkPolicy
				require.NoError(t, json.Unmarshal(content, &policy))
				var got allows
				for _, rule := range policy.Spec.Ingress {
					got.in = append(got.in, openings(t, rule.Ports, rule.From)...)
				}
				for _, rule := range policy.Spec.Egress {
					got.out = append(got.out, openings(t, rule.Ports, rule.To)...)
				}
				assert.ElementsMatch(t, want[policy.Name].in, got.in, "into %s", policy.Name)
				assert.ElementsMatch(t, want[policy.Name].out, got.out, "out of %s", policy.Name)
				assert.ElementsMatch(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}, policy.Spec.PolicyTypes)
			}
			assert.Len(t, want, found)
		})
	}
}

func openings(t *testing.T, ports []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer) []string {
	t.Helper()
	require.NotEmpty(t, ports, "no ports are all")
	who := "anyone"
	if len(peers) > 0 {
		content, err := json.Marshal(peers)
		require.NoError(t, err)
		who = string(content)
	}
	var opened []string
	for _, port := range ports {
		opened = append(opened, fmt.Sprintf("%s/%s %s", port.Port, *port.Protocol, who))
	}
	return opened
}
