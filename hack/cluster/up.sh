#!/usr/bin/env bash
# Brings up the node of hack/node, and installs in it a Postgres, the simulators, and this tree's verity-sync: the image from the Dockerfile, the
# chart with Helm. Run again, it upgrades the installation to what the tree has now.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

node=hack/node
# Passwords and tokens, and the key with which the simulated GoHighLevel signs. They are as old as the node.
secrets=bin/node-state/secrets
key=bin/node-state/ghl.pem
run() { "$node/exec.sh" "$@"; }
kubectl() { run kubectl "$@"; }
say() { echo "cluster: $*"; }

# apply_secret NAMESPACE NAME KEY=VALUE...
apply_secret() {
  local namespace=$1 name=$2
  shift 2
  kubectl --namespace "$namespace" create secret generic "$name" "${@/#/--from-literal=}" --dry-run=client --output=yaml | kubectl apply --filename=- >/dev/null
}

$node/check.sh
hack/prerequisites.sh postgres
make --no-print-directory bin/helm cluster-node

say "building images"
$node/images.sh base
$node/images.sh program node.local/pause:1 bin/node/pause
$node/images.sh postgres node.local/postgres
hack/go-build.sh simulators bin/sim -ldflags '-s -w' ./test/sim
$node/images.sh program node.local/simulators bin/sim
log=bin/images/docker-build.log
make --no-print-directory docker-build IMG=node.local/verity-sync CONTAINER_TOOL=$node/images.sh >$log 2>&1 || { tail -n 50 $log >&2; exit 1; }

say "loading images into the node"
$node/images.sh load node.local/pause:1 >/dev/null
postgres=$($node/images.sh load node.local/postgres)
simulators=$($node/images.sh load node.local/simulators)
image=$($node/images.sh load node.local/verity-sync)

say "installing Postgres and the simulators"
if [[ ! -f $secrets ]]; then
  openssl genpkey -algorithm ed25519 -out $key
  for name in password location verity ghl aloware workflow; do echo "$name=$(openssl rand -hex 10)"; done >$secrets
fi
source $secrets
url=postgres://verity-sync:$password@198.19.0.10:5432
kubectl create namespace backends --dry-run=client --output=yaml | kubectl apply --filename=- >/dev/null
apply_secret backends postgres password="$password"
apply_secret backends simulators VERITY_DATABASE_URL="$url/verity" VERITY_WEBHOOK_SECRET="$verity" \
  SIM_GHL_LOCATION_ID="$location" GHL_API_TOKEN="$ghl" ALOWARE_API_TOKEN="$aloware"
run install --directory --owner=999 --group=999 /var/lib/kubelet/postgres
sed "s|POSTGRES-IMAGE|$postgres|; s|SIMULATORS-IMAGE|$simulators|" hack/cluster/backends.yaml | kubectl apply --filename=- >/dev/null
kubectl --namespace backends rollout status deployment/postgres deployment/simulators --timeout=5m

say "installing verity-sync"
kubectl create namespace verity-sync --dry-run=client --output=yaml | kubectl apply --filename=- >/dev/null
kubectl label namespace verity-sync pod-security.kubernetes.io/enforce=restricted --overwrite >/dev/null
apply_secret verity-sync verity-sync DATABASE_URL="$url/middleware" GHL_WEBHOOK_SECRETS="$workflow" VERITY_DATABASE_URL="$url/verity" \
  VERITY_WEBHOOK_SECRET="$verity" GHL_API_TOKEN="$ghl" ALOWARE_API_TOKEN="$aloware"
run helm upgrade verity-sync config/chart --install --namespace verity-sync --values hack/cluster/values.yaml \
  --set image.repository="${image%:*}" --set image.tag="${image##*:}" \
  --set-literal config.GHL_WEBHOOK_PUBLIC_KEYS="$(openssl pkey -in $key -pubout -outform DER | base64 --wrap=0)" \
  --wait --timeout=5m >/dev/null
kubectl --namespace verity-sync get pods

address=$(kubectl --namespace verity-sync get service verity-sync-receiver --output=jsonpath='{.spec.clusterIP}')
cat <<TEXT

verity-sync runs in a cluster of its own. Its network is not this machine's: hack/node/exec.sh runs a command in it.

  URL         http://$address/api/webhooks/ghl, without TLS: there is no Ingress yet
  kubeconfig  bin/node-state/pki/admin.kubeconfig

Send a webhook, and see its event:

  secret=\$(hack/node/exec.sh kubectl --namespace verity-sync get secret verity-sync --output=jsonpath='{.data.GHL_WEBHOOK_SECRETS}' | base64 --decode)
  hack/node/exec.sh curl --header "X-Webhook-Secret: \$secret" --json '{"type":"ContactCreate","id":"test"}' http://$address/api/webhooks/ghl
  hack/node/exec.sh kubectl --namespace verity-sync get webhookevents

\`make cluster\` upgrades it to the tree as it is then. \`make cluster-down\` removes all of it.
TEXT
