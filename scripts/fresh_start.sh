#!/usr/bin/env bash
# Clones the repository into a directory whose name shells and URLs would misread, starts it as a newcomer would,
# asks it something, and stops it.
set -euo pipefail
cd "$(dirname "$0")/.."
clone=$(mktemp -d)
server=
cleanup() { if [ -n "$server" ]; then kill -TERM -- "-$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi; rm -rf "$clone"; }
trap cleanup EXIT
chmod 711 "$clone"
git clone -q . "$clone/R&D, 100 % Projekt"
cd "$clone/R&D, 100 % Projekt"
for start in first second; do
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  # What a script starts in the background ignores Ctrl-C, unless told otherwise.
  MYEVENTS_PORT=$port setsid env --default-signal=INT make -s run > "$clone/log" 2>&1 < /dev/null &
  server=$!
  for _ in $(seq 240); do curl -fs "http://127.0.0.1:$port/readyz" > /dev/null 2>&1 && break; sleep 0.5; done
  curl -fsS "http://127.0.0.1:$port/readyz" || { cat "$clone/log"; exit 1; }
  curl -fsS "http://127.0.0.1:$port/api/events?first=1" | grep -q '"name"' || { cat "$clone/log"; exit 1; }
  echo " - $start start serves"
  # As Ctrl-C does: to every process of the group.
  kill -INT -- "-$server"
  for _ in $(seq 60); do kill -0 "$server" 2>/dev/null || break; sleep 0.5; done
  if kill -0 "$server" 2>/dev/null; then
    kill -KILL -- "-$server"
    echo "It does not stop." >&2
    exit 1
  fi
  server=
  if ls var/postgres/data/postmaster.pid 2>/dev/null; then echo "The database was left running." >&2; exit 1; fi
done
