#!/usr/bin/env bash
# Puts kube-apiserver, etcd and kubectl into bin/k8s, once, and says which way it took: where KUBEBUILDER_ASSETS is set its programs are
# used and nothing is done; else setup-envtest downloads a release; where its downloads cannot be reached, they are built from their Go modules.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(cd "$here/../.." && pwd)/bin
kubernetes=$(cd "$here/kubernetes" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
etcd=$(cd "$here/etcd" && go list -m -f '{{.Version}}' go.etcd.io/etcd/server/v3)
wanted="kubernetes $kubernetes, etcd $etcd"

say() { echo "control plane: $*"; }

if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
  for program in kube-apiserver etcd kubectl; do
    [[ -x $KUBEBUILDER_ASSETS/$program ]] || { say "KUBEBUILDER_ASSETS is set, but has no $program" >&2; exit 1; }
  done
  say "using the one in KUBEBUILDER_ASSETS"
  exit
fi

if [[ $(cat "$bin/k8s/VERSION" 2>/dev/null) == "$wanted" ]]; then
  exit
fi

mkdir -p "$bin"
new=$(mktemp -d "$bin/k8s.XXXXXX")
trap 'rm -rf "$new"' EXIT

download() {
  local minor=${kubernetes#v} store
  minor=${minor%.*}
  say "asking setup-envtest for a release of Kubernetes $minor"
  (cd "$here/../tools/setup-envtest" && "$here/../go-build.sh" setup-envtest "$new/setup-envtest" tool) || return
  store=$("$new/setup-envtest" use "$minor.x!" --bin-dir "$new/store" --print path) || return
  mv "$store"/{kube-apiserver,etcd,kubectl} "$new"
}

# compile MODULE PACKAGE...
compile() {
  local module=$1
  shift
  local flags
  mapfile -t flags < <("$here/ldflags.sh" "$kubernetes")
  (cd "$here/$module" && "$here/../go-build.sh" "control plane: $module" "$new/" "${flags[@]}" "$@")
}

build() {
  say "building $wanted from source, once: about 10 minutes on two cores"
  compile kubernetes k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl
  compile etcd go.etcd.io/etcd/server/v3
  mv "$new/server" "$new/etcd"
}

SECONDS=0
if ! download; then
  say "no release could be downloaded"
  build
fi
rm -rf "$new/store" "$new/setup-envtest"
echo "$wanted" >"$new/VERSION"
rm -rf "$bin/k8s"
chmod 755 "$new"
mv "$new" "$bin/k8s"
say "$("$bin/k8s/kube-apiserver" --version) is in bin/k8s after $SECONDS seconds"
