# Parts of a longer run, one after another or side by side, and how long each took. To be sourced, under `set -e`.
#   part NAME COMMAND...     runs it now
#   begin NAME COMMAND...    runs it beside what comes next; what it says is kept
#   finish NAME...           waits for those, shows what each said, and fails where one failed
#   parts_table              the seconds of each, in all, and where what still runs is stopped
# shellcheck shell=bash
PARTS_DIR=$(mktemp -d)
PARTS_TOOK=()

part() {
  local name=$1 started=$SECONDS
  shift
  echo "== $name"
  "$@"
  part_took "$name" $((SECONDS - started))
}

begin() {
  local name=$1
  shift
  # A group of its own, so that it ends with all that it started.
  set -m
  (
    set +m
    trap 'echo "$?" > "$PARTS_DIR/$name.code"; echo "$SECONDS" > "$PARTS_DIR/$name.seconds"' EXIT
    SECONDS=0
    "$@"
  ) > "$PARTS_DIR/$name.log" 2>&1 < /dev/null &
  echo $! > "$PARTS_DIR/$name.pid"
  set +m
}

finish() {
  local name failed=
  for name in "$@"; do
    wait "$(cat "$PARTS_DIR/$name.pid")" || failed="${failed:+$failed, }$name"
    echo "== $name"
    cat "$PARTS_DIR/$name.log"
    rm "$PARTS_DIR/$name.pid"
    part_took "$name" "$(cat "$PARTS_DIR/$name.seconds")"
  done
  [ -z "$failed" ] || { echo "Failed: $failed" >&2; return 1; }
}

part_took() { # name, seconds
  echo "-- $1: $2 s"
  PARTS_TOOK+=("$(printf '%6s s  %s' "$2" "$1")")
}

parts_table() {
  local each
  for each in "$PARTS_DIR"/*.pid; do
    [ ! -f "$each" ] || kill -- "-$(cat "$each")" 2> /dev/null || true
  done
  rm -rf "$PARTS_DIR"
  echo "== the seconds that each part took; some ran side by side"
  [ ${#PARTS_TOOK[@]} -eq 0 ] || printf '%s\n' "${PARTS_TOOK[@]}"
  printf '%6s s  in all\n' "$SECONDS"
}
