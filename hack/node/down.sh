#!/usr/bin/env bash
# Ends the node and removes what it has on this machine: processes, namespaces with their mounts and interfaces, cgroups, and its folder. It fails
# if something is left.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# gone waits until a function prints nothing.
gone() {
  for _ in $(seq 300); do
    [[ -n $("$@") ]] || return 0
    sleep 0.1
  done
  return 1
}

groups() {
  local hierarchy
  for hierarchy in "${hierarchies[@]}"; do
    if [[ -d /sys/fs/cgroup/$hierarchy/$cgroup ]]; then echo "/sys/fs/cgroup/$hierarchy/$cgroup"; fi
  done
}

# A group that has a process cannot be removed. The kernel takes a moment to end one.
remove_groups() {
  local group
  for group in $(groups); do
    find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  done
  groups
}

if [[ ! -d $state && -z $(groups) ]]; then
  exit
fi
# With the first process of its namespace, the kernel ends all others.
if pid=$(init); then
  kill -KILL "$pid"
fi
gone members || { say "processes are left in the node's namespaces: $(members | xargs)" >&2; exit 1; }
gone remove_groups || { say "cgroups are left: $(groups | xargs)" >&2; exit 1; }
if grep -F " $state" /proc/self/mountinfo >&2; then
  say "these mounts are left on this machine" >&2
  exit 1
fi
rm -rf "$state"
say "removed: no process, mount, interface, cgroup or file of it is left"
