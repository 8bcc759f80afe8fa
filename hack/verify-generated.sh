#!/usr/bin/env bash
# Fails where one of the paths given differs from what is committed.
set -euo pipefail

changed=$(git status --porcelain -- "$@")
if [[ -n $changed ]]; then
  git --no-pager diff -- "$@"
  printf '%s\nGenerated files are not current: run `make manifests generate api-docs` and commit what it changes.\n' "$changed" >&2
  exit 1
fi
echo "generated files are current"
