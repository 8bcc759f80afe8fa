#!/usr/bin/env bash
# Brings up a Kubernetes node on this machine with its control plane, in network, mount, process, host-name and IPC namespaces of its own. It has no
# way to another network, and can write to nothing of this machine but bin/node-state, /tmp and a cgroup of its own. down.sh removes it; exec.sh
# runs a command in it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start() {
  "$here/check.sh"
  "$here/../controlplane/build.sh"
  "$here/build.sh"
  "$here/down.sh"

  mkdir -p "$state"/{log,etcd,kubelet,containerd,cni,tmp}
  # All of the node together weighs as much as sixteen processes outside. With the default weight of one, a compiler beside it would starve every pod.
  for hierarchy in "${hierarchies[@]}"; do
    if [[ -d /sys/fs/cgroup/$hierarchy ]]; then mkdir -p "/sys/fs/cgroup/$hierarchy/$cgroup/system"; fi
  done
  for file in cpus mems; do cat "/sys/fs/cgroup/cpuset/cpuset.$file" >"/sys/fs/cgroup/cpuset/$cgroup/cpuset.$file"; done
  echo "$((16 * 1024))" >"/sys/fs/cgroup/cpu/$cgroup/cpu.shares"

  setsid unshare --net --mount --pid --uts --ipc --fork --kill-child --propagation private \
    "$here/init.sh" >"$state/log/init.log" 2>&1 </dev/null 9>&- &
}

# A second run waits for the first one.
mkdir -p "$bin"
exec 9>"$bin/node.lock"
flock 9
init >/dev/null || start

SECONDS=0
until "$here/exec.sh" kubectl wait --for=condition=Ready node/node --timeout=1s >/dev/null 2>&1; do
  # The first process takes a moment to write its id.
  if ((SECONDS > 300)) || { ((SECONDS > 10)) && ! init >/dev/null; }; then
    say "the node is not ready after $SECONDS seconds; the ends of its logs, from $state/log:" >&2
    tail -n 5 "$state"/log/*.log >&2
    exit 1
  fi
  sleep 0.5
done
say "ready after $SECONDS seconds"
