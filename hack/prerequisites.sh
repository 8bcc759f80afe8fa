#!/usr/bin/env bash
# Installs what `make` needs beyond Go, make and git where it can: as root on Debian or Ubuntu. Elsewhere it says what to install.
# Usage: prerequisites.sh postgres|pgbouncer|compiler|node...
set -euo pipefail

install() {
  local what=$1
  shift
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "$what is missing: install it with your package manager (Debian, Ubuntu: apt-get install $*)" >&2
    exit 1
  fi
  echo "$what is missing: installing $*"
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "$@" >/dev/null
}

for prerequisite in "$@"; do
  case $prerequisite in
  postgres)
    # Debian keeps the server's programs out of PATH.
    if [[ -z ${DATABASE_URL:-} ]] && ! command -v initdb >/dev/null && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
      install "a Postgres server" postgresql
    fi
    ;;
  pgbouncer)
    # Debian starts the service that comes with it, which nothing here uses.
    if ! command -v pgbouncer >/dev/null && [[ ! -x /usr/sbin/pgbouncer ]]; then
      install "PgBouncer" pgbouncer
      service pgbouncer stop >/dev/null 2>&1 || true
    fi
    ;;
  compiler)
    command -v "${CC:-gcc}" >/dev/null || command -v cc >/dev/null || install "a C compiler (go test -race, sqlc)" gcc libc6-dev
    ;;
  node)
    command -v node >/dev/null && command -v npm >/dev/null || install "Node (a baseline of the benchmarks)" nodejs npm
    ;;
  *)
    echo "usage: $0 postgres|pgbouncer|compiler|node..." >&2
    exit 2
    ;;
  esac
done
