#!/usr/bin/env bash
# Makes .venv with what a lock file names, by its hashes. Does nothing where that has been done.
#   setup.sh run | dev
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-run} in
  run) lock=requirements.lock ;;
  dev) lock=requirements-dev.lock ;;
  *) sed -n '2,3p' "$0"; exit 2 ;;
esac
python=${PYTHON:-python3}
wanted=$(cat "$lock" pyproject.toml | sha256sum | cut -d' ' -f1)
# What serves the tests serves a run as well.
for stamp in ".venv/.$lock" .venv/.requirements-dev.lock; do
  [ "$stamp" = .venv/.requirements-dev.lock ] && wanted=$(cat requirements-dev.lock pyproject.toml | sha256sum | cut -d' ' -f1)
  [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0
done
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; PYTHON=... names one" >&2; exit 1; }
echo "Setting up .venv from $lock ..."
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip -q
.venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r "$lock"
.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
cat "$lock" pyproject.toml | sha256sum | cut -d' ' -f1 > ".venv/.$lock"
