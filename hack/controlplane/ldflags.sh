#!/usr/bin/env bash
# Prints the linker flags of Kubernetes' programs, one argument a line. A build that is not told its version says v0.0.0.
# Usage: ldflags.sh VERSION
set -euo pipefail

kubernetes=$1
IFS=. read -r major minor _ <<<"${kubernetes#v}"
flags='-s -w'
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags+=" -X $package.gitVersion=$kubernetes -X $package.gitMajor=$major -X $package.gitMinor=$minor"
done
printf '%s\n' -ldflags "$flags"
