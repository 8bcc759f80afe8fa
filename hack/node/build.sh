#!/usr/bin/env bash
# Puts the programs of a Kubernetes node into bin/node, once: kubelet, scheduler, controller manager and kube-proxy from their Go module; containerd,
# runc, network plugins, nftables, buildah and busybox from Debian's packages, which it unpacks and does not install.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

hack=$(dirname "$here")
target=$bin/node
kubernetes=$(cd "$hack/controlplane/kubernetes" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
packages=(containerd runc containernetworking-plugins buildah nftables busybox-static iproute2 openssl curl)
# What identifies the build: the versions of the modules, the sources, and this script.
wanted=$(cat "$hack/controlplane/kubernetes/go.mod" "$here/pause/main.go" "$here/build.sh" | sha256sum)

if [[ $(cat "$target/VERSION" 2>/dev/null) == "$wanted" ]]; then
  exit
fi

# compile NAME FOLDER OUTPUT PACKAGE..., with the flags in the array flags.
compile() {
  local name=$1 folder=$2 output=$3
  shift 3
  mkdir -p "$output"
  (cd "$folder" && "$hack/go-build.sh" "node: $name" "$output/" "${flags[@]}" "$@")
}

# unpack NAME...: Debian's packages, with those that they depend on and this machine does not have.
unpack() {
  local archive folder=$target/debian/archives
  mkdir -p "$folder/partial"
  apt-get -qq update
  apt-get -qq --download-only --no-install-recommends --option Dir::Cache::Archives="$folder" --option APT::Sandbox::User=root install "$@" >/dev/null
  for archive in "$folder"/*.deb; do
    dpkg-deb --fsys-tarfile "$archive" | tar -x --keep-directory-symlink -C "$target/debian"
  done
  rm -r "$folder"
}

SECONDS=0
say "building kubelet and the other programs of a node, once: minutes on two cores"
rm -rf "$target"
mkdir -p "$target/debian"/usr/{bin,sbin,lib}
# As on a machine of today: a program is where it is looked for, whether its package says /bin or /usr/bin.
ln -s usr/bin usr/sbin usr/lib "$target/debian"
unpack "${packages[@]}"

mapfile -t flags < <("$hack/controlplane/ldflags.sh" "$kubernetes")
compile kubernetes "$hack/controlplane/kubernetes" "$target" \
  k8s.io/kubernetes/cmd/{kubelet,kube-controller-manager,kube-scheduler,kube-proxy}
flags=(-ldflags "-s -w")
compile pause "$here/pause" "$target" .
echo "$wanted" >"$target/VERSION"
say "$("$target/kubelet" --version) is in bin/node after $SECONDS seconds"
