package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/relay"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// apiTimeout bounds a request to the API server.
const apiTimeout = 10 * time.Second

// newRelay returns the relay of a receiver. The API server need not be reachable.
func newRelay(cfg config.Receiver, flags kubernetesFlags, db *store.Store, relayMetrics *metrics.Relay, log logr.Logger,
) (*relay.Relay, error) {
	cluster, err := clusterConfig()
	if err != nil {
		return nil, err
	}
	cluster.Timeout = apiTimeout
	creator, err := client.New(cluster, client.Options{Scheme: newScheme(), Mapper: staticMapper()})
	if err != nil {
		return nil, fmt.Errorf("set up the Kubernetes client: %w", err)
	}
	return relay.New(relay.Options{
		Rows:      db,
		Creator:   creator,
		Namespace: flags.resolveNamespace(os.Getenv, serviceAccountNamespace),
		Identity:  identity(),
		MaxLive:   cfg.MaxLiveEvents,
		Observe:   relayMetrics.Relayed,
		Log:       log.WithName("relay"),
	})
}

// clusterConfig returns the configuration of the cluster's clients. They do not limit their rate: API Priority and Fairness protects the
// API server.
func clusterConfig() (*rest.Config, error) {
	cluster, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	cluster.QPS = -1
	return cluster, nil
}

// identity names this process among its replicas: the host, which is the pod's name in a cluster, and the process id.
func identity() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// receiverJobs implements the jobs endpoint.
type receiverJobs struct {
	*store.Store
	relay *relay.Relay
}

// Wake makes this replica's relay look for rows without a WebhookEvent, and the controller for missing WebhookEvents.
func (j receiverJobs) Wake(ctx context.Context) error {
	j.relay.Wake()
	return j.RequestAudit(ctx)
}

// staticMapper knows the one kind that is created, so that no discovery is needed: the receiver starts and accepts webhooks without the API
// server and without the CRD.
func staticMapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1alpha1.GroupVersion})
	mapper.Add(v1alpha1.GroupVersion.WithKind("WebhookEvent"), meta.RESTScopeNamespace)
	return mapper
}
