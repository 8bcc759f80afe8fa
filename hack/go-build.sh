#!/usr/bin/env bash
# Builds a Go program as all programs of this repository are built, so that what they have in common is compiled once, and says every
# 20 seconds how far it is: the compiler itself is silent for minutes.
# Usage: go-build.sh NAME OUTPUT [BUILD FLAG...] PACKAGE..., in a folder of the package's module. CGO_ENABLED is 0 where it is not set.
set -euo pipefail

name=$1 output=$2
shift 2
export CGO_ENABLED=${CGO_ENABLED:-0}

# progress reads the lines of a go command, counts and hides those that fit a pattern, shows the others, and says the count.
progress() {
  local pattern=$1 done=$2 most=${3:-} count=0 said=$SECONDS line got
  while true; do
    got=0
    IFS= read -r -t 5 line || got=$?
    if ((got == 0)); then
      if [[ $line =~ $pattern ]]; then count=$((count + 1)); elif [[ $line != 'go: downloading '* ]]; then echo "$line"; fi
    elif ((got < 128)); then
      return # The end; more than 128 is the timeout.
    fi
    if ((SECONDS - said >= 20)); then
      said=$SECONDS
      echo "$name: $done $count${most:+ of at most $most} after $SECONDS s"
    fi
  done
}

SECONDS=0
packages=$(mktemp)
trap 'rm -f "$packages"' EXIT
{ go list -deps -trimpath "$@" 2>&1 >"$packages"; } | progress '^go: downloading ' 'modules downloaded:' >&2
go build -v -trimpath -o "$output" "$@" 2>&1 | progress '^[^ #]+$' 'packages compiled:' "$(wc -l <"$packages")" >&2
