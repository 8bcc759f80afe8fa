#!/usr/bin/env bash
# Prints the version that an image of this tree reports. It is VERSION where that is given, else the tag of IMAGE where that is a version, else
# what git describes. It fails where these disagree: an image must not report another version than its name says.
# Usage: image-version.sh IMAGE [VERSION]
set -euo pipefail

is_version() { [[ $1 =~ ^v?[0-9]+(\.[0-9]+){1,2}([-._][0-9A-Za-z._-]*)?$ ]]; }
# A leading v does not count, nor whether the tree has changes.
same() { [[ $(plain "$1") == "$(plain "$2")" ]]; }
plain() { local version=${1#v}; echo "${version%-dirty}"; }
fail() { echo "image-version: $*" >&2; exit 1; }

image=${1%@*} given=${2:-}
name=${image##*/}
tag=
if [[ $name == *:* ]] && is_version "${name##*:}"; then tag=${name##*:}; fi
described=$(git describe --tags --always --dirty 2>/dev/null || echo dev)

if [[ -n $given ]]; then
  [[ -z $tag ]] || same "$tag" "$given" || fail "the tag of IMG=$1 is not VERSION=$given: give one of them, or the same"
  echo "$given"
  exit
fi
if [[ -z $tag ]]; then
  echo "$described"
  exit
fi
releases=()
for release in $(git tag --points-at HEAD 2>/dev/null || true); do
  if is_version "$release"; then releases+=("$release"); fi
  if same "$release" "$tag"; then releases=(); break; fi
done
((${#releases[@]} == 0)) ||
  fail "the tag of IMG=$1 is not that of the commit, ${releases[*]}: check out $tag, or give VERSION=$tag where that is what you mean"
chart=$(sed -n 's/^appVersion: *//p' config/chart/Chart.yaml)
[[ $(plain "$tag") =~ ^"$chart"([-._]|$) ]] || echo "image-version: warning: the chart of this tree installs $chart, not $tag" >&2
version=v${tag#v}
if [[ $described == *-dirty && $version != *-dirty ]]; then version+=-dirty; fi
echo "$version"
