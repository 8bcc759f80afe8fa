#!/usr/bin/env bash
# A cluster of kind with what up.sh installs in the node: a Postgres, the simulators, and this tree's verity-sync. Base images come from
# registries.
#   kind.sh check   fails with status 3 if Docker or kind is missing, and prints what
#   kind.sh up      creates the cluster, and installs verity-sync or upgrades it to what the tree has now
#   kind.sh down    deletes the cluster and its images, if they exist
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cluster=verity-sync
# The kubeconfig, passwords and tokens, and the key with which the simulated GoHighLevel signs. They are as old as the cluster.
state=bin/kind
export KUBECONFIG=$PWD/$state/kubeconfig PATH=$PWD/bin:$PATH:$PWD/bin/k8s
say() { echo "cluster: $*"; }

check() {
  local missing=()
  command -v kind >/dev/null || missing+=("kind (https://kind.sigs.k8s.io)")
  docker info >/dev/null 2>&1 || missing+=("a Docker daemon that answers (docker info)")
  if ((${#missing[@]} > 0)); then
    say "this machine cannot run a cluster of kind. Missing:" >&2
    printf 'cluster:   - %s\n' "${missing[@]}" >&2
    exit 3
  fi
}

exists() { kind get clusters 2>/dev/null | grep -qxF "$cluster"; }

# load NAME loads an image into the cluster, and prints its name there: with the image's id as its tag, so that an upgrade replaces the pods.
load() {
  local id name
  id=$(docker image inspect --format '{{.Id}}' "$1")
  name=$1:${id:7:12}
  docker tag "$1" "$name"
  kind load docker-image "$name" --name "$cluster" >&2
  echo "$name"
}

# apply_secret NAMESPACE NAME KEY=VALUE...
apply_secret() {
  local namespace=$1 name=$2
  shift 2
  kubectl --namespace "$namespace" create secret generic "$name" "${@/#/--from-literal=}" --dry-run=client --output=yaml | kubectl apply --filename=- >/dev/null
}

create() {
  mkdir -p $state/simulators
  exists || kind create cluster --name "$cluster" --config hack/cluster/kind.yaml --kubeconfig "$KUBECONFIG" --wait 5m
  if [[ ! -f $state/secrets ]]; then
    openssl genpkey -algorithm ed25519 -out $state/ghl.pem
    for name in password location verity ghl aloware workflow; do echo "$name=$(openssl rand -hex 10)"; done >$state/secrets
  fi
}

build_images() {
  make --no-print-directory docker-build IMG=verity-sync-kind CONTAINER_TOOL=docker
  # The image's own user is root.
  printf 'FROM postgres:17\nUSER 999:999\n' | docker build --tag verity-sync-kind-postgres -
  GOOS=linux hack/go-build.sh simulators $state/simulators/program -ldflags '-s -w' ./test/sim
  printf 'FROM scratch\nCOPY program /\nENTRYPOINT ["/program"]\n' | docker build --tag verity-sync-kind-simulators --file - $state/simulators
}

install_backends() {
  local postgres simulators
  postgres=$(load verity-sync-kind-postgres)
  simulators=$(load verity-sync-kind-simulators)
  kubectl create namespace backends --dry-run=client --output=yaml | kubectl apply --filename=- >/dev/null
  apply_secret backends postgres password="$password"
  apply_secret backends simulators VERITY_DATABASE_URL="$url/verity" VERITY_WEBHOOK_SECRET="$verity" \
    SIM_GHL_LOCATION_ID="$location" GHL_API_TOKEN="$ghl" ALOWARE_API_TOKEN="$aloware"
  docker exec "$cluster-control-plane" install --directory --owner=999 --group=999 /var/lib/kubelet/postgres
  # The Services' names are known here, and their fixed addresses are not of this cluster's network.
  sed "s|POSTGRES-IMAGE|$postgres|; s|SIMULATORS-IMAGE|$simulators|; /^ *clusterIP: /d" hack/cluster/backends.yaml | kubectl apply --filename=- >/dev/null
  kubectl --namespace backends rollout status deployment/postgres deployment/simulators --timeout=5m
}

install_verity_sync() {
  local image destination
  image=$(load verity-sync-kind)
  destination=http://simulators.backends.svc
  kubectl create namespace verity-sync --dry-run=client --output=yaml | kubectl apply --filename=- >/dev/null
  kubectl label namespace verity-sync pod-security.kubernetes.io/enforce=restricted --overwrite >/dev/null
  apply_secret verity-sync verity-sync DATABASE_URL="$url/middleware" GHL_WEBHOOK_SECRETS="$workflow" VERITY_DATABASE_URL="$url/verity" \
    VERITY_WEBHOOK_SECRET="$verity" GHL_API_TOKEN="$ghl" ALOWARE_API_TOKEN="$aloware"
  helm upgrade verity-sync config/chart --install --namespace verity-sync --values hack/cluster/values.yaml \
    --set image.repository="${image%:*}" --set image.tag="${image##*:}" \
    --set config.VERITY_BASE_URL=$destination:8080 --set config.GHL_API_BASE_URL=$destination:8081 --set config.ALOWARE_BASE_URL=$destination:8082 \
    --set-literal config.GHL_WEBHOOK_PUBLIC_KEYS="$(openssl pkey -in $state/ghl.pem -pubout -outform DER | base64 | tr -d '\n')" \
    --set receiver.service.type=NodePort --set receiver.service.nodePort=30080 \
    --wait --timeout=5m >/dev/null
  kubectl --namespace verity-sync get pods
}

up() {
  check
  make --no-print-directory bin/helm
  command -v kubectl >/dev/null || make --no-print-directory controlplane
  create
  source $state/secrets
  url=postgres://verity-sync:$password@postgres.backends.svc:5432
  say "building images"
  build_images
  say "installing Postgres and the simulators"
  install_backends
  say "installing verity-sync"
  install_verity_sync
  cat <<TEXT

verity-sync runs in the cluster $cluster of kind.

  URL         http://localhost:8080/api/webhooks/ghl, without TLS: there is no Ingress
  kubeconfig  $state/kubeconfig

Send a webhook, and see its event:

  export KUBECONFIG=$state/kubeconfig
  secret=\$(kubectl --namespace verity-sync get secret verity-sync --output=jsonpath='{.data.GHL_WEBHOOK_SECRETS}' | base64 --decode)
  curl --header "X-Webhook-Secret: \$secret" --json '{"type":"ContactCreate","id":"test"}' http://localhost:8080/api/webhooks/ghl
  kubectl --namespace verity-sync get webhookevents

\`make cluster\` upgrades it to the tree as it is then. \`make cluster-down\` removes all of it.
TEXT
}

down() {
  [[ -d $state ]] || return 0
  if exists; then kind delete cluster --name "$cluster"; fi
  docker image ls --format '{{.Repository}}:{{.Tag}}' --filter reference='verity-sync-kind*' | xargs -r docker image rm
  rm -rf $state
}

case ${1:-} in
check | up | down) "$1" ;;
*)
  sed -n '2,/^set/ s/^# *//p' "$0" >&2
  exit 2
  ;;
esac
