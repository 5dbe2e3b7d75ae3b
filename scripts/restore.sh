#!/usr/bin/env bash
# Restores the store from what backup.sh has kept, into a new data directory, as the account that the server runs as.
#   restore.sh DIRECTORY DATA          up to the last of the log that was received
#   restore.sh DIRECTORY DATA TIME     up to a moment, such as '2026-11-24 20:15:00+00'
# Ends when DATA is recovered and stopped; whatever runs PostgreSQL can then start on it. What else is to be done (Kafka,
# the read models, the search index) stands in docs/operations.md. $POSTGRES_BIN: as for backup.sh.
set -euo pipefail
PATH=${POSTGRES_BIN:+$POSTGRES_BIN:}$PATH
if [ $# -lt 2 ]; then sed -n '2,6p' "$0"; exit 2; fi
directory=$(cd "$1" && pwd) data=$2 moment=${3:-}
umask 077
for_shell() { printf "'%s'" "${1//\'/\'\\\'\'}"; }
for_configuration() { # a string of postgresql.conf
  local text=${1//\\/\\\\}
  text=${text//\'/\'\'}
  printf "'%s'" "${text//$'\n'/\\n}"
}
if [ -n "$(ls -A "$data" 2> /dev/null)" ]; then echo "$data is not empty: restore beside it, and swap." >&2; exit 1; fi
until=9999
if [ -n "$moment" ]; then
  # PostgreSQL would take a time without a zone for the server's, and a word for whatever it likes.
  moment=$(date -u -d "$moment" '+%Y-%m-%d %H:%M:%S.%6N+00')
  until=$(date -u -d "$moment" +%Y-%m-%dT%H-%M-%SZ)
fi
base=$(find "$directory/base" -mindepth 1 -maxdepth 1 -name '2*' -printf '%f\n' | sort | awk -v until="$until" '$0 <= until' | tail -n 1)
[ -n "$base" ] || { echo "No base backup in $directory/base is older than ${moment:-that}." >&2; exit 1; }
echo "Restoring from the base backup of $base"
mkdir -p "$data"
chmod 700 "$data"
cp -a "$directory/base/$base/." "$data"
cp "$data/postgresql.auto.conf" "$data/postgresql.auto.conf.kept"
# The last piece of the log was being received, so it has another name. Nobody reads before the end; a standby would also
# want limits no lower than the lost server had, which may have stood on its command line.
kept=$(for_shell "${directory//%/%%}/wal")
cat >> "$data/postgresql.auto.conf" <<CONF
restore_command = $(for_configuration "cp $kept/%f \"%p\" 2> /dev/null || cp $kept/%f.partial \"%p\" 2> /dev/null")
recovery_target_timeline = 'latest'
recovery_target_action = 'promote'
hot_standby = off
${moment:+recovery_target_time = '$moment'}
CONF
touch "$data/recovery.signal"
sockets=$(mktemp -d)
log=$data.log
trap 'rm -rf "$sockets"' EXIT
pg_ctl -D "$data" -l "$log" -w -t 86400 -o "-c listen_addresses='' -k $(for_shell "$sockets")" start > /dev/null || { tail -n 20 "$log" >&2; exit 1; }
# It is for pg_ctl a standby, and well, until the last of the log is applied.
until pg_isready -q -h "$sockets"; do
  pg_ctl -D "$data" status > /dev/null || { tail -n 20 "$log" >&2; exit 1; }
  sleep 0.2
done
grep -o 'last completed transaction was at log time .*' "$log" | tail -n 1 || true
pg_ctl -D "$data" -m fast -w stop > /dev/null
mv "$data/postgresql.auto.conf.kept" "$data/postgresql.auto.conf"
echo "$data is recovered. Before anything serves from it: docs/operations.md, 'After a restore'."
