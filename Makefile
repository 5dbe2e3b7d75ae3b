# Tests wait more than they compute, so that more of them than there are cores run side by side.
WORKERS ?= 3
PYTEST = .venv/bin/python -m pytest -q --sentences -n $(WORKERS) --dist loadgroup

.PHONY: run test check lint soak bench servers servers-down lock

run:
	@scripts/setup.sh run
	@exec .venv/bin/python -m myevents serve --sample data/conferences.jsonl

test:
	@scripts/setup.sh dev
	$(PYTEST) $(TESTS)

# Style, types, import rules and unit tests, in less than a minute.
check:
	@scripts/setup.sh dev
	@scripts/check.sh

lint:
	@scripts/setup.sh dev
	@scripts/check.sh style types imports

# Many times more random cases than `make test` tries, from a seed that is new each time.
soak:
	@scripts/setup.sh dev
	@seed=$(SEED); seed=$${seed:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; \
	echo "Seed $$seed: \`make soak SEED=$$seed\` tries the same cases again."; \
	MYEVENTS_TEST_SOAK_SEED=$$seed $(PYTEST) -m random_cases --hypothesis-seed=$$seed $(TESTS)

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
