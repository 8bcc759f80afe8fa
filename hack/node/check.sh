#!/usr/bin/env bash
# Fails with status 3 if this machine cannot run a node, and prints what is missing.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

missing=()
require() {
  local what=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$what")
}

# An image's layers are an overlay whose upper folder is in the node's folder, and programs of packages an overlay on /usr.
overlay() {
  local folder
  mkdir -p "$bin"
  folder=$(mktemp -d "$bin/overlay.XXXXXX")
  mkdir "$folder"/{lower,upper,work,merged}
  unshare --mount mount -t overlay overlay -o "lowerdir=$folder/lower,upperdir=$folder/upper,workdir=$folder/work" "$folder/merged" || { rm -rf "$folder"; return 1; }
  rm -rf "$folder"
}

hierarchy() { mkdir "/sys/fs/cgroup/$1/$cgroup-check" && rmdir "/sys/fs/cgroup/$1/$cgroup-check"; }

if [[ $(id -u) != 0 ]]; then
  missing+=("root")
else
  require "Linux namespaces: net, mount, pid, uts, ipc (unshare fails; a container needs --privileged)" \
    unshare --net --mount --pid --uts --ipc --fork true
  require "overlayfs on the file system of $bin" overlay
  for name in cpu cpuacct cpuset memory pids devices freezer; do
    require "a writable cgroup v1 hierarchy $name in /sys/fs/cgroup/$name" hierarchy "$name"
  done
fi
require "Debian's packages (apt-get)" command -v apt-get

if ((${#missing[@]} > 0)); then
  say "this machine cannot run a Kubernetes node. Missing:" >&2
  printf 'node:   - %s\n' "${missing[@]}" >&2
  exit 3
fi
