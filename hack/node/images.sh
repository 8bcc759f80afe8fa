#!/usr/bin/env bash
# Builds images by executing Dockerfiles with buildah, without a registry.
#   images.sh base                     builds stand-ins for the base images of the project's Dockerfile from files of this machine
#   images.sh build ARGUMENT...        is a CONTAINER_TOOL for `make docker-build`
#   images.sh program TAG PROGRAM      builds the image of one program that is linked statically
#   images.sh postgres TAG             builds an image with this machine's Postgres server and a shell
#   images.sh load TAG                 loads an image into the node, and prints its name there
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A mount namespace of its own has Debian's packages in place and ends with the script.
if [[ ${INSIDE:-} != 1 ]]; then
  INSIDE=1 exec unshare --mount --propagation private "$0" "$@"
fi
mount -t overlay overlay -o "lowerdir=$bin/node/debian/usr:/usr" /usr
mount -t tmpfs tmpfs /run
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >/run/policy.json
export TMPDIR=$bin/images/tmp
# The cache of the Dockerfile's `RUN --mount=type=cache` is the machine's: what was compiled on it is not compiled again.
mkdir -p "$TMPDIR/buildah-cache/go/cache"
mount --bind "$(go env GOCACHE)" "$TMPDIR/buildah-cache/go/cache"

# What is left of a build that failed.
trap 'rm -rf "$TMPDIR"/tmp.*' EXIT

buildah=(buildah --root "$bin/images/storage" --runroot /run/buildah --storage-driver overlay)

# The module cache is the machine's. Nothing is pulled: an image that is not there is an error.
build() {
  "${buildah[@]}" build --isolation chroot --pull-never --layers --signature-policy /run/policy.json \
    --volume "$(go env GOMODCACHE):/go/pkg/mod" "$@"
}

# from_scratch TAG ROOT builds the image of a root file system, with the instructions of standard input, and removes the root file system.
from_scratch() {
  local tag=$1 root=$2
  chmod 755 "$root"
  { printf 'FROM scratch\nCOPY . /\n'; cat; } >"$root.Dockerfile"
  build --quiet --tag "$tag" --file "$root.Dockerfile" "$root" >/dev/null
  rm -r "$root" "$root.Dockerfile"
}

# shell ROOT COMMAND... puts a shell and commands into a root file system.
shell() {
  local root=$1 command
  shift
  mkdir -p "$root/bin"
  cp "$bin/node/debian/usr/bin/busybox" "$root/bin"
  for command in sh "$@"; do ln -s busybox "$root/bin/$command"; done
}

authorities() {
  mkdir -p "$1/etc/ssl/certs"
  cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs"
}

program() {
  local root
  root=$(mktemp -d)
  cp "$2" "$root/program"
  echo 'ENTRYPOINT ["/program"]' | from_scratch "$1" "$root"
}

# golang: Go, a shell with the commands that Dockerfiles use, and certificate authorities. It takes modules from where this machine does.
golang() {
  local root
  root=$(mktemp -d)
  mkdir -p "$root"/{tmp,root,go,etc,usr/local}
  shell "$root" mkdir rm cp ls cat env id
  authorities "$root"
  cp -a "$(go env GOROOT)" "$root/usr/local/go"
  echo 'root:x:0:0::/root:/bin/sh' >"$root/etc/passwd"
  from_scratch "$1" "$root" <<DOCKERFILE
ENV PATH=/go/bin:/usr/local/go/bin:/bin GOPATH=/go GOTOOLCHAIN=local GOPROXY=$(go env GOPROXY)
WORKDIR /go
DOCKERFILE
}

# distroless: certificate authorities, time zones, a home and the user nonroot; no shell.
distroless() {
  local root
  root=$(mktemp -d)
  mkdir -p "$root"/{etc,tmp,home/nonroot,usr/share}
  chmod 1777 "$root/tmp"
  authorities "$root"
  if [[ -d /usr/share/zoneinfo ]]; then cp -a /usr/share/zoneinfo "$root/usr/share"; fi
  printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$root/etc/passwd"
  from_scratch "$1" "$root" <<'DOCKERFILE'
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532
WORKDIR /home/nonroot
DOCKERFILE
}

# base builds the images that the Dockerfile names and that are not there.
base() {
  local image
  for image in $(sed -n 's/^FROM \(--[^ ]* \)*\([^ ]*\).*/\2/p' "$here/../../Dockerfile"); do
    if "${buildah[@]}" inspect --type image "$image" >/dev/null 2>&1; then continue; fi
    case $image in
    golang:*) golang "docker.io/library/$image" ;;
    *distroless/static*) distroless "$image" ;;
    *) say "no stand-in for the base image $image: add one to hack/node/images.sh" >&2; exit 1 ;;
    esac
  done
}

# postgres: the server's programs with the libraries that they load, without the just-in-time compiler and its LLVM.
postgres() {
  local root programs file
  root=$(mktemp -d)
  programs=$(dirname "$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | tail -n 1)")
  mkdir -p "$root"/{tmp,etc,data}
  chmod 1777 "$root/tmp"
  shell "$root" cat test
  for file in "$programs"/{initdb,postgres,psql,pg_isready}; do
    ldd "$file" | grep -o '/[^ ]*'
  done | sort -u | xargs cp -L --parents -t "$root"
  cp -r --parents -t "$root" "$programs"/{initdb,postgres,psql,pg_isready} "${programs%/bin}/lib" "/usr/share/postgresql/$(basename "${programs%/bin}")" /usr/share/zoneinfo
  rm -r "$root${programs%/bin}"/lib/{llvmjit*,bitcode}
  echo 'postgres:x:999:999::/data:/bin/sh' >"$root/etc/passwd"
  from_scratch "$1" "$root" <<DOCKERFILE
ENV PATH=$programs:/bin
USER 999:999
DOCKERFILE
}

# load has the node's containerd read an image, and prints its name there: with the image's id as its tag, if it has none yet.
load() {
  local name=$1 archive
  if [[ $name != *:* ]]; then
    name+=:$("${buildah[@]}" inspect --type image --format '{{.FromImageID}}' "$1" | cut -c 1-12)
  fi
  if [[ -z $("$here/exec.sh" ctr --namespace k8s.io images ls --quiet name=="$name") ]]; then
    archive=$(mktemp -u "$state/tmp/image.XXXXXX")
    "${buildah[@]}" push --quiet --signature-policy /run/policy.json "$1" "docker-archive:$archive:$name" >&2
    "$here/exec.sh" ctr --namespace k8s.io images import "$archive" >/dev/null
    rm "$archive"
  fi
  echo "$name"
}

case ${1:-} in
base | build | program | postgres | load) "$@" ;;
*)
  sed -n '2,/^source/ s/^# *//p' "$0" >&2
  exit 2
  ;;
esac
