#!/usr/bin/env bash
# Runs `go test` with the arguments given on the packages of PACKAGES. The tools that some of the tests run are built beside the others, and
# those that run them come last: on two cores and a cold cache, the tools take longer than any other part of it.
set -uo pipefail

uses_tools='/test/(install|kubebuilder|manifests)$'
failed=0

run() {
  if (($# > 0)); then go test "${flags[@]}" "$@" || failed=1; fi
}

flags=("$@")
# Unquoted, because it may be several patterns.
packages=$(go list ${PACKAGES:-./...}) || exit
# `make test-cluster` runs it: it needs a Kubernetes node.
packages=$(grep -v '/test/cluster$' <<<"$packages")
mapfile -t first < <(grep -Ev "$uses_tools|^$" <<<"$packages")
mapfile -t last < <(grep -E "$uses_tools" <<<"$packages")

if ((${#last[@]} > 0)); then
  nice make --no-print-directory test-tools &
  tools=$!
fi
run "${first[@]}"
if ((${#last[@]} > 0)); then
  wait "$tools" || failed=1
  run "${last[@]}"
fi
exit "$failed"
