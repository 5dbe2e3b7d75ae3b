#!/usr/bin/env bash
# What a developer runs all day, side by side, in less than a minute once it has been run: after `setup.sh dev`.
#   check.sh [style] [types] [imports] [unit]     none named: all
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/parts.sh
. scripts/parts.sh
trap parts_table EXIT

style() {
  .venv/bin/ruff check .
  .venv/bin/ruff format --check .
}
types() { .venv/bin/mypy; }
imports() { .venv/bin/lint-imports; }
unit() { .venv/bin/python -m pytest -q tests/unit; }

[ $# -gt 0 ] || set -- style types imports unit
for each in "$@"; do begin "$each" "$each"; done
finish "$@"
