#!/usr/bin/env bash
# Runs a command in the node's namespaces, as an administrator of its cluster: exec.sh kubectl get pods.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

pid=$(init) || { say "not running; \`make cluster-node\` starts it" >&2; exit 1; }
export PATH=$bin/node:$bin/k8s:$bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=$state/pki/admin.kubeconfig
# What the tests of test/cluster look for.
export CLUSTER_STATE=$state
# Where programs such as helm keep files for themselves.
export HOME=$state/tmp
exec nsenter --target "$pid" --net --mount --pid --uts --ipc --wdns="$PWD" "$@"
