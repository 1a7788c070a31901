# Everything a person or CI does here, one target each. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests mostly wait (for polls, sessions, brokers), so more of them run at once than there are cores.
WORKERS ?= 3

.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older (set PYTHON=...)"; exit 1; }
	@echo "Making the environment in $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(STAMP) ## make the environment

run: $(STAMP) ## the whole trip of a call, live; ARGS='--duration 90' and the like are passed on
	@exec $(BIN)/ringcloud-gateway dev $(ARGS)

test: $(STAMP) ## unit and integration tests, on real brokers; ARGS='-k name' and the like are passed on
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: $(STAMP) ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## format and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pins: $(STAMP) ## renew requirements.txt from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--upgrade --extra dev pyproject.toml -o requirements.txt

chaos: $(STAMP) ## kill everything for MINUTES=10 on a real Kafka, and judge it; SEED=1, ARGS='--twin-share 0'
	@$(BIN)/python -m tests.chaos.run --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) $(ARGS)

soak: $(STAMP) ## look long for worlds that break the differ's laws; MINUTES=10, SEED=1
	MODEL_EXAMPLES=$(or $(EXAMPLES),20000) $(BIN)/python -m pytest --timeout 0 tests/unit/calls/test_model.py tests/unit/calls/test_dst.py
	nice $(BIN)/python -m tests.soak.search --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1)

bench: $(STAMP) ## the short form of every benchmark
	@for name in sandbox polling differ fanout; do $(BIN)/python -m bench.$$name --short || exit 1; done

schemas: $(STAMP) ## renew docs/schemas from the structs
	@$(BIN)/ringcloud-gateway schemas docs/schemas

clean: ## remove the environment and every cache
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

.PHONY: help setup run test check format chaos soak bench pins schemas clean
