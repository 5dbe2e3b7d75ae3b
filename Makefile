.PHONY: run test lint bench servers servers-down lock

run:
	@scripts/setup.sh run
	@exec .venv/bin/python -m myevents serve --sample data/conferences.jsonl

test:
	@scripts/setup.sh dev
	.venv/bin/python -m pytest -q

lint:
	@scripts/setup.sh dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench:
	@scripts/setup.sh dev
	.venv/bin/python -m benchmarks.hot_event
	.venv/bin/python -m benchmarks.hot_event_http
	.venv/bin/python -m benchmarks.reading_http
	.venv/bin/python -m benchmarks.rebuild

servers:
	@scripts/servers.sh up
	@scripts/servers.sh env

servers-down:
	@scripts/servers.sh down

# Needs uv. The locks name versions and hashes, never where they came from.
lock:
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --extra build pyproject.toml -o requirements.lock
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --extra build --extra dev pyproject.toml -o requirements-dev.lock
