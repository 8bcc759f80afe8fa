// The modules whose custom resource definitions the manifests are tested with. Nothing is imported from them.
module github.com/dfmiddleware/verity-sync/hack/manifests/crds

go 1.26.8

require (
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.1
)
