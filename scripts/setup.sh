#!/usr/bin/env bash
# Makes .venv with what a lock file names, by its hashes. Does nothing where that has been done.
# A checkout that was moved gets a new one: the programs in .venv name the path they were made at.
#   setup.sh run | dev
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-run} in
  run) lock=requirements.lock ;;
  dev) lock=requirements-dev.lock ;;
  *) sed -n '2,4p' "$0"; exit 2 ;;
esac
python=${PYTHON:-python3}
stamp_of() { { cat "$1" pyproject.toml; pwd -P; } | sha256sum | cut -d' ' -f1; }
# What serves the tests serves a run as well.
for stamp in ".venv/.$lock" .venv/.requirements-dev.lock; do
  [ "$(cat "$stamp" 2>/dev/null)" = "$(stamp_of "${stamp#.venv/.}")" ] && exit 0
done
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; PYTHON=... names one" >&2; exit 1; }
echo "Setting up .venv from $lock ..."
if [ ! -x .venv/bin/python ] || [ "$(cat .venv/.path 2>/dev/null)" != "$(pwd -P)" ]; then
  "$python" -m venv --clear .venv
  pwd -P > .venv/.path
fi
.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip -q
.venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r "$lock"
.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
stamp_of "$lock" > ".venv/.$lock"
