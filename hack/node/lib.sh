# What the scripts of the node share. Source it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(cd "$here/../.." && pwd)/bin
# The node keeps everything here: certificates, logs, etcd, containers. It is removed with the node.
state=$bin/node-state
# The cgroup of all its processes and pods, in each hierarchy. Each clone of the repository has its own.
cgroup=verity-sync-node-$(sha256sum <<<"$bin" | cut -c 1-8)
hierarchies=(cpu cpuacct cpuset memory pids devices freezer blkio systemd unified)

say() { echo "node: $*"; }

# started prints when a process started, in clock ticks since the machine's start. A process id alone may be another process' by now.
started() { awk '{ print $22 }' "/proc/$1/stat" 2>/dev/null; }

# init prints the id of the node's first process, and fails if it does not run.
init() {
  local pid ticks
  read -r pid ticks 2>/dev/null <"$state/init" && [[ $(started "$pid") == "$ticks" ]] && echo "$pid"
}

# members prints the ids of all processes in one of the namespaces that the node made.
members() {
  local namespace process
  [[ -s $state/namespaces ]] || return 0
  for process in /proc/[0-9]*; do
    for namespace in $(readlink "$process"/ns/{net,mnt,pid} 2>/dev/null); do
      if grep -qxF "$namespace" "$state/namespaces"; then
        basename "$process"
        break
      fi
    done
  done
}
