#!/usr/bin/env bash
# Installs verity-sync in a cluster on this machine: in one of kind if Docker and kind are there, else in the node of hack/node. If the machine can
# run neither, it fails with status 3 and prints what is missing for each.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")

if missing=$("$here/kind.sh" check 2>&1); then
  exec "$here/kind.sh" up
fi
if ! "$here/../node/check.sh"; then
  echo "$missing" >&2
  exit 3
fi
exec "$here/up.sh"
