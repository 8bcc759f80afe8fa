#!/usr/bin/env bash
# Checks that a tree can be released as a version, and prints what the changelog says of it.
# Usage: release.sh check|notes VERSION, such as v0.2.0 or v0.2.0-rc.1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "release: $*" >&2; exit 1; }

command=${1:-} version=${2:-}
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || fail "VERSION=$version is not a version such as v0.2.0"
number=${version#v}
# A release candidate has the notes of its release.
heading="## ${number%%-*}"

# notes prints the section of the version, without its heading.
notes() {
  awk -v heading="$heading" '
    /^## / { inside = ($0 == heading || index($0, heading " ") == 1); next }
    inside
  ' CHANGELOG.md | sed -e '/./,$!d'
}

case $command in
check)
  for field in version appVersion; do
    got=$(sed -n "s/^$field: *//p" config/chart/Chart.yaml)
    [[ $got == "$number" ]] || fail "$field of config/chart/Chart.yaml is $got, not $number"
  done
  got=$(sed -n 's/^ *newTag: *//p' config/default/kustomization.yaml)
  [[ $got == "$number" ]] || fail "newTag in config/default/kustomization.yaml is $got, not $number"
  [[ -n $(notes) ]] || fail "CHANGELOG.md has no section \"$heading\", or it is empty"
  ;;
notes)
  notes
  ;;
*)
  fail "usage: release.sh check|notes VERSION"
  ;;
esac
