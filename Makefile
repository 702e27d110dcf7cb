# Two commands: `make run` serves config.example.yaml, `make test` passes the tests. Both set up everything themselves.
# Nothing is needed but Python 3.11 or newer and make; a second run needs no network.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin

.PHONY: run test test-full check regtest bench lock format clean help
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 12

run: .venv/run ## set up and serve config.example.yaml (simulated node, demo upstream)
	@exec $(BIN)/gateway serve config.example.yaml

test: .venv/dev ## set up and pass the whole suite
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not regtest"

test-full: .venv/dev ## the same with the large counts
	L402_TEST_SCALE=10 $(BIN)/python -m pytest -n 2 --dist loadgroup --timeout 3600 -m "not regtest"

check: .venv/dev ## lint, types, layers, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint -s .yamllint config.example.yaml docker-compose.yml deploy
	$(BIN)/python -m pytest -q -n 0 tests/repository --ignore tests/repository/test_container.py

regtest: .venv/dev ## two real lnd nodes with a channel (needs Go; builds them once, about 4 minutes)
	tests/regtest/build
	$(BIN)/python -m pytest -q -n 0 -m regtest tests/regtest

bench: .venv/dev ## measure against nginx
	$(BIN)/python -m bench

lock: .venv/dev ## renew the lock files (versions and hashes, no addresses)
	$(BIN)/python requirements/renew.py

format: .venv/dev ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what the other targets made, databases excepted
	rm -rf .venv .clients .hypothesis .mypy_cache .ruff_cache .pytest_cache

# What a virtual environment holds is decided by the lock file; the stamp is newer than it once that is installed.
.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed, found $$($(PYTHON) --version)" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; } # half a .venv would pass for a whole one

.venv/run: .venv/bin/python requirements/run.lock pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev: .venv/run requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@
