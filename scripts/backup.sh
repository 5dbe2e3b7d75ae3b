#!/usr/bin/env bash
# Backs the store up so that it can be restored to any moment (restore.sh; docs/operations.md tells when and where).
#   backup.sh wal DIRECTORY           stream the write-ahead log there, until stopped: runs always, beside the server
#   backup.sh base DIRECTORY          a base backup, checked: once a day
#   backup.sh prune DIRECTORY COUNT   keep the newest COUNT base backups, and the log since the oldest of them
# $MYEVENTS_BACKUP_URL names the server as postgresql://... (a role with REPLICATION), $MYEVENTS_DATABASE_URL where it is
# not set. Its password is handed on as $PGPASSWORD, since whoever has an account on the machine sees others' arguments;
# $POSTGRES_BIN is where PostgreSQL's programs are, of the server's version, where they are not in PATH.
set -euo pipefail
PATH=${POSTGRES_BIN:+$POSTGRES_BIN:}$PATH
server=${MYEVENTS_BACKUP_URL:-${MYEVENTS_DATABASE_URL:-}}
slot=${MYEVENTS_BACKUP_SLOT:-myevents_backup}
usage() { sed -n '2,9p' "$0"; exit 2; }
[ $# -ge 2 ] || usage
umask 077
mkdir -p "$2/wal" "$2/base"
directory=$(cd "$2" && pwd)

decoded() { # text of a URL
  local text=${1//\\/\\\\}
  printf '%b' "${text//%/\\x}"
}

keep_password_secret() {
  local scheme rest user query parameter kept=
  [[ $server =~ ^(postgres(ql)?://)(.*)$ ]] || { echo "MYEVENTS_BACKUP_URL must be a postgresql:// URL." >&2; exit 2; }
  scheme=${BASH_REMATCH[1]} rest=${BASH_REMATCH[3]}
  if [[ $rest =~ ^([^/@]*)@(.*)$ ]]; then
    user=${BASH_REMATCH[1]} rest=${BASH_REMATCH[2]}
    if [[ $user == *:* ]]; then
      PGPASSWORD=$(decoded "${user#*:}")
      export PGPASSWORD
    fi
    rest=${user%%:*}@$rest
  fi
  if [[ $rest == *\?* ]]; then
    query=${rest#*\?} rest=${rest%%\?*}
    while [ -n "$query" ]; do
      parameter=${query%%&*}
      case $(decoded "${parameter%%=*}") in
        password) PGPASSWORD=$(decoded "${parameter#*=}"); export PGPASSWORD ;;
        sslpassword) echo "sslpassword cannot be kept secret: use a key without one." >&2; exit 2 ;;
        *) kept+=${kept:+&}$parameter ;;
      esac
      [[ $query == *\&* ]] && query=${query#*&} || query=
    done
  fi
  server=$scheme$rest${kept:+?$kept}
}

wal() {
  # The slot makes the server keep what has not arrived here yet, also while nothing receives.
  pg_receivewal -d "$server" --slot "$slot" --create-slot --if-not-exists
  exec pg_receivewal -d "$server" --slot "$slot" --synchronous --directory "$directory/wal"
}

base() {
  local name
  made=$directory/base/.$$
  trap 'rm -rf "$made"' EXIT
  pg_basebackup -d "$server" --checkpoint fast --wal-method stream --pgdata "$made"
  # From within: it hands the name to a shell, between double quotes.
  (cd "$made" && pg_verifybackup --quiet .)
  # The time when it was whole: it restores to any moment from then on.
  name=$(date -u +%Y-%m-%dT%H-%M-%SZ)
  mv -T "$made" "$directory/base/$name"
  echo "$directory/base/$name"
}

prune() { # count
  local oldest
  [ "$1" -ge 1 ] || usage
  find "$directory/base" -mindepth 1 -maxdepth 1 -name '2*' | sort | head -n "-$1" | xargs -r -d '\n' rm -rf
  oldest=$(find "$directory/base" -mindepth 1 -maxdepth 1 -name '2*' | sort | head -n 1)
  [ -n "$oldest" ] || return 0
  pg_archivecleanup "$directory/wal" "$(sed -n 's/^START WAL LOCATION: .*(file \([0-9A-F]*\))$/\1/p' "$oldest/backup_label")"
}

case $1 in
  wal) [ -n "$server" ] || usage; keep_password_secret; wal ;;
  base) [ -n "$server" ] || usage; keep_password_secret; base ;;
  prune) prune "${3:?how many base backups to keep}" ;;
  *) usage ;;
esac
