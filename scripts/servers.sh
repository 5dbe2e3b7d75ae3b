#!/usr/bin/env bash
# Real servers for the tests, on loopback, from packages: the PostgreSQL of Debian (15 on Debian 12, the oldest that is supported).
#   servers.sh up     servers.sh env      what to export so that the tests find them     servers.sh down
# State lies in $SERVERS_DIR (default .servers).
set -euo pipefail
cd "$(dirname "$0")/.."
DIR=${SERVERS_DIR:-$PWD/.servers}
PORT=${POSTGRES_PORT:-15432}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; }
# PostgreSQL refuses to run as root, so there it runs as a user of its own.
as_user() {
  if [ "$(id -u)" = 0 ]; then
    id servers >/dev/null 2>&1 || useradd -m servers
    chown -R servers "$DIR/postgres"
    setpriv --reuid=servers --regid=servers --clear-groups env HOME=/tmp "$@"
  else
    "$@"
  fi
}
programs() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }

up() {
  listening && return
  mkdir -p "$DIR/postgres"
  if [ -z "$(programs)" ] || [ ! -x "$(programs)/initdb" ]; then
    { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; } >/dev/null
  fi
  [ -d "$DIR/postgres/data" ] || as_user "$(programs)/initdb" -D "$DIR/postgres/data" -U postgres -A trust -E UTF8 > /dev/null
  as_user "$(programs)/pg_ctl" -D "$DIR/postgres/data" -l "$DIR/postgres/log" -w \
    -o "-p $PORT -h 127.0.0.1 -k $DIR/postgres -c max_connections=300" start > /dev/null < /dev/null
}

case ${1:-} in
  up) up ;;
  env) echo "export MYEVENTS_TEST_DATABASE_URL=postgresql://postgres@127.0.0.1:$PORT/postgres" ;;
  down) [ ! -d "$DIR/postgres/data" ] || as_user "$(programs)/pg_ctl" -D "$DIR/postgres/data" -m fast -w stop > /dev/null || true ;;
  *) sed -n '2,4p' "$0"; exit 2 ;;
esac
